"""Whatever a trigger sent or an earlier try kept: a task takes it up, or ends with a documented error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion import exceptions
from airflow_provider_riffusion.exceptions import (
    RiffusionApiError,
    RiffusionConnectionError,
    RiffusionCreateUncertainError,
    RiffusionError,
    RiffusionStemsError,
)
from airflow_provider_riffusion.links.riffusion import push_song_url
from airflow_provider_riffusion.tasks.events import event_of, event_of_error, songs_of_event
from airflow_provider_riffusion.tasks.task_state import SavedCreate, TaskState
from airflow_provider_riffusion.tasks.waiting import Waiter
from airflow_provider_riffusion.triggers.riffusion import RiffusionSongTrigger
from airflow_provider_riffusion.useapi.models import Song, SongSummary, summary_of
from airflow_provider_riffusion.useapi.prompts import is_song_id
from airflow_provider_riffusion.useapi.riffusion.responses import state_of as state_of_status
from tests.support.strategies import (
    any_text,
    check_json,
    check_text,
    json_values,
    mutated,
    outcome,
    plain_text,
    song_ids,
)

ERRORS = sorted(
    (value for value in vars(exceptions).values() if isinstance(value, type) and issubclass(value, RiffusionError)),
    key=lambda value: value.__name__,
)


def song(status: str | None, **fields: Any) -> Song:
    return Song(status=status, state=state_of_status(status), **fields)


songs = st.builds(
    song,
    id=song_ids,
    status=st.sampled_from(["completed", "complete", "queued", "failed", "moderated", None]) | plain_text,
    title=st.none() | plain_text,
    duration_s=st.none() | st.floats(0, 1e4),
    share_url=st.none() | plain_text | st.just("https://www.riffusion.com/song/1"),
)


@st.composite
def errors(draw: st.DrawFn) -> RiffusionError:
    error_class = draw(st.sampled_from(ERRORS))
    fields: dict[str, Any] = {}
    if issubclass(error_class, RiffusionApiError):
        fields = {
            "http_status": draw(st.integers(200, 999)),
            "code": draw(st.none() | st.integers(0, 999) | plain_text),
            "api_message": draw(plain_text),
            "request": draw(plain_text),
            "retry_after": draw(st.none() | st.floats(0, 1e9)),
            "transient": draw(st.booleans()),
        }
    elif issubclass(error_class, RiffusionStemsError):
        fields = {"raw_path": draw(plain_text)}
    elif issubclass(error_class, RiffusionConnectionError):
        fields = {"may_have_arrived": draw(st.booleans())}
    return error_class(draw(plain_text), **fields)


def through_json(value: object) -> Any:
    """As Airflow moves it from the triggerer to a worker."""
    check_json(value)
    return json.loads(json.dumps(value))


# --- waiting

summaries = songs.map(summary_of).map(dict)
events = st.one_of(
    st.fixed_dictionaries({"status": st.just("done"), "songs": st.lists(summaries, min_size=1, max_size=3)}),
    errors().map(event_of_error).map(dict),
)


class Pushed:
    def xcom_push(self, key: str, value: object) -> None:
        check_json(value)
        assert str(value).startswith(("https://", "http://"))


@given(event=mutated(events) | json_values)
@example(event={"status": "done", "songs": [{"id": "a"}]})
@example(event={"status": "error", "error": {"type": "RiffusionError", "message": "x", "fields": 5}})
@example(event={"status": "error", "error": {"type": "RiffusionError", "message": "x\n" * 900, "fields": {}}})
@example(event={"status": "error", "error": {"type": "\ud800", "message": "x"}})
@example(event={"status": "error", "error": {"type": "AirflowFailException", "message": "x"}})
def test_any_event_is_songs_or_a_documented_error(event: Any) -> None:
    found = outcome(lambda: songs_of_event(event), lambda error: check_text(str(error)))
    if isinstance(found, list):
        assert found
        context: Any = {"ti": Pushed()}
        push_song_url(context, found)


def test_an_event_of_any_depth_is_a_documented_error() -> None:
    for depth in range(1, sys.getrecursionlimit()):
        try:
            event = json.loads("[" * depth + "]" * depth)
        except RecursionError:
            break
        assert isinstance(outcome(partial(songs_of_event, {"status": event})), RiffusionError)


@given(found=st.lists(songs.map(summary_of), min_size=1, max_size=3), error=errors())
def test_an_event_tells_in_the_worker_what_happened_in_the_triggerer(
    found: list[SongSummary], error: RiffusionError
) -> None:
    assert songs_of_event(through_json(event_of(found))) == found
    with pytest.raises(RiffusionError) as caught:
        songs_of_event(through_json(event_of_error(error)))
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert vars(caught.value) == vars(error)


@given(error=st.builds(lambda kind, text: kind(text), st.sampled_from([ValueError, OSError, KeyError]), any_text))
def test_any_exception_of_a_trigger_is_an_event_that_can_be_sent(error: Exception) -> None:
    found = outcome(lambda: songs_of_event(through_json(event_of_error(error))))
    assert type(found) is RiffusionError
    assert type(error).__name__ in str(found)


@given(
    arguments=st.fixed_dictionaries(
        {
            "ids": st.lists(song_ids, min_size=1, max_size=3),
            "riffusion_conn_id": plain_text,
            "user_id": st.none() | plain_text,
            "poll_interval": st.floats(0, 1e9),
            "deadline": st.floats(0, 1e12),
            "max_failures": st.none() | st.integers(1, 9),
            "cancel_on_kill": st.booleans(),
        }
    )
)
def test_a_trigger_is_made_again_from_what_it_serializes(arguments: dict[str, Any]) -> None:
    path, sent = RiffusionSongTrigger(**arguments).serialize()
    assert through_json(sent) == arguments
    assert RiffusionSongTrigger(**through_json(sent)).serialize() == (path, arguments)


@given(
    polled=st.lists(st.lists(songs, max_size=3), max_size=3) | errors(),
    now=st.integers(0, 4),
    deadline=st.integers(0, 4),
    failures=st.integers(0, 6),
)
@example(polled=[[song("failed\x1b", id=f"{number}" * 100) for number in range(200)]], now=0, deadline=1, failures=0)
def test_any_poll_ends_the_waiting_or_does_not(
    polled: list[list[Song]] | RiffusionError, now: int, deadline: int, failures: int
) -> None:
    ids = [f"song-{number}" for number in range(len(polled) if isinstance(polled, list) else 100)]
    found = outcome(lambda: Waiter(ids, deadline, failures=failures).result(polled, now=now))
    if isinstance(polled, list):
        backwards = outcome(lambda: Waiter(ids, deadline, failures=failures).result(polled[::-1], now=now))
        assert type(backwards) is type(found)
        known = [song for shown in polled for song in shown]
        is_done = bool(polled) and all(polled) and all(song.is_completed for song in known)
        assert isinstance(found, list) is is_done
    if isinstance(found, list):
        assert [song["id"] for song in found] == list(dict.fromkeys(song.id for song in known))
    elif found is None:
        assert now < deadline


# --- a task's state

creates = st.builds(
    SavedCreate,
    reference=plain_text,
    sent_at=st.floats(0, 4e9),
    ids=st.lists(song_ids, max_size=2),
    finished=st.lists(song_ids, max_size=2),
    max_tries=st.none() | st.integers(0, 9),
)


class Store:
    """Airflow's, which keeps JSON."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self.values = dict(values or {})

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any) -> None:
        self.values[key] = through_json(value)

    def delete(self, key: str) -> None:
        del self.values[key]


