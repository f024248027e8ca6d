"""Whatever a trigger sent: a task takes it up, or ends with a documented error."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion import exceptions
from airflow_provider_riffusion.exceptions import (
    RiffusionApiError,
    RiffusionConnectionError,
    RiffusionError,
    RiffusionStemsError,
    RiffusionTimeoutError,
)
from airflow_provider_riffusion.links.riffusion import push_song_url
from airflow_provider_riffusion.tasks.events import SongEvent, event_of_error, songs_of_event
from airflow_provider_riffusion.useapi.models import Song, SongSummary, summary_of
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


summaries = songs.map(summary_of).map(dict)


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
    elif issubclass(error_class, RiffusionTimeoutError):
        fields = {"usable": draw(st.lists(summaries, max_size=2)), "is_running": draw(st.booleans())}
    lines = draw(st.lists(plain_text.filter(lambda line: line.splitlines() == [line]), max_size=3))
    return error_class("\n".join(lines), **fields)


def through_json(value: object) -> Any:
    """As Airflow moves it from the triggerer to a worker."""
    check_json(value)
    return json.loads(json.dumps(value))


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
    assert songs_of_event(through_json(SongEvent(status="done", songs=found))) == found
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
