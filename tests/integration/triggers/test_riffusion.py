"""The trigger, against the emulator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from airflow_provider_riffusion.triggers.riffusion import RiffusionSongTrigger
from tests.support.creating import deferred, prompt_operator

pytestmark = pytest.mark.usefixtures("connection", "no_backoff")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(generation_seconds=0.05) as running:
        yield running


def test_the_triggers_on_kill_takes_the_job_off_the_scheduler(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=30)
    trigger = deferred(prompt_operator(deferrable=True, cancel_on_kill=True))

    async def kill_while_running() -> None:
        running = asyncio.ensure_future(anext(trigger.run()))
        while emulator.count("/v1/riffusion/music", "GET") < 2:
            await asyncio.sleep(0.01)
        running.cancel()
        await trigger.on_kill()

    asyncio.run(kill_while_running())
    assert RiffusionHook().get_scheduler() == []


def test_a_hundred_triggers_in_one_event_loop_all_end(emulator: Emulator) -> None:
    for number in range(100):
        emulator.add_song(Song(f"song-{number}", status="queued"))
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - before - 0.005)

    async def wait(number: int) -> Any:
        trigger = RiffusionSongTrigger(
            ids=[f"song-{number}"],
            riffusion_conn_id="riffusion_default",
            user_id=None,
            poll_interval=0.5,
            deadline=time.time() + 30,
        )
        return (await anext(trigger.run())).payload

    async def main() -> list[Any]:
        watcher = asyncio.create_task(watch())
        waits = [asyncio.create_task(wait(number)) for number in range(100)]
        await asyncio.sleep(1)
        for number in range(100):
            emulator.set_song_status(f"song-{number}", "complete")
        events = await asyncio.gather(*waits)
        watcher.cancel()
        return events

    RiffusionHook().get_accounts()
    events = asyncio.run(main())
    assert all(event["status"] == "done" for event in events)
    print(f"longest stall of the event loop: {longest * 1000:.0f} ms")


def test_a_kill_gets_through_when_all_polls_hang(emulator: Emulator, connect: Callable[..., None]) -> None:
    connect(emulator.url, emulator.token, timeout=60, low_speed_time=60)
    emulator.fault("stall", method="GET")

    async def main() -> float:
        triggers = [
            RiffusionSongTrigger(
                ids=[f"job-{number}"],
                riffusion_conn_id="riffusion_default",
                user_id=None,
                poll_interval=1,
                deadline=time.time() + 60,
                cancel_on_kill=True,
            )
            for number in range(16)
        ]
        running = [asyncio.ensure_future(anext(trigger.run())) for trigger in triggers]
        await asyncio.sleep(0.5)
        start = time.monotonic()
        await triggers[-1].on_kill()
        for task in running:
            task.cancel()
        return time.monotonic() - start

    assert asyncio.run(main()) < 10
    assert emulator.count("scheduler/job-15", "DELETE") == 1
