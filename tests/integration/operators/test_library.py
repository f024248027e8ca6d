"""Listing and deleting songs, against the emulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_riffusion import exceptions as errors
from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.operators.riffusion import (
    RiffusionDeleteSongOperator,
    RiffusionListSongsOperator,
)
from tests.support.raw_server import ok, serve
from tests.support.relay import relaying

pytestmark = pytest.mark.usefixtures("connection", "no_backoff")


START = datetime(2025, 1, 1, tzinfo=UTC)


def library(count: int) -> list[Song]:
    return [Song(f"song-{number:03}", created_at=START + timedelta(hours=number)) for number in range(count)]


def list_songs(**parameters: Any) -> list[str]:
    return RiffusionListSongsOperator(task_id="t", **parameters).execute({})


def test_a_library_that_grows_while_it_is_read_is_listed_once_and_whole(connect: Callable[..., None]) -> None:
    songs = library(250)
    with Emulator(songs=songs) as emulator:

        def grow(_: str) -> None:
            emulator.add_song(Song(f"new-{emulator.count()}", created_at=datetime.now(UTC)))

        with relaying(emulator, after=grow) as front:
            connect(front.url, emulator.token)
            found = list_songs(page_size=10)
        assert emulator.count() > 25
    assert [song_id for song_id in found if song_id.startswith("song-")] == [song.id for song in reversed(songs)]
    assert len(found) == len(set(found))


@pytest.mark.parametrize(("page_limit", "times"), [(7, "inverted"), (1000, "equal")])
@pytest.mark.parametrize("changes", ["none", "deletes", "adds", "both"])
@pytest.mark.parametrize("order", ["newest-first", "oldest-first", "by-id", "by-title"])
def test_no_song_is_left_out_however_the_library_is_sorted_and_changes(
    connect: Callable[..., None], order: Any, times: Any, changes: Any, page_limit: int
) -> None:
    songs = [Song(f"song-{number:03}", created_at=START + timedelta(hours=number // 2)) for number in range(60)]
    with Emulator(songs=songs) as emulator:
        emulator.configure(library_order=order, library_times=times, library_changes=changes, page_limit=page_limit)
        connect(emulator.url, emulator.token)
        found = list_songs(page_size=25)
        there_all_the_time = {song.id for song in songs} & {song.id for song in emulator.songs}
    assert there_all_the_time <= set(found)
    assert len(found) == len(set(found))
    assert (len(there_all_the_time) < len(songs)) is (changes in ("deletes", "both"))


def test_limit_and_created_after_stop_early(connect: Callable[..., None]) -> None:
    with Emulator(songs=library(400)) as emulator:
        connect(emulator.url, emulator.token)
        assert list_songs(limit=12) == [f"song-{number:03}" for number in range(399, 387, -1)]
        assert emulator.count() == 1
        emulator.clear()
        after = START + timedelta(hours=394)
        for value in (after, after.isoformat(), after.replace(tzinfo=None).isoformat()):
            assert list_songs(created_after=value) == [f"song-{number:03}" for number in range(399, 394, -1)]
        # The first page reaches back by more than the day that the order may be off.
        assert emulator.count() == 2 * 3


def test_a_page_has_100_songs(connect: Callable[..., None]) -> None:
    with Emulator(songs=library(250)) as emulator:
        connect(emulator.url, emulator.token)
        assert len(list_songs()) == 250
        assert {request.query["limit"] for request in emulator.requests} == {"100"}
        # Three pages, the five songs that they share, and the empty one.
        assert emulator.count() == 5


def page_of(*songs: dict[str, str]) -> Callable[[Any], None]:
    return ok(json.dumps(songs).encode(), "application/json")


def test_an_order_that_is_not_newest_first_is_read_to_the_end(
    connect: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    pages = [
        page_of(*({"id": f"s{day}", "status": "complete", "created_at": f"2025-01-{day:02}T00:00:00Z"} for day in days))
        for days in ((3, 1), (1, 9, 2), (2, 5, 4), (4,), ())
    ]
    with serve(*pages) as server:
        connect(server.url, "t")
        assert list_songs(limit=3, created_after="2025-01-02T00:00:00Z") == ["s9", "s5", "s4"]
    assert len(server.requests) == 5
    assert "does not list the newest songs first; all pages were read" in capsys.readouterr().out


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
