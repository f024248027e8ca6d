"""Whatever a poll shows: it ends the waiting, or it does not."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion.exceptions import (
    RiffusionError,
)
from airflow_provider_riffusion.tasks.waiting import Waiter
from airflow_provider_riffusion.useapi.models import Song
from tests.support.strategies import (
    outcome,
)
from tests.unit.tasks.test_events_properties import errors, song, songs


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
