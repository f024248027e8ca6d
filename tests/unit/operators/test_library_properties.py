"""Whatever happens to a library while its pages are read: no song is left out that was there all the time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion.operators.library import RiffusionListSongsOperator
from airflow_provider_riffusion.useapi.models import Song, SongState
from tests.support import strategies  # noqa: F401  # It chooses how many examples are tried.

START = datetime(2025, 1, 1, tzinfo=UTC)


class Library:
    """
    A library in place of the hook.

    :param count: songs, one for each hour
    :param cap: most songs that the server sends
    :param changes: after each page, how many songs are deleted at the start, or appear there when it is negative
    """

    def __init__(self, count: int, cap: int = 1000, changes: list[int] | None = None) -> None:
        self.songs = [song_of(f"song-{number}", number) for number in reversed(range(count))]
        self.cap = cap
        self.changes = list(changes or ())
        self.deleted: set[str] = set()
        self.requests: list[tuple[int, int]] = []

    def list_songs(self, *, offset: int, limit: int, user_id: str | None) -> list[Song]:
        self.requests.append((offset, limit))
        assert len(self.requests) < 3000, "this never ends"
        page = self.songs[offset : offset + min(limit, self.cap)]
        change = self.changes.pop(0) if self.changes else 0
        self.deleted |= {song.id for song in self.songs[: max(change, 0)]}
        appeared = [song_of(f"new-{len(self.requests)}-{number}", 10**4) for number in range(-change)]
        self.songs = appeared + self.songs[max(change, 0) :]
        return page


def song_of(song_id: str, hour: int) -> Song:
    created = (START + timedelta(hours=hour)).isoformat()
    return Song(song_id, "completed", SongState.COMPLETED, created_at=created)


def listed(library: Library, **parameters: Any) -> list[str]:
    operator = RiffusionListSongsOperator(task_id="t", **parameters)
    operator.hook = library  # type: ignore[assignment]  # a stand-in
    return operator.execute({})


@given(
    count=st.integers(0, 300),
    cap=st.integers(10, 120),
    page_size=st.sampled_from([1, 10, 40, 100]),
    changes=st.lists(st.integers(-30, 120), max_size=12),
)
@example(count=150, cap=1000, page_size=100, changes=[60])
@example(count=60, cap=1000, page_size=10, changes=[0, 1, 0, 0])
@example(count=3, cap=1000, page_size=100, changes=[3, -2])
@example(count=100, cap=10, page_size=100, changes=[0, 90])
@example(count=100, cap=35, page_size=100, changes=[-30] * 12)
@example(count=20, cap=1000, page_size=10, changes=[-1] * 200)
def test_no_song_is_left_out_that_was_there_all_the_time(
    count: int, cap: int, page_size: int, changes: list[int]
) -> None:
    library = Library(count, cap, changes)
    before = [song.id for song in library.songs]
    found = listed(library, page_size=page_size)
    assert len(found) == len(set(found))
    assert [song_id for song_id in before if song_id not in library.deleted] == [
        song_id for song_id in found if song_id in before and song_id not in library.deleted
    ]


@pytest.mark.parametrize("cap", [2, 3, 10, 1000])
def test_the_server_may_send_fewer_songs_than_were_asked_for(cap: int) -> None:
    library = Library(45, cap)
    assert len(listed(library)) == 45
    assert {limit for _, limit in library.requests} == {100}


def test_times_that_are_inverted_within_a_day_do_not_make_it_read_everything(
    capsys: pytest.CaptureFixture[str],
) -> None:
    library = Library(2000)
    library.songs[:2] = reversed(library.songs[:2])
    after = START + timedelta(hours=1990)
    found = listed(library, created_after=after)
    assert found == [f"song-{number}" for number in range(1999, 1990, -1)]
    assert len(library.requests) == 2
    assert "newest" not in capsys.readouterr().out


def test_an_order_that_is_more_than_a_day_off_is_noticed_within_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    library = Library(300)
    library.songs.reverse()
    assert listed(library, limit=2) == ["song-299", "song-298"]
    assert "all pages were read" in capsys.readouterr().out


def test_the_log_says_how_many_songs_are_returned(capsys: pytest.CaptureFixture[str]) -> None:
    for limit, said in ((None, "Returning 7 of 7 songs found"), (3, "Returning 3 of 7 songs found")):
        listed(Library(7), limit=limit)
        assert said in capsys.readouterr().out
