"""One poll for all triggers that wait, against the emulator, whose log counts the requests."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise, product
from typing import Any

import pytest

from airflow_provider_riffusion.emulator import Account, Emulator, Song
from airflow_provider_riffusion.emulator.server.request_log import LoggedRequest
from airflow_provider_riffusion.exceptions import RiffusionError
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from airflow_provider_riffusion.tasks import waiting
from airflow_provider_riffusion.tasks.events import SongEvent, event_of_error
from airflow_provider_riffusion.tasks.waiting import Wait, poll
from airflow_provider_riffusion.triggers import poller
from tests.support.creating import finish_songs, prompt_operator
from tests.support.waits import (
    cancel,
    connected,
    counted_connections,
    event_of,
    poll_threads,
    song_trigger,
    start,
    until,
)

pytestmark = pytest.mark.usefixtures("connection", "no_backoff")
MUSIC, JOBS = "/v1/riffusion/music", "/v1/riffusion/scheduler"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(songs=[], accounts=[Account("user-1", max_jobs=10)], generation_seconds=60) as running:
        yield running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for songs alone as often as a test has time for."""
    monkeypatch.setattr(poller, "ALONE_SECONDS", 0.02)


def add_songs(emulator: Emulator, count: int, *, name: str = "song", status: str = "queued") -> list[str]:
    return [emulator.add_song(Song(f"{name}-{number}", status=status)).id for number in range(count)]


def bury(emulator: Emulator, ids: list[str]) -> None:
    """Let newer songs take all places of a page."""
    emulator.configure(page_limit=3, library_order="by-title")
    for number in range(3):
        emulator.add_song(Song(f"newer-{number}", title="A"))
    assert not set(ids) & {song.id for song in RiffusionHook().list_songs(limit=1000)}
    emulator.clear()


def pages(emulator: Emulator) -> list[LoggedRequest]:
    return [request for request in emulator.requests if request.path.startswith(MUSIC) and request.song_id is None]


def alone(emulator: Emulator) -> list[LoggedRequest]:
    return [request for request in emulator.requests if request.song_id is not None]


def gaps(requests: list[LoggedRequest]) -> list[float]:
    return [after.monotonic - before.monotonic for before, after in pairwise(requests)]


def create_jobs(emulator: Emulator, count: int) -> list[str]:
    hook = RiffusionHook()
    found = [handle for _ in range(count) for handle in hook.create(hook.create_request({"prompt": "x"}))]
    emulator.clear()
    return found


