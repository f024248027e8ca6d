"""Hear what OpenLineage's provider tells of tasks that Airflow's task runner runs in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def listening(folder: Path) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """
    Register the provider's own listener, as its plugin does where a transport is configured.

    :param folder: gets the file ``events``
    :return: a function that returns the events of tasks since its last call, by default those of tasks that succeeded
    """
    from airflow.providers.common.compat.sdk import get_listener_manager
    from airflow.providers.openlineage.plugins.listener import OpenLineageListener

    # First, because the provider's plugin would register a listener, too, if Airflow loaded it with the transport.
    manager = get_listener_manager()
    path = folder / "events"
    path.touch()
    read = 0

    def events(kind: str = "COMPLETE") -> list[dict[str, Any]]:
        nonlocal read
        lines = path.read_text().splitlines()
        new, read = [json.loads(line) for line in lines[read:]], len(lines)
        return [event for event in new if event["eventType"] == kind]

    with pytest.MonkeyPatch.context() as monkeypatch:
        transport = {"type": "file", "log_file_path": str(path), "append": True}
        monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(transport))
        listener = OpenLineageListener()
        manager.add_listener(listener)
        try:
            yield events
        finally:
            manager.pm.unregister(listener)


def names(datasets: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return what names each dataset."""
    return [{"namespace": dataset["namespace"], "name": dataset["name"]} for dataset in datasets]


def facet(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a facet says, without who says it."""
    return {name: value for name, value in found.items() if not name.startswith("_")}
