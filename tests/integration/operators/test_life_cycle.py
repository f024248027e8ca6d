"""Creating, waiting, listing and deleting, against the emulator."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from airflow_provider_riffusion import exceptions as errors
from airflow_provider_riffusion.emulator import Account, Emulator, Song
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from airflow_provider_riffusion.operators.riffusion import (
    RiffusionCreateComposeOperator,
    RiffusionCreatePromptOperator,
    RiffusionDeleteSongOperator,
    RiffusionListSongsOperator,
)
from airflow_provider_riffusion.sensors.riffusion import RiffusionAccountSensor, RiffusionSongSensor
from airflow_provider_riffusion.tasks import create_once
from airflow_provider_riffusion.tasks.events import songs_of_event
from airflow_provider_riffusion.triggers.riffusion import RiffusionSongTrigger
from tests.support.dag_runs import ROOT, outcomes_of, results_of, run_dag
from tests.support.raw_server import NoTls, ok, reply, serve
from tests.support.task_state_store import Store

pytestmark = pytest.mark.usefixtures("connection", "no_backoff")

DAGS = ROOT / "tests" / "airflow" / "dags" / "life_cycle.py"
CREATE = "music/create-"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(generation_seconds=0.5) as running:
        yield running


def context(store: Store | None = None) -> Any:
    return {"task_state_store": store} if store is not None else {}


def prompt_operator(**parameters: Any) -> RiffusionCreatePromptOperator:
    defaults = {"task_id": "create", "prompt": "a song about testing", "poll_interval": 0.1, "timeout": 20}
    return RiffusionCreatePromptOperator(**{**defaults, **parameters})


# --- creating


@pytest.mark.parametrize("job_reply", ["job_id", "jobs"])
@pytest.mark.parametrize("final_status", ["complete", "completed"])
def test_a_create_returns_the_ids_of_finished_songs(emulator: Emulator, job_reply: str, final_status: str) -> None:
    emulator.configure(job_reply=job_reply, final_status=final_status)
    ids = prompt_operator().execute({})
    assert sorted(ids) == sorted(song.id for song in emulator.songs if song.sound == "a song about testing")
    assert len(ids) == 2
    assert emulator.count(CREATE) == 1


def test_a_create_need_not_wait(emulator: Emulator) -> None:
    (job_id,) = prompt_operator(wait_for_completion=False).execute({})
    assert [job.id for job in RiffusionHook().get_scheduler()] == [job_id]
    assert emulator.count("music/", "GET") == 0


def test_all_parameters_reach_the_api(emulator: Emulator) -> None:
    prompt_operator(
        instrumental="true",
        model="FUZZ-0.8",
        user_id="user-1",
        max_jobs="2",
        reply_url="https://example.com/done",
        reply_ref="mine",
    ).execute({})
    RiffusionCreateComposeOperator(
        task_id="compose",
        prompts=[
            {"text": "one", "strength": 20, "start": 0, "end": 50},
            {"text": "two"},
            {"text": "three", "end": 100},
        ],
        lyrics="la la",
        title="T",
        lyrics_strength=0,
        lyrics_weirdness="100",
        poll_interval=0.1,
    ).execute({})
    first, second = (request.body for request in emulator.requests if request.method == "POST")
    assert first == {
        "prompt": "a song about testing",
        "instrumental": True,
        "model": "FUZZ-0.8",
        "user_id": "user-1",
        "maxJobs": 2,
        "replyUrl": "https://example.com/done",
        "replyRef": "mine",
    }
    assert len(second.pop("replyRef")) == 32
    assert second == {
        "prompt_1": "one",
        "prompt_1_strength": 20,
        "prompt_1_start": 0,
        "prompt_1_end": 50,
        "prompt_2": "two",
        "prompt_3": "three",
        "prompt_3_end": 100,
        "lyrics": "la la",
        "title": "T",
        "lyrics_strength": 0,
        "lyrics_weirdness": 100,
    }


WRONG_PROMPT = {
    "prompt": ["", " ", None, 5],
    "instrumental": ["maybe", None, 1],
    "model": ["", 5],
    "max_jobs": [0, 11, "x", True, 1.5],
    "reply_url": ["", "x" * 1025],
    "reply_ref": ["", "x" * 1025],
    "poll_interval": [0, -1, "x", None],
    "timeout": [0, "x"],
    "user_id": ["", 5],
    "riffusion_conn_id": [""],
}
WRONG_COMPOSE = {
    "prompts": [
        [],
        "text",
        None,
        [{"text": "x"}] * 4,
        ["text"],
        [{}],
        [{"text": ""}],
        [{"text": "x", "volume": 5}],
        [{"text": "x", "strength": 19}],
        [{"text": "x", "strength": 101}],
        [{"text": "x", "start": -1}],
        [{"text": "x", "end": 101}],
        [{"text": "x", "start": 50, "end": 50}],
    ],
    "lyrics": [""],
    "lyrics_strength": [-1, 101],
    "lyrics_weirdness": [-1, 101],
}


@pytest.mark.parametrize(
    ("operator_class", "right", "name", "value"),
    [
        (operator_class, right, name, value)
        for operator_class, right, wrong in (
            (RiffusionCreatePromptOperator, {"prompt": "x"}, WRONG_PROMPT),
            (RiffusionCreateComposeOperator, {"prompts": [{"text": "x"}]}, WRONG_COMPOSE),
        )
        for name, values in wrong.items()
        for value in values
    ],
)
def test_a_wrong_parameter_is_named_before_anything_is_sent(
    emulator: Emulator, operator_class: type, right: dict[str, Any], name: str, value: Any
) -> None:
    with pytest.raises(errors.RiffusionConfigurationError, match=name):
        operator_class(task_id="t", **{**right, name: value})
    operator = operator_class(task_id="t", **{**right, name: "{{ params.x }}"})
    setattr(operator, name, value)
    with pytest.raises(errors.RiffusionConfigurationError, match=name):
        operator.execute({})
    assert emulator.requests == []


@pytest.mark.parametrize(("status", "body"), [(200, "moderation"), (400, "moderation"), (422, "json")])
def test_a_moderated_prompt_ends_the_task_and_is_forgotten(emulator: Emulator, status: int, body: str) -> None:
    store = Store()
    emulator.fault("status", status=status, body=body, path=CREATE)
    with pytest.raises(errors.RiffusionModerationError):
        prompt_operator().execute(context(store))
    assert emulator.count() == 1
    assert store.values == {}


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (400, errors.RiffusionBadRequestError),
        (401, errors.RiffusionUnauthorizedError),
        (402, errors.RiffusionSubscriptionError),
        (429, errors.RiffusionRateLimitError),
        (596, errors.RiffusionPendingError),
    ],
)
def test_a_refused_create_is_sent_once_and_forgotten(emulator: Emulator, status: int, error_class: type) -> None:
    store = Store()
    emulator.fault("status", status=status, path=CREATE)
    with pytest.raises(error_class):
        prompt_operator().execute(context(store))
    assert emulator.count() == 1
    assert store.values == {}


def test_a_song_that_fails_ends_the_task_and_is_forgotten(emulator: Emulator) -> None:
    store = Store()
    with pytest.raises(errors.RiffusionSongFailedError, match="'failed'"):
        prompt_operator(prompt="a failing song").execute(context(store))
    assert store.values == {}


@pytest.mark.parametrize("word", ["queued", "generating_audio", "never_seen_word", ""])
def test_a_song_that_is_never_finished_ends_by_its_deadline_and_is_kept(emulator: Emulator, word: str) -> None:
    emulator.configure(final_status=word or "odd")
    store = Store()
    with pytest.raises(errors.RiffusionTimeoutError) as caught:
        prompt_operator(timeout=1).execute(context(store))
    (job_id,) = json.loads(store.values["riffusion_create"])["ids"]
    assert job_id in str(caught.value)

    emulator.configure(final_status="complete")
    for song in emulator.songs:
        emulator.set_song_status(song.id, "complete")
    try:
        assert len(prompt_operator().execute(context(store))) == 2
    except errors.RiffusionTimeoutError:
        pytest.fail("the next try did not wait on")
    assert emulator.count(CREATE) == 1
    assert store.values == {}


# --- never paying twice


def test_a_lost_reply_is_found_by_its_reference(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=1.5)
    emulator.fault("lost-reply", path=CREATE, times=1)
    ids = prompt_operator().execute(context(Store()))
    assert len(ids) == 2
    assert emulator.count(CREATE) == 1


def test_a_create_that_tls_kept_back_is_not_a_lost_one(connect: Callable[..., None]) -> None:
    store = Store()
    with serve(tls=NoTls()) as server:
        connect(server.url.replace("http:", "https:"), "user:token")
        with pytest.raises(errors.RiffusionConnectionError) as caught:
            prompt_operator().execute(context(store))
    assert not caught.value.may_have_arrived
    assert store.values == {}, "the next try creates"


def test_a_request_over_a_kept_connection_may_have_arrived(emulator: Emulator) -> None:
    hook = RiffusionHook()
    hook.get_accounts()
    emulator.fault("reset")
    with pytest.raises(errors.RiffusionConnectionError) as caught:
        hook.get_accounts(attempts=1)
    assert caught.value.may_have_arrived


def test_a_lost_reply_is_found_by_time_and_prompt_when_the_job_is_over(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=0)
    emulator.fault("lost-reply", path=CREATE, times=1)
    assert len(prompt_operator().execute({})) == 2
    assert emulator.count(CREATE) == 1


@pytest.mark.parametrize("store", [None, Store()])
def test_a_create_that_nobody_knows_of_is_not_sent_again(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, store: Store | None
) -> None:
    emulator.fault("status", status=502, path=CREATE)
    operator = prompt_operator()
    with pytest.raises(errors.RiffusionCreateUncertainError) as caught:
        operator.execute(context(store))
    (create,) = (request for request in emulator.requests if request.method == "POST")
    assert create.body["replyRef"] in str(caught.value)
    assert store is None or store.values == {}


def test_two_sets_that_fit_are_no_answer(emulator: Emulator) -> None:
    now = datetime.now(UTC)
    for number in range(3):
        emulator.add_song(Song(f"s{number}", sound="a song about testing", created_at=now + timedelta(seconds=number)))
    emulator.fault("status", status=502, path=CREATE)
    with pytest.raises(errors.RiffusionCreateUncertainError):
        prompt_operator().execute({})


def test_other_songs_are_not_taken_for_the_lost_ones(emulator: Emulator) -> None:
    now = datetime.now(UTC)
    emulator.add_song(Song("old", sound="a song about testing", created_at=now - timedelta(minutes=5)))
    emulator.add_song(Song("other", sound="something else", created_at=now))
    emulator.fault("status", status=502, path=CREATE)
    with pytest.raises(errors.RiffusionCreateUncertainError):
        prompt_operator().execute({})


def test_a_create_that_was_never_sent_may_be_sent_by_the_next_try(
    connect: Callable[..., None], emulator: Emulator
) -> None:
    with serve(ok(b"")) as closed:
        pass
    store = Store()
    connect(closed.url, "t")
    with pytest.raises(errors.RiffusionConnectionError):
        prompt_operator().execute(context(store))
    assert store.values == {}


def test_a_search_that_fails_is_taken_up_by_the_next_try(emulator: Emulator) -> None:
    store = Store()
    emulator.configure(generation_seconds=2)
    emulator.fault("lost-reply", path=CREATE, times=1)
    emulator.fault("status", status=500, path="scheduler", times=5)
    with pytest.raises(errors.RiffusionServerError):
        prompt_operator().execute(context(store))
    assert len(prompt_operator().execute(context(store))) == 2
    assert emulator.count(CREATE) == 1


def test_a_search_that_fails_without_a_store_is_final(emulator: Emulator) -> None:
    emulator.fault("lost-reply", path=CREATE, times=1)
    emulator.fault("status", status=500, path="scheduler")
    with pytest.raises(errors.RiffusionCreateUncertainError):
        prompt_operator().execute({})


def test_a_later_try_waits_for_what_an_earlier_one_has_started(emulator: Emulator) -> None:
    store = Store()
    with pytest.raises(errors.RiffusionTimeoutError):
        prompt_operator(timeout=0.1).execute(context(store))
    assert len(prompt_operator().execute(context(store))) == 2
    assert emulator.count(CREATE) == 1
    assert store.values == {}
    prompt_operator().execute(context(store))
    assert emulator.count(CREATE) == 2, "clearing a finished task makes a new song"


def test_a_try_that_died_before_the_reply_is_found_by_its_reference(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=2)
    store = Store()
    prompt_operator(wait_for_completion=False, reply_ref="reference").execute({})
    store.set("riffusion_create", {"reference": "reference", "sent_at": time.time(), "ids": []})
    assert len(prompt_operator().execute(context(store))) == 2
    assert emulator.count(CREATE) == 1


def test_an_id_that_nobody_knows_any_more_is_created_anew(emulator: Emulator) -> None:
    store = Store()
    store.set("riffusion_create", {"reference": "r", "sent_at": time.time(), "ids": ["gone"]})
    assert len(prompt_operator().execute(context(store))) == 2
    assert emulator.count(CREATE) == 1


class TaskInstance:
    def __init__(self, max_tries: int) -> None:
        self.max_tries = max_tries

    def xcom_push(self, key: str, value: object) -> None:
        pass


@pytest.mark.parametrize("wait_for_completion", [True, False])
def test_a_result_that_could_not_be_reported_is_not_paid_for_again(
    emulator: Emulator, wait_for_completion: bool
) -> None:
    store = Store()

    def run(max_tries: int) -> list[str]:
        operator = prompt_operator(wait_for_completion=wait_for_completion)
        return operator.execute({"task_state_store": store, "ti": TaskInstance(max_tries)})

    first = run(max_tries=2)
    assert run(max_tries=2) == first
    assert emulator.count(CREATE) == 1
    assert run(max_tries=4) != first, "a cleared task makes new songs"
    assert emulator.count(CREATE) == 2


ACCEPTED = [
    (200, b'{"job_id": "J", "error": "a warning"}'),
    (200, b'{"jobs": [{"id": null, "job_id": "J"}, {"id": "J"}]}'),
    (201, b'{"job_id": "J"}'),
    (202, b'{"job_id": "J"}'),
    (206, b'{"songs": [{"id": "J"}]}'),
]


@pytest.mark.parametrize(("status", "body"), ACCEPTED)
def test_a_reply_that_names_ids_has_created_them(connect: Callable[..., None], status: int, body: bytes) -> None:
    head = f"HTTP/1.1 {status} X\nContent-Length: {len(body)}\nConnection: close"
    with serve(reply(head, body)) as server:
        connect(server.url, "t")
        assert prompt_operator(wait_for_completion=False).execute({}) == ["J"]


@pytest.mark.parametrize("status", [203, 204, 302, 304, 307, 408, 409, 418, 425, 499, 500, 502, 504, 599, 600, 999])
def test_a_create_of_an_uncertain_status_is_never_sent_twice(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(create_once, "LOOKS", 1)
    store = Store()
    emulator.fault("status", status=status, path=CREATE, body="empty")
    with pytest.raises(errors.RiffusionCreateUncertainError):
        prompt_operator().execute(context(store))
    assert emulator.count(CREATE) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"odd": 1}',
        b"[]",
        b'{"job_id": null}',
        b'{"jobs": [{}]}',
        b'{"job_id": "../x"}',
        b'{"error": "upstream timed out"}',
        b'{"error": "x", "code": 408}',
    ],
)
def test_a_reply_without_ids_is_a_lost_one(
    connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(create_once, "LOOKS", 1)
    with serve(ok(body), ok(b"[]")) as server:
        connect(server.url, "t")
        with pytest.raises(errors.RiffusionCreateUncertainError):
            prompt_operator().execute({})
    assert sum(request.startswith(b"POST") for request in server.requests) == 1


def test_a_redirected_create_is_not_followed(connect: Callable[..., None]) -> None:
    moved = "HTTP/1.1 307 X\nLocation: %s\nContent-Length: 0\nConnection: close"
    with serve(ok(b"{}")) as other, serve(reply(moved % other.url), ok(b"[]")) as server:
        connect(server.url, "t")
        with pytest.raises(errors.RiffusionCreateUncertainError):
            prompt_operator().execute({})
    assert other.requests == []


# --- killing


def test_a_killed_task_sends_no_create(emulator: Emulator) -> None:
    operator = prompt_operator()
    operator.on_kill()
    store = Store()
    with pytest.raises(errors.RiffusionError, match="stopped before the request was sent"):
        operator.execute(context(store))
    assert emulator.requests == []
    assert store.values == {}


@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_a_kill_takes_the_job_off_the_scheduler_and_keeps_the_state(emulator: Emulator, cancel_on_kill: bool) -> None:
    emulator.configure(generation_seconds=30)
    store = Store()
    operator = prompt_operator(cancel_on_kill=cancel_on_kill)
    threading.Timer(0.5, operator.on_kill).start()
    with pytest.raises(errors.RiffusionError, match="killed"):
        operator.execute(context(store))
    deletes = [request for request in emulator.requests if request.method == "DELETE"]
    assert len(deletes) == int(cancel_on_kill)
    assert len(RiffusionHook().get_scheduler()) == int(not cancel_on_kill)
    assert store.values


def test_a_kill_while_the_create_is_answered_cancels_what_it_made(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.configure(generation_seconds=30)
    operator = prompt_operator()
    real = RiffusionHook.create

    def create(self: RiffusionHook, *arguments: Any, **parameters: Any) -> list[str]:
        ids = real(self, *arguments, **parameters)
        operator.on_kill()
        return ids

    monkeypatch.setattr(RiffusionHook, "create", create)
    with pytest.raises(errors.RiffusionError, match="killed"):
        operator.execute(context(Store()))
    assert RiffusionHook().get_scheduler() == []


def test_a_kill_while_an_earlier_trys_job_is_looked_for_cancels_it(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.configure(generation_seconds=30)
    (job_id,) = prompt_operator(wait_for_completion=False).execute({})
    store = Store()
    store.set("riffusion_create", {"reference": "r", "sent_at": time.time(), "ids": [job_id]})
    operator = prompt_operator()
    real = RiffusionHook.is_known

    def is_known(self: RiffusionHook, *arguments: Any, **parameters: Any) -> bool:
        operator.on_kill()
        return real(self, *arguments, **parameters)

    monkeypatch.setattr(RiffusionHook, "is_known", is_known)
    with pytest.raises(errors.RiffusionError, match="killed"):
        operator.execute(context(store))
    assert RiffusionHook().get_scheduler() == []
    assert emulator.count(CREATE) == 1


def test_a_kill_does_not_wait_for_a_server_that_stalls(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=30)
    operator = prompt_operator(wait_for_completion=False)
    operator.execute({})
    emulator.fault("stall", method="DELETE")
    start = time.monotonic()
    operator.on_kill()
    assert time.monotonic() - start < 3.5


# --- faults while waiting


@pytest.mark.parametrize("failures", [4, 5])
@pytest.mark.parametrize("what", [{"what": "reset"}, {"what": "status", "status": 503}, {"what": "html"}])
def test_four_failed_polls_are_waited_over_and_five_are_not(
    emulator: Emulator, failures: int, what: dict[str, Any]
) -> None:
    emulator.fault(**what, path="/v1/riffusion/music", times=failures)
    if failures < 5:
        assert len(prompt_operator().execute({})) == 2
    else:
        with pytest.raises(errors.RiffusionError):
            prompt_operator().execute({})
        assert emulator.count("/v1/riffusion/music") == 5


def test_a_596_while_waiting_ends_the_task_at_once(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=30)
    threading.Timer(0.5, emulator.break_account, ["user-1"]).start()
    start = time.monotonic()
    with pytest.raises(errors.RiffusionPendingError):
        prompt_operator().execute({})
    assert time.monotonic() - start < 3


# --- the trigger


def run_trigger(trigger: RiffusionSongTrigger) -> Any:
    async def first() -> Any:
        return await anext(trigger.run())

    return json.loads(json.dumps(asyncio.run(first()).payload))


def deferred(operator: Any, store: Store | None = None) -> RiffusionSongTrigger:
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context(store))
    trigger = caught.value.trigger
    classpath, kwargs = trigger.serialize()
    assert classpath == "airflow_provider_riffusion.triggers.riffusion.RiffusionSongTrigger"
    return RiffusionSongTrigger(**json.loads(json.dumps(kwargs)))


def test_the_deferred_path_creates_once_and_forgets(emulator: Emulator) -> None:
    store = Store()
    trigger = deferred(prompt_operator(deferrable=True), store)
    assert emulator.token not in repr(trigger) + repr(trigger.serialize())
    event = run_trigger(trigger)
    assert len(prompt_operator(deferrable=True).execute_complete(context(store), event)) == 2
    assert emulator.count(CREATE) == 1
    assert store.values == {}


def test_the_triggers_on_kill_takes_the_job_off_the_scheduler(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=30)
    trigger = deferred(prompt_operator(deferrable=True))

    async def kill_while_running() -> None:
        running = asyncio.create_task(anext(trigger.run()))
        await asyncio.sleep(0.5)
        running.cancel()
        await trigger.on_kill()

    asyncio.run(kill_while_running())
    assert RiffusionHook().get_scheduler() == []


@pytest.mark.parametrize(
    "event", [None, {}, "done", {"status": "done"}, {"status": "done", "songs": []}, {"status": "?"}]
)
def test_an_event_that_is_none_of_ours_is_a_failure(event: Any) -> None:
    with pytest.raises(errors.RiffusionError, match="resumed"):
        prompt_operator().execute_complete({}, event)


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


# --- one meaning in every mode

ENDINGS: dict[str, Callable[[Emulator], object]] = {
    "done": lambda emulator: emulator.set_song_status("song", "complete"),
    "song failed": lambda emulator: emulator.set_song_status("song", "failed"),
    "timeout": lambda emulator: None,
    "596": lambda emulator: emulator.break_account("user-1"),
    "401": lambda emulator: emulator.fault("status", status=401),
    "unreachable": lambda emulator: emulator.fault("reset"),
    "400": lambda emulator: emulator.fault("status", status=400),
}
FLAGS = [{}, {"soft_fail": True}, {"never_fail": True}, {"silent_fail": True}]


def expected(ending: str, flags: dict[str, bool]) -> type[BaseException] | None:
    """The table of the README."""
    soft, never, silent = (flags.get(f"{name}_fail", False) for name in ("soft", "never", "silent"))
    if ending == "done":
        return None
    if ending == "timeout" or (silent and ending in ("unreachable", "400")):
        return AirflowSkipException if soft else AirflowSensorTimeout
    if ending in ("song failed", "596", "401"):
        final = {
            "song failed": errors.RiffusionSongFailedError,
            "596": errors.RiffusionPendingError,
            "401": errors.RiffusionUnauthorizedError,
        }
        return AirflowSkipException if soft or never else final[ending]
    if never:
        return AirflowSkipException
    return errors.RiffusionConnectionError if ending == "unreachable" else errors.RiffusionBadRequestError


@pytest.mark.parametrize("mode", ["poke", "deferred"])
@pytest.mark.parametrize("flags", FLAGS, ids=lambda flags: "".join(flags) or "plain")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_deferred_sensor_ends_as_in_poke_mode(
    emulator: Emulator, ending: str, flags: dict[str, bool], mode: str
) -> None:
    emulator.add_song(Song("song", status="queued"))
    ENDINGS[ending](emulator)
    sensor = RiffusionSongSensor(
        task_id="t", song_id="song", poke_interval=0.1, timeout=1, deferrable=mode == "deferred", **flags
    )

    def run() -> Any:
        if mode == "poke":
            return sensor.execute({})
        return sensor.resume_execution("execute_complete", {"event": run_trigger(deferred(sensor))}, {})

    error_class = expected(ending, flags)
    if error_class is None:
        assert [song["id"] for song in run()] == ["song"]
    else:
        with pytest.raises(error_class) as caught:
            run()
        assert type(caught.value) is error_class


def test_a_trigger_that_times_out_or_breaks_ends_as_airflow_means_it(emulator: Emulator) -> None:
    sensor = RiffusionSongSensor(task_id="t", song_id="song")
    with pytest.raises(AirflowSensorTimeout):
        sensor.resume_execution("__fail__", {"error": "Trigger timeout"}, {})


def test_a_sensor_in_reschedule_mode_counts_failures_over_its_pokes(emulator: Emulator) -> None:
    emulator.fault("reset")
    store = Store()
    for _ in range(4):
        sensor = RiffusionSongSensor(task_id="t", song_id="song", mode="reschedule", poke_interval=1)
        assert not sensor.poke(context(store))
    with pytest.raises(errors.RiffusionConnectionError):
        RiffusionSongSensor(task_id="t", song_id="song").poke(context(store))
    assert store.values == {}, "the next try counts anew"


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_song_sensor_does_not_wait_over_what_ends_a_task_at_once(
    connect: Callable[..., None], deferrable: bool
) -> None:
    with serve(reply("HTTP/1.1 200 OK\nContent-Length: 1000000000000", b"[")) as server:
        connect(server.url, "user:token")
        sensor = RiffusionSongSensor(task_id="t", song_id="song", poke_interval=0.1, deferrable=deferrable)
        event = run_trigger(deferred(sensor)) if deferrable else None
        with pytest.raises(errors.RiffusionTooLargeError):
            _ = sensor.execute_complete({}, event) if deferrable else sensor.execute({})
    assert len(server.requests) == 1


def test_the_account_sensor_does_not_wait_over_what_ends_a_task_at_once(connect: Callable[..., None]) -> None:
    with serve(reply("HTTP/1.1 200 OK\nContent-Length: 1000000000000", b"{")) as server:
        connect(server.url, "user:token")
        with pytest.raises(errors.RiffusionTooLargeError):
            RiffusionAccountSensor(task_id="t", poke_interval=0.1).execute({})
    assert len(server.requests) == 1


@pytest.mark.parametrize("wait_for_repair", [False, True])
def test_the_account_sensor(emulator: Emulator, wait_for_repair: bool) -> None:
    sensor = RiffusionAccountSensor(task_id="t", wait_for_repair=wait_for_repair, poke_interval=0.1, timeout=5)
    sensor.execute({})
    emulator.break_account("user-1")
    emulator.clear()
    if wait_for_repair:
        threading.Timer(0.5, emulator.repair_account, ["user-1"]).start()
        sensor.execute({})
        assert emulator.count() > 2
    else:
        with pytest.raises(errors.RiffusionPendingError):
            sensor.execute({})
        assert emulator.count() == 1


def test_the_account_sensor_and_faults(emulator: Emulator, connect: Callable[..., None]) -> None:
    sensor = RiffusionAccountSensor(task_id="t", poke_interval=0.1, wait_for_repair=True)
    emulator.fault("reset", times=4)
    sensor.execute({})
    emulator.fault("reset", times=5)
    with pytest.raises(errors.RiffusionConnectionError):
        sensor.execute({})
    emulator.clear()
    emulator.fault("status", status=596)
    with pytest.raises(errors.RiffusionPendingError):
        RiffusionAccountSensor(task_id="t").execute({})
    emulator.clear()
    connect(emulator.url, "wrong")
    with pytest.raises(errors.RiffusionUnauthorizedError):
        RiffusionAccountSensor(task_id="t", wait_for_repair=True).execute({})


def test_the_account_sensor_looks_at_the_account_it_is_told(connect: Callable[..., None]) -> None:
    with Emulator(accounts=[Account("a"), Account("b", error="pending")]) as emulator:
        connect(emulator.url, emulator.token)
        RiffusionAccountSensor(task_id="t", user_id="a").execute({})
        with pytest.raises(errors.RiffusionPendingError, match="b"):
            RiffusionAccountSensor(task_id="t").execute({})
        with pytest.raises(errors.RiffusionConfigurationError, match="'c'"):
            RiffusionAccountSensor(task_id="t", user_id="c").execute({})


# --- the library

START = datetime(2025, 1, 1, tzinfo=UTC)


def library(count: int) -> list[Song]:
    return [Song(f"song-{number:03}", created_at=START + timedelta(hours=number)) for number in range(count)]


def list_songs(**parameters: Any) -> list[str]:
    return RiffusionListSongsOperator(task_id="t", **parameters).execute({})


def test_a_library_that_grows_while_it_is_read_is_listed_once_and_whole(connect: Callable[..., None]) -> None:
    songs = library(250)
    with Emulator(songs=songs) as emulator:
        connect(emulator.url, emulator.token)
        hook_list = RiffusionHook.list_songs

        def grow(self: RiffusionHook, **parameters: Any) -> Any:
            page = hook_list(self, **parameters)
            emulator.add_song(Song(f"new-{time.monotonic_ns()}", created_at=datetime.now(UTC)))
            return page

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RiffusionHook, "list_songs", grow)
            found = list_songs(page_size=10)
    assert [song_id for song_id in found if song_id.startswith("song-")] == [song.id for song in reversed(songs)]
    assert len(found) == len(set(found))


def test_limit_and_created_after_stop_early(connect: Callable[..., None]) -> None:
    with Emulator(songs=library(100)) as emulator:
        connect(emulator.url, emulator.token)
        assert list_songs(limit=12) == [f"song-{number:03}" for number in range(99, 87, -1)]
        assert emulator.count() == 2
        emulator.clear()
        after = START + timedelta(hours=94)
        for value in (after, after.isoformat(), after.replace(tzinfo=None).isoformat()):
            assert list_songs(created_after=value) == [f"song-{number:03}" for number in range(99, 94, -1)]
        assert emulator.count() == 2 * 3


def page_of(*songs: dict[str, object]) -> Callable[[Any], None]:
    return ok(json.dumps(songs).encode(), "application/json")


def test_an_order_that_is_not_newest_first_is_read_to_the_end(connect: Callable[..., None]) -> None:
    pages = [
        page_of(*({"id": f"s{day}", "status": "complete", "created_at": f"2025-01-{day:02}T00:00:00Z"} for day in days))
        for days in ((3, 1), (9, 2), (5, 4), ())
    ]
    with serve(*pages) as server:
        connect(server.url, "t")
        assert list_songs(limit=3, created_after="2025-01-02T00:00:00Z") == ["s9", "s5", "s4"]
    assert len(server.requests) == 4


def test_a_server_that_ignores_the_offset_is_an_error(connect: Callable[..., None]) -> None:
    with serve(page_of({"id": "s", "status": "complete"})) as server:
        connect(server.url, "t")
        with pytest.raises(errors.RiffusionApiError, match="ignore the offset"):
            list_songs()


def test_status(connect: Callable[..., None]) -> None:
    words = ("complete", "completed", "queued", "odd")
    with Emulator(songs=[Song(word, status=word) for word in words]) as emulator:
        connect(emulator.url, emulator.token)
        assert set(list_songs()) == {"complete", "completed"}
        assert list_songs(status="odd") == ["odd"]
        assert set(list_songs(status=None)) == set(words)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", 0),
        ("limit", "x"),
        ("page_size", 0),
        ("created_after", "yesterday"),
        ("created_after", 5),
        ("status", ""),
    ],
)
def test_wrong_list_parameters_are_named(name: str, value: Any) -> None:
    with pytest.raises(errors.RiffusionConfigurationError, match=name):
        RiffusionListSongsOperator(task_id="t", **{name: value})


def test_deleting_a_song_can_be_repeated(emulator: Emulator) -> None:
    song_id = emulator.songs[0].id
    for _ in range(2):
        RiffusionDeleteSongOperator(task_id="t", song_id=song_id).execute({})
    assert song_id not in [song.id for song in emulator.songs]
    emulator.fault("status", status=500)
    with pytest.raises(errors.RiffusionServerError):
        RiffusionDeleteSongOperator(task_id="t", song_id=song_id).execute({})


def test_the_other_endpoints(emulator: Emulator) -> None:
    hook = RiffusionHook()
    assert "the sea" in hook.generate_lyrics("the sea")
    assert hook.get_account("user-1").user_id == "user-1"
    with pytest.raises(errors.RiffusionNotFoundError):
        hook.get_account("nobody")
    (job_id,) = hook.create_prompt("a song")
    (job,) = hook.get_scheduler()
    assert (job.id, job.user_id) == (job_id, "user-1")
    assert hook.get_available()[0].executing == 1
    assert hook.delete_job(job_id)
    assert not hook.delete_job(job_id)
    assert hook.create_compose([{"text": "a"}])
    emulator.break_account("user-1")
    assert hook.post_account("fresh cookie of user-1", max_jobs=2).error is None
    assert hook.check_accounts()


# --- through Airflow's task runner


@pytest.mark.usefixtures("airflow_db")
@pytest.mark.parametrize("deferrable", [False, True])
def test_create_and_download_in_a_dag(
    emulator: Emulator, connect: Callable[..., None], tmp_path: Path, deferrable: bool
) -> None:
    connect(emulator.url, emulator.token, storage_path=str(tmp_path))
    run = run_dag(DAGS, name="create_and_download", deferrable=deferrable)
    assert run.state == "success", outcomes_of(run)
    assert {path.name for path in tmp_path.iterdir()} == {f"{result['song_id']}.mp3" for result in results_of(run)}
    assert len(results_of(run)) == 2
    assert emulator.count(CREATE) == 1


@pytest.mark.usefixtures("airflow_db")
@pytest.mark.parametrize(
    ("name", "mode"),
    [("song", "poke"), ("song", "reschedule"), ("song", "deferred"), ("create", "poke"), ("create", "deferred")],
)
def test_a_596_at_the_third_poll_ends_the_task_without_a_retry(
    emulator: Emulator, connect: Callable[..., None], mode: str, name: str
) -> None:
    emulator.configure(generation_seconds=30)
    emulator.add_song(Song("s", status="queued"))
    polls = 0
    original = RiffusionHook.poll_songs

    def count(self: RiffusionHook, *arguments: Any, **parameters: Any) -> Any:
        nonlocal polls
        polls += 1
        if polls == 3:
            emulator.break_account("user-1")
        return original(self, *arguments, **parameters)

    overrides: dict[str, Any] = {"deferrable": mode == "deferred"}
    if name == "song":
        overrides |= {"mode": "reschedule" if mode == "reschedule" else "poke", "timeout": 60}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RiffusionHook, "poll_songs", count)
        run = run_dag(DAGS, name=name, **overrides)
    ((state, tries),) = outcomes_of(run).values()
    assert (state, tries) == ("failed", 1)
    assert polls == 3


@pytest.mark.usefixtures("airflow_db")
def test_the_account_gate_in_a_dag(emulator: Emulator) -> None:
    assert outcomes_of(run_dag(DAGS, name="account")) == {"wait": ("success", 1)}
    emulator.break_account("user-1")
    assert outcomes_of(run_dag(DAGS, name="account")) == {"wait": ("failed", 1)}
    assert emulator.count() == 2


def test_songs_that_two_jobs_show_are_returned_once(connect: Callable[..., None]) -> None:
    songs = b'[{"id": "S", "status": " Completed "}, {"id": "S", "status": "complete"}]'
    with serve(ok(b'{"jobs": [{"id": "J1"}, {"id": "J2"}]}'), ok(songs)) as server:
        connect(server.url, "t")
        assert prompt_operator().execute({}) == ["S"]


def test_a_kill_gets_through_when_all_polls_hang(emulator: Emulator, connect: Callable[..., None]) -> None:
    connect(emulator.url, emulator.token, timeout=5)
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
        running = [asyncio.create_task(anext(trigger.run())) for trigger in triggers]
        await asyncio.sleep(0.5)
        start = time.monotonic()
        await triggers[-1].on_kill()
        for task in running:
            task.cancel()
        return time.monotonic() - start

    assert asyncio.run(main()) < 3
    assert emulator.count("scheduler/job-15", "DELETE") == 1


def test_events_survive_json() -> None:
    from airflow_provider_riffusion.tasks.events import event_of_error

    error = errors.RiffusionPendingError("m", http_status=596, code="c", api_message="a", request="r", retry_after=2.0)
    with pytest.raises(errors.RiffusionPendingError) as caught:
        songs_of_event(json.loads(json.dumps(event_of_error(error))))
    assert vars(caught.value) == vars(error)
    with pytest.raises(errors.RiffusionError, match="KeyError"):
        songs_of_event(json.loads(json.dumps(event_of_error(KeyError("x")))))
