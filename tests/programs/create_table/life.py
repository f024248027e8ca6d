"""What Airflow does with one task instance: tries, deferrals, retries and clears, and a store between them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal
from unittest.mock import patch

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, TaskDeferred
from airflow.providers.standard.triggers.temporal import DateTimeTrigger

from airflow_provider_riffusion.exceptions import RiffusionError
from airflow_provider_riffusion.triggers.riffusion import RiffusionSongTrigger
from tests.support.creating import prompt_operator, run_trigger, struck_hook, trigger_of
from tests.support.task_state_store import Store

Mode = Literal["sync", "deferred"]
#: Kept for ever (Airflow 3.3), emptied when a human clears the task (Airflow's main branch), none (3.1 and 3.2).
StoreKind = Literal["kept", "emptied", "none"]
#: Where a try can be struck: around the create request, before or after a poll, while the task is deferred, and
#: between the trigger's event and the task.
Moment = Literal["before the send", "after the send", "before a poll", "after a poll", "deferred", "reported"]

RETRIES = 2

_PLACES: Mapping[str, tuple[str, bool]] = {
    "before the send": ("create", True),
    "after the send": ("create", False),
    "before a poll": ("poll_songs", True),
    "after a poll": ("poll_songs", False),
}


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the product catches it."""


@dataclass(frozen=True)
class End:
    """
    How a try ended.

    :param how: ``songs``, ``killed``, ``retried`` by Airflow, or ``final``, whatever the task's retries
    :param ids: what it returned
    :param error: what it raised
    """

    how: str
    ids: Sequence[str] = ()
    error: BaseException | None = None


@dataclass
class Life:
    """
    One task instance.

    :param mode: whether the task defers
    :param kind: what its store does
    :param name: its task's name
    :param parameters: of the operator, in every try
    :param retries: the task's; Airflow reads it anew for each try
    """

    mode: Mode
    kind: StoreKind
    name: str = "create"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    retries: int = RETRIES
    try_number: int = 1
    max_tries: int = RETRIES
    store: Store = field(default_factory=Store)
    operator: Any = None
    trigger: RiffusionSongTrigger | None = None
    strikes: dict[str, Callable[[], object]] = field(default_factory=dict)

    @contextmanager
    def struck(self, moment: Moment, act: Callable[[], object]) -> Iterator[None]:
        """
        Have something happen at a moment of this process's tries, each time that it comes.

        :param moment: when
        :param act: what
        """
        with ExitStack() as stack:
            if moment in _PLACES:
                method, is_before = _PLACES[moment]
                stack.enter_context(struck_hook(method, act, is_before=is_before))
            else:
                stack.enter_context(patch.dict(self.strikes, {moment: act}))
            yield

    def run(self, **parameters: Any) -> End:
        """
        Run a try to its end, in the triggerer, too.

        :param parameters: of the operator, in this try
        """
        try:
            return End("songs", self._run({**self.parameters, **parameters}))
        except Killed as error:
            return End("killed", error=error)
        except AirflowTaskTimeout as error:
            # As Airflow's task runner does.
            self.operator.on_kill()
            return End("killed", error=error)
        except AirflowFailException as error:
            return End("final", error=error)
        except RiffusionError as error:
            return End("retried", error=error)
        finally:
            _end_polls()

    def retry(self) -> None:
        """Let the next try be a retry."""
        self.try_number += 1

    def clear(self) -> None:
        """Let the next try be that of a task that a human has cleared."""
        self.max_tries = self.try_number + self.retries
        self.try_number += 1
        if self.kind == "emptied":
            self.store.values.clear()

    def _run(self, parameters: dict[str, Any]) -> list[str]:
        method, arguments = "execute", dict[str, Any]()
        while True:
            # Each part of a deferred task runs in a process of its own.
            self.operator = prompt_operator(
                task_id=self.name, deferrable=self.mode == "deferred", retries=self.retries, **parameters
            )
            try:
                ids: list[str] = getattr(self.operator, method)(self._context(), **arguments)
            except TaskDeferred as deferral:
                method = deferral.method_name
                event = self._event_of(deferral)
                arguments = {**json.loads(json.dumps(deferral.kwargs or {})), "event": event}
            else:
                return ids

    def _event_of(self, deferral: TaskDeferred) -> Any:
        if isinstance(deferral.trigger, DateTimeTrigger):
            time.sleep(max(0.0, deferral.trigger.moment.timestamp() - time.time()))
            return None
        self.trigger = trigger_of(deferral)
        self.strikes.get("deferred", lambda: None)()
        event = run_trigger(self.trigger)
        self.strikes.get("reported", lambda: None)()
        return event

    def _context(self) -> Any:
        names = {"dag_id": "songs", "run_id": "run-1", "task_id": self.name, "map_index": -1}
        numbers = {"try_number": self.try_number, "max_tries": self.max_tries}
        context: dict[str, Any] = {"ti": SimpleNamespace(**names, **numbers, xcom_push=lambda *_, **__: None)}
        return context if self.kind == "none" else {**context, "task_state_store": self.store}


def _end_polls() -> None:
    """Wait for requests that a poller has begun, because the process that sent them is not there in the next try."""
    for thread in threading.enumerate():
        if thread.name.startswith("riffusion-poll"):
            thread.join()


def kill_triggerer(trigger: RiffusionSongTrigger) -> None:
    """Stop a trigger while it waits, as a triggerer does that is told to stop."""

    async def stop() -> None:
        running = asyncio.ensure_future(anext(trigger.run()))
        await asyncio.sleep(0.1)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(stop())
