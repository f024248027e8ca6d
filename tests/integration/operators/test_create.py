"""Creating songs: once, whatever happens, against the emulator."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_riffusion import exceptions as errors
from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from airflow_provider_riffusion.operators.riffusion import (
    RiffusionCreateComposeOperator,
    RiffusionCreatePromptOperator,
)
from tests.support.creating import (
    CREATE,
    FOR_EVER_SECONDS,
    context,
    deferred,
    finish_songs,
    finishing,
    prompt_operator,
    run_trigger,
    trigger_of,
)
from tests.support.raw_server import NoTls, ok, response, serve
from tests.support.relay import relaying
from tests.support.task_state_store import Store

pytestmark = pytest.mark.usefixtures("connection", "no_backoff")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(generation_seconds=0.05) as running:
        yield running


@pytest.mark.parametrize("job_reply", ["job_id", "jobs"])
@pytest.mark.parametrize("final_status", ["complete", "completed"])
def test_a_create_returns_the_ids_of_finished_songs(emulator: Emulator, job_reply: str, final_status: str) -> None:
    emulator.configure(job_reply=job_reply, final_status=final_status)
    ids = prompt_operator().execute({})
    assert sorted(ids) == sorted(song.id for song in emulator.songs if song.sound == "a song about testing")
    assert len(ids) == 2
    assert emulator.count(CREATE) == 1


def test_a_create_need_not_wait(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=FOR_EVER_SECONDS)
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
    assert re.fullmatch("[0-9a-f]+-[0-9a-f]+", second.pop("replyRef"))
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


WRONG_PROMPT: dict[str, list[Any]] = {
    "prompt": ["", " ", None, [5]],
    "instrumental": ["maybe", None, 1],
    "model": ["", [5]],
    "max_jobs": [0, 11, "x", True, 1.5],
    "reply_url": ["", "x" * 1025],
    "reply_ref": ["", "x" * 1025],
    "poll_interval": [0, -1, "x", None],
    "timeout": [0, "x"],
    "user_id": ["", [5]],
    "riffusion_conn_id": [""],
}


WRONG_COMPOSE: dict[str, list[Any]] = {
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
    with pytest.raises(errors.RiffusionSongFailedError, match=r"\('failed'\)"):
        prompt_operator(prompt="a failing song").execute(context(store))
    assert store.values == {}


@pytest.mark.parametrize("word", ["queued", "generating_audio", "never_seen_word", ""])
def test_a_song_that_is_never_finished_ends_by_its_deadline_and_is_kept(emulator: Emulator, word: str) -> None:
    emulator.configure(final_status=word or "odd")
    store = Store()
    with pytest.raises(errors.RiffusionTimeoutError) as caught:
        prompt_operator(timeout=0.3).execute(context(store))
    (job_id,) = json.loads(store.values["riffusion_create"])["ids"]
    assert job_id in str(caught.value)

    emulator.configure(final_status="complete")
    finish_songs(emulator)
    try:
        assert len(prompt_operator().execute(context(store))) == 2
    except errors.RiffusionTimeoutError:
        pytest.fail("the next try did not wait on")
    assert emulator.count(CREATE) == 1
    assert store.values == {}


def test_a_lost_reply_is_found_by_its_reference(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=FOR_EVER_SECONDS)
    emulator.fault("lost-reply", path=CREATE, times=1)
    with finishing(emulator):
        ids = prompt_operator().execute(context(Store()))
    assert len(ids) == 2
    assert emulator.count(CREATE) == 1


def test_a_create_that_tls_kept_back_is_not_a_lost_one(connect: Callable[..., None]) -> None:
    store = Store()
    with serve(tls=NoTls()) as server:
        connect(server.url.replace("http:", "https:"), "user:token")
        with pytest.raises(errors.RiffusionConnectionError) as caught:
            prompt_operator(timeout=0.2).execute(context(store))
    assert not caught.value.may_have_arrived
    assert store.values == {}, "the next try creates"


@pytest.mark.parametrize("store", [None, Store()])
def test_a_create_that_nobody_knows_of_is_not_sent_again(emulator: Emulator, store: Store | None) -> None:
    emulator.fault("status", status=502, path=CREATE)
    operator = prompt_operator()
    with pytest.raises(errors.RiffusionCreateUncertainError) as caught:
        operator.execute(context(store))
    (create,) = (request for request in emulator.requests if request.method == "POST")
    assert create.body["replyRef"] in str(caught.value)
    assert store is None or store.values == {}


def test_a_song_of_the_same_time_and_prompt_is_a_candidate_and_no_answer(emulator: Emulator) -> None:
    now = datetime.now(UTC)
    emulator.add_song(Song("old", title="Old", created_at=now - timedelta(minutes=5)))
    emulator.add_song(Song("other", title="Other", sound="a song about testing", created_at=now))
    emulator.fault("status", status=502, path=CREATE)
    with pytest.raises(errors.RiffusionCreateUncertainError, match=r"Songs of that time: other \(Other") as caught:
        prompt_operator().execute({})
    assert "Old" not in str(caught.value)


def test_a_create_that_was_never_sent_may_be_sent_by_the_next_try(
    connect: Callable[..., None], emulator: Emulator
) -> None:
    with serve(ok(b"")) as closed:
        pass
    store = Store()
    connect(closed.url, "t")
    with pytest.raises(errors.RiffusionConnectionError):
        prompt_operator(timeout=0.2).execute(context(store))
    assert store.values == {}


def test_a_search_that_fails_is_taken_up_by_the_next_try(emulator: Emulator) -> None:
    store = Store()
    emulator.configure(generation_seconds=FOR_EVER_SECONDS)
    emulator.fault("lost-reply", path=CREATE, times=1)
    emulator.fault("status", status=500, path="scheduler")
    with pytest.raises(errors.RiffusionServerError):
        prompt_operator(timeout=0.2).execute(context(store))
    emulator.clear()
    with finishing(emulator):
        assert len(prompt_operator().execute(context(store))) == 2
    assert emulator.count(CREATE) == 0, "the first try has sent the only one"


def test_a_search_that_fails_without_a_store_is_final(emulator: Emulator) -> None:
    emulator.fault("lost-reply", path=CREATE, times=1)
    emulator.fault("status", status=500, path="scheduler")
    with pytest.raises(errors.RiffusionCreateUncertainError):
        prompt_operator(timeout=0.2).execute({})


def test_a_later_try_waits_for_what_an_earlier_one_has_started(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=FOR_EVER_SECONDS)
    store = Store()
    with pytest.raises(errors.RiffusionTimeoutError):
        prompt_operator(timeout=0.1).execute(context(store))
    with finishing(emulator):
        assert len(prompt_operator().execute(context(store))) == 2
        assert emulator.count(CREATE) == 1
        assert store.values == {}
        prompt_operator().execute(context(store))
    assert emulator.count(CREATE) == 2, "clearing a finished task makes a new song"


def test_a_try_that_died_before_the_reply_is_found_by_its_reference(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=FOR_EVER_SECONDS)
    store = Store()
    prompt_operator(wait_for_completion=False, reply_ref="reference").execute({})
    # Version 0.1.0 kept a random reference, and no digest.
    store.set("riffusion_create", {"reference": "reference", "sent_at": time.time(), "ids": []})
    with finishing(emulator):
        assert len(prompt_operator().execute(context(store))) == 2
    assert emulator.count(CREATE) == 1


def test_an_id_that_was_paid_for_is_waited_for_although_nobody_knows_it(emulator: Emulator) -> None:
    store = Store()
    store.set("riffusion_create", {"reference": "r", "sent_at": time.time(), "ids": ["gone"]})
    with pytest.raises(errors.RiffusionTimeoutError):
        prompt_operator(timeout=0.2).execute(context(store))
    assert emulator.count(CREATE) == 0


def test_an_id_that_was_never_shown_is_uncertain_after_the_time_in_which_songs_show(emulator: Emulator) -> None:
    store = Store()
    store.set("riffusion_create", {"reference": "r", "sent_at": time.time() - 1000, "ids": ["gone"]})
    with pytest.raises(errors.RiffusionCreateUncertainError, match="no song of gone was shown"):
        prompt_operator(timeout=0.2).execute(context(store))
    assert emulator.count(CREATE) == 0


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
        found: list[str] = operator.execute(context(store) | {"ti": TaskInstance(max_tries)})
        return found

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
    with serve(response(head, body)) as server:
        connect(server.url, "t")
        assert prompt_operator(wait_for_completion=False).execute({}) == ["J"]


@pytest.mark.parametrize("status", [203, 204, 302, 304, 307, 408, 409, 418, 425, 499, 500, 502, 504, 599, 600, 999])
def test_a_create_of_an_uncertain_status_is_never_sent_twice(emulator: Emulator, status: int) -> None:
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
def test_a_reply_without_ids_is_a_lost_one(connect: Callable[..., None], body: bytes) -> None:
    with serve(ok(body), ok(b"[]")) as server:
        connect(server.url, "t")
        with pytest.raises(errors.RiffusionCreateUncertainError):
            prompt_operator().execute({})
    assert sum(request.startswith(b"POST") for request in server.requests) == 1


def test_a_redirected_create_is_not_followed(connect: Callable[..., None]) -> None:
    moved = "HTTP/1.1 307 X\nLocation: %s\nContent-Length: 0\nConnection: close"
    with serve(ok(b"{}")) as other, serve(response(moved % other.url), ok(b"[]")) as server:
        connect(server.url, "t")
        with pytest.raises(errors.RiffusionCreateUncertainError):
            prompt_operator().execute({})
    assert other.requests == []


def test_a_killed_task_sends_no_create(emulator: Emulator) -> None:
    operator = prompt_operator()
    operator.on_kill()
    store = Store()
    with pytest.raises(errors.RiffusionError, match="told to stop"):
        operator.execute(context(store))
    assert emulator.requests == []
    assert store.values == {}


@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_a_kill_cancels_the_job_and_keeps_the_state(
    emulator: Emulator, connect: Callable[..., None], cancel_on_kill: bool
) -> None:
    emulator.configure(generation_seconds=30)
    store = Store()
    operator = prompt_operator(cancel_on_kill=cancel_on_kill)

    def kill(request: str) -> None:
        if request.startswith("GET"):
            operator.on_kill()

    with relaying(emulator, after=kill) as front:
        connect(front.url, emulator.token)
        with pytest.raises(errors.RiffusionError, match="told to stop"):
            operator.execute(context(store))
    connect(emulator.url, emulator.token)
    deletes = [request for request in emulator.requests if request.method == "DELETE"]
    assert len(deletes) == int(cancel_on_kill)
    assert len(RiffusionHook().get_scheduler()) == int(not cancel_on_kill)
    assert store.values


def test_a_task_that_is_killed_during_its_look_does_not_defer(emulator: Emulator, connect: Callable[..., None]) -> None:
    emulator.configure(generation_seconds=30)
    operator = prompt_operator(deferrable=True)

    def kill(request: str) -> None:
        if request.startswith("GET /v1/riffusion/music"):
            operator.on_kill()
            time.sleep(3)

    start = time.monotonic()
    with relaying(emulator, before=kill) as front:
        connect(front.url, emulator.token)
        with pytest.raises(errors.RiffusionError, match="told to stop"):
            operator.execute(context(Store()))
        assert time.monotonic() - start < 2.5, "the poll was not aborted"


def test_a_kill_while_the_create_is_answered_cancels_what_it_made(
    emulator: Emulator, connect: Callable[..., None]
) -> None:
    emulator.configure(generation_seconds=30)
    operator = prompt_operator(cancel_on_kill=True)

    def kill(request: str) -> None:
        if request.startswith("POST"):
            operator.on_kill()

    with relaying(emulator, after=kill) as front:
        connect(front.url, emulator.token)
        with pytest.raises(errors.RiffusionError, match="told to stop"):
            operator.execute(context(Store()))
    assert emulator.count(CREATE) == 1
    connect(emulator.url, emulator.token)
    assert RiffusionHook().get_scheduler() == []


def test_a_kill_while_an_earlier_trys_job_is_looked_for_cancels_it(
    emulator: Emulator, connect: Callable[..., None]
) -> None:
    emulator.configure(generation_seconds=30)
    (job_id,) = prompt_operator(wait_for_completion=False).execute({})
    store = Store()
    store.set("riffusion_create", {"reference": "r", "sent_at": time.time(), "ids": [job_id]})
    operator = prompt_operator(cancel_on_kill=True)

    def kill(request: str) -> None:
        if request.startswith("GET"):
            operator.on_kill()

    with relaying(emulator, before=kill) as front:
        connect(front.url, emulator.token)
        with pytest.raises(errors.RiffusionError, match="told to stop"):
            operator.execute(context(store))
    connect(emulator.url, emulator.token)
    assert RiffusionHook().get_scheduler() == []
    assert emulator.count(CREATE) == 1


def test_a_kill_does_not_wait_for_a_server_that_stalls(emulator: Emulator, connect: Callable[..., None]) -> None:
    connect(emulator.url, emulator.token, timeout=60, low_speed_time=60)
    emulator.configure(generation_seconds=30)
    operator = prompt_operator(wait_for_completion=False, cancel_on_kill=True)
    operator.execute({})
    emulator.fault("stall", method="DELETE")
    start = time.monotonic()
    operator.on_kill()
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "what", [{"what": "reset"}, {"what": "status", "status": 503}, {"what": "html"}, {"what": "status", "status": 400}]
)
def test_failed_polls_are_waited_over_because_the_songs_are_paid_for(emulator: Emulator, what: dict[str, Any]) -> None:
    emulator.fault(**what, path="/v1/riffusion/music", times=7)
    assert len(prompt_operator().execute({})) == 2


def test_a_596_while_waiting_ends_the_task_at_once(emulator: Emulator, connect: Callable[..., None]) -> None:
    emulator.configure(generation_seconds=30)

    def break_account(request: str) -> None:
        if request.startswith("GET"):
            emulator.break_account("user-1")

    with relaying(emulator, after=break_account) as front:
        connect(front.url, emulator.token)
        with pytest.raises(errors.RiffusionPendingError):
            prompt_operator().execute({})
    assert emulator.count("/v1/riffusion/music") == 2


def test_the_deferred_path_creates_once_and_forgets(emulator: Emulator) -> None:
    store = Store()
    trigger = deferred(prompt_operator(deferrable=True), store)
    assert emulator.token not in repr(trigger) + repr(trigger.serialize())
    event = run_trigger(trigger)
    assert len(prompt_operator(deferrable=True).execute_complete(context(store), event)) == 2
    assert emulator.count(CREATE) == 1
    assert store.values == {}


@pytest.mark.parametrize(
    "event", [None, {}, "done", {"status": "done"}, {"status": "done", "songs": []}, {"status": "?"}]
)
def test_an_event_that_is_none_of_ours_is_a_failure(event: Any) -> None:
    with pytest.raises(errors.RiffusionError, match="resumed"):
        prompt_operator().execute_complete({}, event)


def test_songs_that_two_jobs_show_are_returned_once(connect: Callable[..., None]) -> None:
    songs = b'[{"id": "S", "status": " Completed "}, {"id": "S", "status": "complete"}]'
    with serve(ok(b'{"jobs": [{"id": "J1"}, {"id": "J2"}]}'), ok(songs)) as server:
        connect(server.url, "t")
        assert prompt_operator().execute({}) == ["S"]


def test_a_kill_before_the_task_runs_imports_nothing_and_sends_nothing(emulator: Emulator) -> None:
    operator = prompt_operator()
    operator.on_kill()
    assert "hook" not in vars(operator)
    with pytest.raises(errors.RiffusionError, match="told to stop"):
        operator.execute({})
    assert emulator.count(CREATE) == 0


def test_an_operator_that_is_used_again_takes_its_new_parameters(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=FOR_EVER_SECONDS)
    operator = prompt_operator(wait_for_completion=False)
    operator.execute({})
    operator.reply_ref = "mine"
    operator.execute({})
    assert "mine" in [job.reply_ref for job in RiffusionHook().get_scheduler()]


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_songs_page_is_shown_while_the_task_still_waits(
    emulator: Emulator, deferrable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.configure(generation_seconds=FOR_EVER_SECONDS)
    operator = prompt_operator(deferrable=deferrable)
    pushed: list[str] = []

    class Ti:
        def xcom_push(self, key: str, value: str) -> None:
            pushed.append(value)
            # The songs are finished only now.
            finish_songs(emulator)

    context: Any = {"ti": Ti(), "task": operator}
    operator.pre_execute(context)
    if deferrable:
        with caplog.at_level("INFO"), pytest.raises(TaskDeferred) as caught:
            operator.execute(context)
        trigger = trigger_of(caught.value)
        deadline = f"{datetime.fromtimestamp(trigger.deadline, UTC):%Y-%m-%dT%H:%M:%SZ}"
        assert f"The triggerer waits for {trigger.ids[0]} until {deadline}" in caplog.text
    else:
        operator.execute(context)
    (page,) = pushed
    assert page.rpartition("/")[2] in {song.id for song in emulator.songs}
