"""Songs that are paid for once although tasks share the API, the API is down, or another version began."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_riffusion import exceptions as errors
from airflow_provider_riffusion.emulator import Emulator
from airflow_provider_riffusion.triggers.riffusion import RiffusionSongTrigger
from tests.programs.create_table.life import Killed, Life, Mode, StoreKind
from tests.support.creating import (
    CREATE,
    FOR_EVER_SECONDS,
    context,
    finish_songs,
    finishing,
    prompt_operator,
    run_trigger,
)
from tests.support.other_api import other_api
from tests.support.task_state_store import Store

pytestmark = pytest.mark.usefixtures("connection", "no_backoff")

MODES: list[Mode] = ["sync", "deferred"]
STORES: list[StoreKind] = ["kept", "emptied", "none"]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(generation_seconds=0.3, songs=[]) as running:
        yield running


def die() -> None:
    raise Killed


def wait_through(emulator: Emulator) -> None:
    """Let the API fail in each way for some seconds."""
    music = "/v1/riffusion/music"
    emulator.fault("status", status=503, path=music, method="GET", times=5)
    emulator.fault("reset", path=music, method="GET", times=4)
    emulator.fault("status", status=429, retry_after=1, path=music, method="GET", times=2)


# --- tasks that share the API


@pytest.mark.parametrize("prompt", ["a song about testing", "A song about testing!"])
@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("mode", MODES)
def test_a_create_that_was_not_made_returns_no_other_tasks_songs(
    emulator: Emulator, mode: Mode, kind: StoreKind, prompt: str
) -> None:
    emulator.configure(generation_seconds=FOR_EVER_SECONDS)
    lost, made = (Life(mode, kind, name=name) for name in ("lost", "made"))
    assert made.run(prompt=prompt, wait_for_completion=False).how == "songs"
    emulator.fault("status", status=502, path=CREATE, times=1)
    assert isinstance(lost.run().error, errors.RiffusionCreateUncertainError)
    finish_songs(emulator)
    lost.clear()
    # The other task's songs are finished and in the library now.
    emulator.fault("status", status=502, path=CREATE, times=1)
    assert isinstance(lost.run().error, errors.RiffusionCreateUncertainError)
    assert len(emulator.accepted_creates) == 1


@pytest.mark.parametrize("mode", MODES)
def test_nor_does_it_on_an_api_that_was_written_apart(connect: Callable[..., None], mode: Mode) -> None:
    with other_api(seconds=0.5) as api:
        connect(api.url, api.token)
        lost, made = (Life(mode, "none", name=name) for name in ("lost", "made"))
        assert made.run(wait_for_completion=False).how == "songs"
        api.first_create = "502, not made"
        assert isinstance(lost.run().error, errors.RiffusionCreateUncertainError)
        lost.clear()
        assert set(lost.run().ids) == {"2-0", "2-1"}
        assert len(api.creates) == 2


@pytest.mark.parametrize("mode", MODES)
def test_twenty_tasks_on_three_slots_all_succeed(emulator: Emulator, mode: Mode) -> None:
    lives = [Life(mode, "kept", name=f"create_{number}") for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        ends = list(pool.map(Life.run, lives))
    assert [end.how for end in ends] == ["songs"] * 20
    assert sorted(id for end in ends for id in end.ids) == sorted(song.id for song in emulator.songs)
    assert len(emulator.accepted_creates) == 20


# --- an API that is down


@pytest.mark.parametrize("mode", MODES)
def test_a_wait_goes_on_while_the_api_is_down(emulator: Emulator, caplog: pytest.LogCaptureFixture, mode: Mode) -> None:
    wait_through(emulator)
    start = time.monotonic()
    with caplog.at_level(logging.INFO, logger="airflow_provider_riffusion"):
        end = Life(mode, "kept").run()
    assert time.monotonic() - start > 2
    (create,) = emulator.accepted_creates
    assert set(end.ids) == set(create.song_ids)
    failures = [record.getMessage() for record in caplog.records if "A poll failed" in record.getMessage()]
    # The task itself warns of each failed poll, the triggerer of each kind of failure once a minute.
    assert len(failures) == (11 if mode == "sync" else 4)
    for word in ("503", "429", "Connection"):
        assert any(word in failure for failure in failures), f"{word} is not in the log"
    assert any("is 'complete'" in record.getMessage() for record in caplog.records)


def test_64_deferred_waits_on_an_api_that_hangs_end_by_their_deadline(
    emulator: Emulator, connect: Callable[..., None]
) -> None:
    connect(emulator.url, emulator.token, timeout=60, low_speed_time=60)
    emulator.fault("stall", path="/v1/riffusion/music", method="GET")
    deadline = time.time() + 3

    async def end_of(number: int) -> tuple[Any, float]:
        trigger = RiffusionSongTrigger(
            ids=[f"job-{number}"],
            riffusion_conn_id="riffusion_default",
            user_id=None,
            poll_interval=0.05,
            deadline=deadline,
            is_tolerant=True,
        )
        event = (await anext(trigger.run())).payload
        return event, time.time() - deadline

    async def main() -> list[tuple[Any, float]]:
        return await asyncio.gather(*(end_of(number) for number in range(64)))

    ends = asyncio.run(main())
    assert {event["error"]["type"] for event, _ in ends} == {"RiffusionTimeoutError"}
    assert all(0 <= late < 5 for _, late in ends), max(late for _, late in ends)


# --- a request that changes


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("mode", MODES)
def test_a_request_that_renders_differently_in_a_retry_is_no_new_one(
    emulator: Emulator, caplog: pytest.LogCaptureFixture, mode: Mode, kind: StoreKind
) -> None:
    emulator.configure(generation_seconds=FOR_EVER_SECONDS)
    life = Life(mode, kind)
    with life.struck("before a poll", die):
        life.run(prompt="a song of 12:00")
    life.retry()
    with finishing(emulator):
        end = life.run(prompt="a song of 12:05")
    (create,) = emulator.accepted_creates
    assert set(end.ids) == set(create.song_ids)
    assert kind == "none" or "renders differently" in caplog.text


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("mode", MODES)
def test_a_task_that_is_cleared_with_another_prompt_never_returns_the_old_songs(
    emulator: Emulator, mode: Mode, kind: StoreKind
) -> None:
    emulator.configure(generation_seconds=FOR_EVER_SECONDS)
    life = Life(mode, kind)
    with life.struck("before a poll", die):
        life.run(prompt="the old song")
    life.clear()
    with life.struck("before a poll", die):
        life.run(prompt="the new song")
    life.retry()
    with finishing(emulator):
        end = life.run(prompt="the new song")
    old, new = emulator.accepted_creates
    assert (old.body["prompt"], new.body["prompt"]) == ("the old song", "the new song")
    assert set(end.ids) == set(new.song_ids)


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("mode", MODES)
def test_nor_when_the_new_request_was_refused_at_first(emulator: Emulator, mode: Mode, kind: StoreKind) -> None:
    emulator.configure(generation_seconds=FOR_EVER_SECONDS)
    life = Life(mode, kind)
    with life.struck("before a poll", die):
        life.run(prompt="the old song")
    life.clear()
    emulator.fault("status", status=429, path=CREATE)
    assert isinstance(life.run(prompt="the new song", timeout=0.2).error, errors.RiffusionRateLimitError)
    emulator.clear()
    life.retry()
    with finishing(emulator):
        end = life.run(prompt="the new song")
    if kind == "none":
        assert isinstance(end.error, errors.RiffusionCreateUncertainError)
    else:
        assert set(end.ids) == set(emulator.accepted_creates[1].song_ids)


@pytest.mark.parametrize("mode", MODES)
def test_a_retry_after_a_clear_is_a_retry_also_when_the_cleared_try_found_nothing(
    emulator: Emulator, mode: Mode
) -> None:
    emulator.configure(generation_seconds=FOR_EVER_SECONDS)
    life = Life(mode, "kept")
    with life.struck("after the send", die):
        life.run()
    life.clear()
    emulator.fault("status", status=503, path="scheduler")
    assert life.run(timeout=0.1).how == "retried"
    emulator.clear()
    life.retry()
    with finishing(emulator):
        end = life.run(prompt="rendered differently")
    (create,) = emulator.accepted_creates
    assert set(end.ids) == set(create.song_ids)


def test_a_finished_task_that_is_cleared_creates_anew_also_with_fewer_retries(emulator: Emulator) -> None:
    life = Life("sync", "kept")
    first = life.run()
    # Airflow sets max_tries to the number of tries plus the retries, which gives the same number as before.
    life.retries -= 1
    life.clear()
    assert set(life.run().ids).isdisjoint(first.ids)
    assert len(emulator.accepted_creates) == 2


def test_songs_that_still_run_are_not_paid_for_again_by_fewer_retries(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=FOR_EVER_SECONDS)
    life = Life("sync", "kept")
    assert life.run(timeout=0.1).how == "retried"
    life.retry()
    life.retries = 1
    with finishing(emulator):
        assert len(life.run(prompt="rendered differently").ids) == 2
    assert len(emulator.accepted_creates) == 1


def test_a_first_try_does_not_become_a_retry_by_more_retries(emulator: Emulator) -> None:
    life = Life("sync", "none")
    life.retries = 5
    assert len(life.run().ids) == 2
    assert len(emulator.accepted_creates) == 1


# --- what version 0.1.0 has begun


def test_a_trigger_of_version_0_1_0_goes_on(emulator: Emulator) -> None:
    (job_id,) = prompt_operator(wait_for_completion=False).execute({})
    old: dict[str, Any] = {
        "ids": [job_id],
        "riffusion_conn_id": "riffusion_default",
        "user_id": None,
        "poll_interval": 0.05,
        "deadline": time.time() + 20,
        "max_failures": None,
        "cancel_on_kill": True,
    }
    # Five failures ended a wait of version 0.1.0, but not one for songs that were paid for.
    emulator.fault("status", status=503, path="/v1/riffusion/music", method="GET", times=6)
    event = run_trigger(RiffusionSongTrigger(**old))
    (create,) = emulator.accepted_creates
    ids = prompt_operator(deferrable=True).execute_complete(context(Store()), event)
    assert set(ids) == set(create.song_ids)


@pytest.mark.parametrize("following", ["retry", "clear"])
@pytest.mark.parametrize("has_ids", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_a_create_that_version_0_1_0_has_saved_goes_on(
    emulator: Emulator, mode: Mode, has_ids: bool, following: str
) -> None:
    emulator.configure(generation_seconds=FOR_EVER_SECONDS)
    reference = "5f0c1e6b2a9d4b7f8e3a1c5d7b9f0e2a"
    ids = prompt_operator(wait_for_completion=False, reply_ref=reference).execute({})
    life = Life(mode, "kept")
    old = {"reference": reference, "sent_at": time.time(), "finished": [], "max_tries": None}
    life.store.set("riffusion_create", {**old, "ids": ids if has_ids else []})
    getattr(life, following)()
    with finishing(emulator):
        end = life.run()
    (create,) = emulator.accepted_creates
    assert set(end.ids) == set(create.song_ids)


def test_songs_that_version_0_1_0_has_finished_are_reported_by_a_retry_and_made_anew_by_a_clear(
    emulator: Emulator,
) -> None:
    life = Life("sync", "kept")
    old = {"reference": "5f0c1e6b", "sent_at": time.time(), "ids": ["job"], "finished": ["a", "b"], "max_tries": 2}
    life.store.set("riffusion_create", old)
    life.retry()
    assert life.run().ids == ["a", "b"]
    assert emulator.accepted_creates == []
    life.clear()
    assert len(life.run().ids) == 2
    assert len(emulator.accepted_creates) == 1