def state_of(store: Store) -> TaskState:
    context: Any = {"task_state_store": store}
    return TaskState(context)


@given(create=creates, failures=st.integers(0, 9))
def test_a_state_is_read_as_it_was_kept(create: SavedCreate, failures: int) -> None:
    store = Store()
    state_of(store).save_create(create)
    state_of(store).save_failures(failures)
    assert state_of(store).load_create() == create
    assert state_of(store).load_failures() == failures
    state_of(store).forget_create()
    state_of(store).save_failures(0)
    assert store.values == {}


@given(create=mutated(creates.map(asdict)) | json_values, failures=json_values)
@example(create={"reference": "r", "sent_at": 1.0, "ids": ["a"], "field_of_a_later_version": 1}, failures=True)
@example(create={"reference": "r", "sent_at": "soon", "ids": ["a"]}, failures=-1)
@example(create={"reference": "r", "sent_at": 1e300}, failures=0)
@example(create={"ids": ["a"]}, failures=0)
def test_a_state_that_another_version_kept_never_pays_twice(create: Any, failures: Any) -> None:
    store = Store({"riffusion_create": create, "riffusion_failures": failures})
    assert state_of(store).load_failures() >= 0
    found = outcome(state_of(store).load_create)
    if isinstance(found, RiffusionError):
        assert type(found) is RiffusionCreateUncertainError
        # So that clearing the task, which a human does after a look, creates.
        assert "riffusion_create" not in store.values
    elif found is None:
        assert create is None
    else:
        assert isinstance(found.reference, str)
        assert 0 <= found.sent_at < 1e11
        assert all(map(is_song_id, [*found.ids, *found.finished]))
