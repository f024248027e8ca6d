"""What tests of waiting in the triggerer share: triggers that look often, and a count of a server's connections."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_riffusion.emulator.server.http_server import EmulatorServer
from airflow_provider_riffusion.triggers.riffusion import RiffusionSongTrigger


def song_trigger(*ids: str, seconds: float = 20, **parameters: Any) -> RiffusionSongTrigger:
    """Return a trigger that looks ten times a second, with a deadline so many seconds from now."""
    defaults = {"riffusion_conn_id": "riffusion_default", "user_id": None, "poll_interval": 0.1}
    return RiffusionSongTrigger(ids=ids, deadline=time.time() + seconds, **{**defaults, **parameters})


async def connected(*triggers: RiffusionSongTrigger) -> Sequence[RiffusionSongTrigger]:
    """Make the hooks of triggers, which happens in threads, so that all triggers wait before the first look."""
    for trigger in triggers:
        hook = await trigger._connect()
        trigger._connect = lambda hook=hook: asyncio.sleep(0, hook)  # type: ignore[method-assign, misc]  # for a test
    return triggers


async def event_of(trigger: RiffusionSongTrigger) -> Any:
    """Return the payload of a trigger's event."""
    return (await anext(trigger.run())).payload


def start(*triggers: RiffusionSongTrigger) -> list[asyncio.Task[Any]]:
    """Run triggers in tasks of their own, as the triggerer does."""
    return [asyncio.create_task(event_of(trigger)) for trigger in triggers]


async def cancel(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel triggers, and wait until they have gone."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the test fails when it never does."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def poll_threads() -> list[str]:
    """Return the threads of pollers."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("riffusion-poll")]


@dataclass
class Connections:
    """The connections to a server: now, and the most at one time."""

    now: set[Any] = field(default_factory=set)
    most: int = 0


@contextmanager
def counted_connections(monkeypatch: Any) -> Iterator[Connections]:
    """Count the connections to the emulators that run meanwhile."""
    counted, opened, closed = Connections(), EmulatorServer.process_request, EmulatorServer.shutdown_request

    def process_request(self: EmulatorServer, request: Any, client_address: Any) -> None:
        counted.now.add(request)
        counted.most = max(counted.most, len(counted.now))
        opened(self, request, client_address)

    def shutdown_request(self: EmulatorServer, request: Any) -> None:
        counted.now.discard(request)
        closed(self, request)

    with monkeypatch.context() as patch:
        patch.setattr(EmulatorServer, "process_request", process_request)
        patch.setattr(EmulatorServer, "shutdown_request", shutdown_request)
        yield counted
