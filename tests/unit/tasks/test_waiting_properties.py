"""Whatever a poll shows: it ends the waiting, or it does not."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion.exceptions import (
    RiffusionError,
)
from airflow_provider_riffusion.tasks.waiting import Poll, Wait
from airflow_provider_riffusion.useapi.models import Song, SongState
from tests.support.strategies import (
    outcome,
)
from tests.unit.tasks.test_events_properties import errors, song, songs


@given(
    polled=st.lists(st.lists(songs, max_size=3), max_size=3) | errors(),
    now=st.integers(0, 4),
    deadline=st.integers(0, 4),
    is_listed=st.booleans(),
)
@example(
    polled=[[song("failed\x1b", id=f"{number}" * 100) for number in range(200)]], now=0, deadline=1, is_listed=False
)
def test_any_poll_ends_the_waiting_or_does_not(
    polled: list[list[Song]] | RiffusionError, now: int, deadline: int, is_listed: bool
) -> None:
    ids = [f"song-{number}" for number in range(len(polled) if isinstance(polled, list) else 100)]

    def waited(polled: list[list[Song]] | RiffusionError) -> object:
        wait = Wait(ids, interval=1, deadline=deadline)
        poll = Poll(polled, is_listed) if isinstance(polled, list) else polled
        # A job's songs are final when a second poll shows the same.
        found = outcome(lambda: wait.result(poll, now))
        assert 0 <= wait.pause(now) <= 60 or isinstance(polled, RiffusionError)
        return found if found is not None else outcome(lambda: wait.result(poll, now))

    found = waited(polled)
    if isinstance(polled, list):
        assert type(waited(polled[::-1])) is type(found)
        known = [song for shown in polled for song in shown]
        have_ended = bool(polled) and all(polled) and all(song.state is not SongState.RUNNING for song in known)
        is_done = have_ended and not is_listed and any(song.is_completed for song in known)
        assert isinstance(found, list) is is_done
    if isinstance(found, list):
        assert [song["id"] for song in found] == list(dict.fromkeys(song.id for song in known if song.is_completed))
    elif found is None:
        assert now < deadline
