"""What tests of creating and waiting share: an operator that is quick, and Airflow's way through a trigger."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_riffusion.emulator import Emulator
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from airflow_provider_riffusion.operators.riffusion import RiffusionCreatePromptOperator
from airflow_provider_riffusion.triggers.riffusion import RiffusionSongTrigger
from tests.support.task_state_store import Store

#: Part of the path of both create requests.
CREATE = "music/create-"
#: Songs that take so many seconds end when a test says so: the clock would end them too early on a busy machine.
FOR_EVER_SECONDS = 3600.0


def finish_songs(emulator: Emulator) -> None:
    """Let all songs end, and their jobs leave the job list."""
    for song in emulator.songs:
        emulator.set_song_status(song.id, "complete")


@contextmanager
def struck_hook(method: str, act: Callable[[], object], *, is_before: bool) -> Iterator[None]:
    """
    Have something happen each time that one of the hook's methods is called.

    :param method: its name
    :param act: what happens
    :param is_before: whether it happens before the call, or after it
    """
    original = getattr(RiffusionHook, method)

    def struck(*args: Any, **kwargs: Any) -> Any:
        if is_before:
            act()
        try:
            return original(*args, **kwargs)
        finally:
            if not is_before:
                act()

    with patch.object(RiffusionHook, method, struck):
        yield


@contextmanager
def finishing(emulator: Emulator) -> Iterator[None]:
    """Let songs end once a task has looked at them, and not before, so that the job list shows their job until then."""
    with struck_hook("poll_songs", lambda: finish_songs(emulator), is_before=False):
        yield


def context(store: Store | None = None) -> Any:
    """Return the context of a task, with a task state store or, as before Airflow 3.3, without."""
    return {"task_state_store": store} if store is not None else {}


def prompt_operator(**parameters: Any) -> RiffusionCreatePromptOperator:
    """Return an operator that looks often."""
    defaults = {"task_id": "create", "prompt": "a song about testing", "poll_interval": 0.05, "timeout": 20}
    return RiffusionCreatePromptOperator(**{**defaults, **parameters})


def deferred(operator: Any, store: Store | None = None) -> RiffusionSongTrigger:
    """Run an operator or sensor until it defers, and return the trigger as the triggerer makes it."""
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context(store))
    return trigger_of(caught.value)


def trigger_of(deferral: TaskDeferred) -> RiffusionSongTrigger:
    """Return the trigger of a deferral as the triggerer makes it."""
    classpath, kwargs = deferral.trigger.serialize()
    assert classpath == "airflow_provider_riffusion.triggers.riffusion.RiffusionSongTrigger"
    return RiffusionSongTrigger(**json.loads(json.dumps(kwargs)))


def run_trigger(trigger: RiffusionSongTrigger) -> Any:
    """Return the payload of the trigger's event, as it arrives in the worker."""

    async def first() -> Any:
        return await anext(trigger.run())

    return json.loads(json.dumps(asyncio.run(first()).payload))