def test_three_hundred_songs_cost_one_page_per_interval(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = add_songs(emulator, 300)

    async def main() -> list[Any]:
        running = start(*await connected(*(song_trigger(id, poll_interval=0.3) for id in ids)))
        await until(lambda: len(pages(emulator)) > 3)
        for id in ids:
            emulator.set_song_status(id, "complete")
        return await asyncio.gather(*running)

    with counted_connections(monkeypatch) as connections:
        events = asyncio.run(main())
    assert [event["songs"][0]["id"] for event in events] == ids
    assert emulator.requests == pages(emulator)
    assert {request.query["limit"] for request in pages(emulator)[:4]} == {"620"}
    assert min(gaps(pages(emulator))) >= 0.3
    assert connections.most == 1


@pytest.mark.usefixtures("quick")
def test_jobs_cost_a_page_and_a_job_list_while_they_run(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = create_jobs(emulator, 8)

    async def main() -> list[Any]:
        running = start(*map(song_trigger, jobs))
        await until(lambda: emulator.count(JOBS) > 3)
        assert not alone(emulator)
        finish_songs(emulator)
        return await asyncio.gather(*running)

    with counted_connections(monkeypatch) as connections:
        events = asyncio.run(main())
    made = {create.job_ids[0]: set(create.song_ids) for create in emulator.accepted_creates}
    assert [{song["id"] for song in event["songs"]} for event in events] == list(made.values())
    # Two looks each, because a job could show one more song.
    assert sorted(request.song_id or "" for request in alone(emulator)) == sorted(2 * jobs)
    assert connections.most <= 2


def test_songs_that_nothing_shows_are_asked_for_alone_in_turn_and_not_faster_than_the_bound(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert poller.ALONE_SECONDS == 0.5, "two a second"
    monkeypatch.setattr(poller, "ALONE_SECONDS", 0.05)
    ids = add_songs(emulator, 8)
    bury(emulator, ids)

    async def main() -> list[Any]:
        running = start(*(song_trigger(id, poll_interval=0.01) for id in ids))
        await until(lambda: len(alone(emulator)) > 24)
        for id in ids:
            emulator.set_song_status(id, "complete")
        return await asyncio.gather(*running)

    events = asyncio.run(main())
    assert [song["id"] for event in events for song in event["songs"]] == ids
    asked = [request.song_id or "" for request in alone(emulator)]
    # A busy machine asks for the first ones again before it has started the last one.
    all_wait = max(map(asked.index, ids))
    assert sorted(asked[all_wait : all_wait + 8]) == sorted(ids), "nobody is asked for twice before all were asked for"
    assert min(gaps(alone(emulator))) >= 0.05


@pytest.mark.usefixtures("quick")
def test_a_song_alone_is_asked_for_once_per_its_interval(emulator: Emulator) -> None:
    ids = add_songs(emulator, 2)
    bury(emulator, ids)

    async def main() -> None:
        running = start(song_trigger(ids[0], poll_interval=0.3), song_trigger(ids[1], poll_interval=0.05))
        await until(lambda: sum(request.song_id == ids[0] for request in alone(emulator)) > 3)
        await cancel(running)

    asyncio.run(main())
    of_first = [request for request in alone(emulator) if request.song_id == ids[0]]
    assert min(gaps(of_first)) >= 0.3
    assert len(alone(emulator)) > 2 * len(of_first)


def test_the_shortest_interval_wins(emulator: Emulator) -> None:
    slow, quick = add_songs(emulator, 2)

    async def main() -> Any:
        (waiting,) = start(song_trigger(slow, poll_interval=60))
        await until(lambda: pages(emulator))
        running = start(song_trigger(quick, poll_interval=0.1))
        await until(lambda: len(pages(emulator)) > 2)
        emulator.set_song_status(slow, "complete")
        event = await waiting
        await cancel(running)
        return event

    assert asyncio.run(main())["status"] == "done"


def test_the_first_trigger_starts_the_poller_and_the_last_one_ends_it(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = add_songs(emulator, 2)

    async def main() -> None:
        first = start(song_trigger(one))
        await until(lambda: len(pages(emulator)) > 1)
        second = start(song_trigger(two))
        await until(lambda: len(asyncio.all_tasks()) == 5)
        assert len(poller._POLLERS) == 1
        await cancel(first)
        seen = len(pages(emulator))
        await until(lambda: len(pages(emulator)) > seen + 1)
        emulator.set_song_status(two, "complete")
        assert (await second[0])["status"] == "done"
        assert not poller._POLLERS
        await until(lambda: not poll_threads() and not connections.now and len(asyncio.all_tasks()) == 1)
        # The next one starts it again.
        assert (await event_of(song_trigger(two)))["status"] == "done"

    with counted_connections(monkeypatch) as connections:
        asyncio.run(main())


def test_a_cancelled_trigger_leaves_at_once_while_the_api_hangs(
    emulator: Emulator, connect: Callable[..., None]
) -> None:
    connect(emulator.url, emulator.token, timeout=60, low_speed_time=60)
    emulator.fault("stall")

    async def main() -> float:
        running = start(*(song_trigger(f"song-{number}") for number in range(3)))
        await until(emulator.count)
        before = time.monotonic()
        await cancel(running)
        await until(lambda: not poll_threads())
        return time.monotonic() - before

    # Far less than the connection's timeout.
    assert asyncio.run(main()) < 20


def test_a_connection_whose_api_hangs_delays_no_other(
    emulator: Emulator, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Emulator(songs=[]) as hanging:
        connect(emulator.url, emulator.token)
        other = {"conn_type": "riffusion", "host": hanging.url, "password": hanging.token}
        monkeypatch.setenv("AIRFLOW_CONN_HANGING", json.dumps(other))
        hanging.fault("stall")
        ids = add_songs(emulator, 32)

        async def main() -> None:
            stuck = start(*(song_trigger(f"song-{n}", riffusion_conn_id="hanging") for n in range(32)))
            await until(hanging.count)
            running = start(*map(song_trigger, ids))
            await until(lambda: len(pages(emulator)) > 3)
            for id in ids:
                emulator.set_song_status(id, "complete")
            shown = len(pages(emulator))
            events = await asyncio.gather(*running)
            assert {event["status"] for event in events} == {"done"}
            # One page may have been on its way when the last song ended; the next one shows all.
            assert len(pages(emulator)) <= shown + 2
            assert not any(task.done() for task in stuck)
            assert hanging.count() == 1
            await cancel(stuck)

        asyncio.run(main())


def test_connections_with_the_same_settings_share_a_poller_and_a_new_token_gets_its_own(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = add_songs(emulator, 3)
    monkeypatch.setenv("AIRFLOW_CONN_ALIAS", json.dumps({**_connection(emulator), "description": "the same"}))
    monkeypatch.setenv("AIRFLOW_CONN_ROTATED", json.dumps({**_connection(emulator), "password": "user:another"}))

    async def main() -> list[Any]:
        running = start(song_trigger(ids[0]), song_trigger(ids[1], riffusion_conn_id="alias", user_id=""))
        await until(lambda: len(asyncio.all_tasks()) == 5)
        assert len(poller._POLLERS) == 1
        event = await event_of(song_trigger(ids[2], riffusion_conn_id="rotated"))
        for id in ids:
            emulator.set_song_status(id, "complete")
        return [event, *await asyncio.gather(*running)]

    refused, *events = asyncio.run(main())
    assert refused["error"]["type"] == "RiffusionUnauthorizedError"
    assert [event["status"] for event in events] == ["done", "done"]


def _connection(emulator: Emulator) -> dict[str, Any]:
    extra = {"timeout": 20, "low_speed_time": 10}
    return {"conn_type": "riffusion", "host": emulator.url, "password": emulator.token, "extra": extra}


def test_one_596_ends_all_waits_at_once(emulator: Emulator) -> None:
    emulator.fault("status", status=596, times=1)

    async def main() -> list[Any]:
        triggers = await connected(*(song_trigger(f"song-{number}", is_tolerant=True) for number in range(20)))
        return await asyncio.gather(*map(event_of, triggers))

    events = asyncio.run(main())
    assert {event["error"]["type"] for event in events} == {"RiffusionPendingError"}
    assert emulator.count() == 1


def test_while_pages_fail_each_log_warns_once_and_retry_after_is_honoured(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    ids = add_songs(emulator, 5)

    async def main() -> list[Any]:
        running = start(*map(song_trigger, ids))
        await until(lambda: len(pages(emulator)) > 1)
        emulator.fault("status", status=503, times=3)
        emulator.fault("status", status=429, retry_after="0.7", times=1)
        await until(lambda: pages(emulator)[-1].status == 429)
        for id in ids:
            emulator.set_song_status(id, "complete")
        return await asyncio.gather(*running)

    with caplog.at_level(logging.WARNING, logger="airflow_provider_riffusion"):
        events = asyncio.run(main())
    assert {event["status"] for event in events} == {"done"}
    assert [page.status for page in pages(emulator)][-5:] == [503, 503, 503, 429, 200]
    assert gaps(pages(emulator))[-1] >= 0.7
    assert emulator.requests == pages(emulator)
    # After a failure a page is asked for that is easily answered.
    assert {page.query["limit"] for page in pages(emulator)[-4:]} == {"20"}
    warned = [record.getMessage() for record in caplog.records if "A poll failed" in record.getMessage()]
    assert len(warned) == 10, "one for each of five logs and two kinds of failure"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("what", ["in the thread", "in the loop"])
def test_an_error_in_the_poller_is_a_failed_poll(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    ids = add_songs(emulator, 3, status="complete")
    owner: Any = RiffusionHook if what == "in the thread" else poller._Poller
    name = "list_songs" if what == "in the thread" else "_judge"
    original = getattr(owner, name)

    def fail_once(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(owner, name, original)
        raise MemoryError("no room")

    monkeypatch.setattr(owner, name, fail_once)
    with caplog.at_level(logging.WARNING, logger="airflow_provider_riffusion"):
        event = asyncio.run(event_of(song_trigger(*ids)))
    assert event["status"] == "done"
    assert "A look at the songs failed: MemoryError: no room" in caplog.text


COLOUR: contextvars.ContextVar[str] = contextvars.ContextVar("COLOUR", default="none")


def test_a_trigger_logs_in_its_own_context_and_the_poller_in_nobodys(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = add_songs(emulator, 2)
    seen: set[str] = set()
    lines: set[tuple[str, str]] = set()
    look = poller._Poller._look

    async def watched(self: Any) -> float:
        seen.add(COLOUR.get())
        return await look(self)

    monkeypatch.setattr(poller._Poller, "_look", watched)
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: lines.add((COLOUR.get(), record.getMessage().split()[-3])))
    logger = logging.getLogger("airflow_provider_riffusion.tasks.waiting")
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.addHandler(handler)

    async def main() -> None:
        running = []
        for id, colour in zip(ids, ("red", "blue"), strict=True):
            COLOUR.set(colour)
            running += start(song_trigger(id))
        await until(lambda: len(lines) == 2)
        await cancel(running)

    try:
        asyncio.run(main())
    finally:
        logger.removeHandler(handler)
    assert lines == {("red", "song-0"), ("blue", "song-1")}
    assert seen == {"none"}


@pytest.mark.usefixtures("quick")
def test_a_job_that_is_listed_is_asked_for_its_songs_at_the_deadline(emulator: Emulator) -> None:
    (job,) = create_jobs(emulator, 1)
    event = asyncio.run(event_of(song_trigger(job, seconds=0.4)))
    assert len(alone(emulator)) == 1
    assert event["error"]["type"] == "RiffusionTimeoutError"
    assert event["error"]["fields"]["is_running"] is True
    assert event["error"]["message"].count("is 'queued'") == 2


def test_a_job_that_nobody_could_ask_for_in_time_ends_as_one_that_runs(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "ALONE_SECONDS", 60)
    monkeypatch.setattr(waiting, "_LAST_POLL_SECONDS", 0.5)
    jobs = create_jobs(emulator, 3)

    async def main() -> list[Any]:
        return await asyncio.gather(*(event_of(song_trigger(job, seconds=0.4)) for job in jobs))

    for event in asyncio.run(main()):
        assert event["error"]["type"] == "RiffusionTimeoutError"
        assert event["error"]["fields"] == {"usable": [], "is_running": True}
    assert len(alone(emulator)) == 1


def test_metrics_tell_what_waits_and_what_it_costs(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    gauged: list[tuple[str, float]] = []
    monkeypatch.setattr("airflow_provider_riffusion.tasks.metrics.Stats.incr", counted.append)
    monkeypatch.setattr(
        "airflow_provider_riffusion.tasks.metrics.Stats.gauge", lambda name, value: gauged.append((name, value))
    )
    ids = add_songs(emulator, 2, status="complete")
    emulator.fault("status", status=503, times=1)
    emulator.fault("status", status=429, times=1)
    asyncio.run(event_of(song_trigger(*ids)))
    assert counted == ["riffusion.polls", "riffusion.polls_failed"] * 2 + [
        "riffusion.polls_rate_limited",
        "riffusion.polls",
    ]
    assert {name.rpartition(".songs_waiting.")[0] for name, _ in gauged} == {"riffusion"}
    assert {value for _, value in gauged[:-1]} == {2}
    assert gauged[-1][1] == 0
    counted.clear()
    prompt_operator(wait_for_completion=False).execute({})
    assert counted == ["riffusion.creates_sent"]


# --- the outcomes of poke mode

SWITCHES = list(
    product(
        ("job_id", "jobs", "song-jobs", "songs", "both"),
        ("at-once", "finished", "job-id"),
        ("yes", "no"),
    )
)
#: Each with the next of these.
MORE_SWITCHES: list[dict[str, Any]] = [
    {"final_status": "complete"},
    {"final_status": "complete", "page_limit": 1, "library_order": "oldest-first"},
    {"final_status": "failed", "page_limit": 1},
    {"final_status": "failed", "library_order": "by-id"},
]


@pytest.mark.usefixtures("quick")
def test_a_shared_wait_ends_as_one_that_polls_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    # Thirty pollers in one process, on a busy machine, may need longer for the last poll than one does.
    monkeypatch.setattr(waiting, "_LAST_POLL_SECONDS", 30)

    async def both(number: int, emulator: Emulator) -> tuple[object, object]:
        monkeypatch.setenv(f"AIRFLOW_CONN_OF_{number}", json.dumps(_connection(emulator)))
        hook = RiffusionHook(f"of_{number}")
        handles = hook.create(hook.create_request({"prompt": "x"}))
        options: Any = {"riffusion_conn_id": hook.riffusion_conn_id, "poll_interval": 0.2, "is_tolerant": True}
        running = start(song_trigger(*handles, **options))
        await until(lambda: {song.status for song in emulator.songs} == {emulator.settings.final_status})
        by_itself = outcome_of(last_poll(hook, handles))
        if by_itself[0] == "RiffusionTimeoutError":
            # It would wait for its deadline.
            await cancel(running)
            running = start(song_trigger(*handles, seconds=0.3, **options))
        return outcome_of(await running[0]), by_itself

    async def main(emulators: list[Emulator]) -> list[tuple[Any, Any]]:
        return await asyncio.gather(*(both(*numbered) for numbered in enumerate(emulators)))

    settings: list[dict[str, Any]] = [
        {"job_reply": reply, "songs_shown": shown, "job_id_known": known, **MORE_SWITCHES[number % 4]}
        for number, (reply, shown, known) in enumerate(SWITCHES)
    ]
    with ExitStack() as stack:
        emulators = [
            stack.enter_context(Emulator(songs=[], generation_seconds=0.5, **switches)) for switches in settings
        ]
        ends = asyncio.run(main(emulators))
    assert {kind for (kind, *_), _ in ends} == {"done", "RiffusionSongFailedError", "RiffusionTimeoutError"}
    for switches, (shared, by_itself) in zip(settings, ends, strict=True):
        assert shared == by_itself, switches


def last_poll(hook: RiffusionHook, handles: list[str]) -> SongEvent:
    """Return how a wait ends whose deadline is now, in a task that is not deferred."""
    wait, songs = Wait(handles, 0.2, deadline=time.time(), is_tolerant=True), None
    try:
        while songs is None:
            songs = wait.result(poll(hook, handles, None), time.time())
        return SongEvent(status="done", songs=songs)
    except RiffusionError as error:
        return event_of_error(error)


def outcome_of(event: Any) -> tuple[Any, ...]:
    """Return what of an event matters to the task: the songs in their order, or the error with its fields."""
    if event["status"] == "done":
        return "done", event["songs"]
    return event["error"]["type"], event["error"]["message"], event["error"]["fields"]
