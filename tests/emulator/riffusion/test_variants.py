"""What nobody knows about the API: each variant alone, and those that act on the same song together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_riffusion.emulator import AcceptedCreate, Emulator, Song, example_songs
from airflow_provider_riffusion.emulator.riffusion import state
from tests.emulator.support import SONG, call, create, download, refused


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> Callable[[float], None]:
    """Let a generation take 30 s, and return a function that sets the clock that many seconds ahead."""
    now = time.monotonic()
    stopped = SimpleNamespace(monotonic=lambda: now)

    def set_ahead(seconds: float) -> None:
        stopped.monotonic = lambda: now + seconds

    emulator.configure(generation_seconds=30)
    monkeypatch.setattr(state, "time", stopped)
    return set_ahead


def shown(emulator: Emulator, handle: str | None = None) -> list[str]:
    """Return the ids that GET music shows; none for a 404."""
    response = call(emulator, "GET", "music", params={} if handle is None else {"id": handle})
    if response.status_code == 404:
        return []
    return [song["id"] for song in response.json() if song["id"] != SONG.id]


def places(emulator: Emulator, made: AcceptedCreate, number: int) -> str:
    """Return where GET music shows a song of a create request: in the library, by its id, by its job's id."""
    song_id = made.song_ids[number]
    found = {"library": shown(emulator), "song": shown(emulator, song_id), "job": shown(emulator, made.job_ids[0])}
    return " ".join(name for name, ids in found.items() if song_id in ids)


EVERYWHERE = "library song job"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {0: EVERYWHERE}),
        ({"songs_shown": "finished"}, {0: "", 29: "", 30: EVERYWHERE}),
        ({"songs_shown": "job-id"}, {0: "job", 29: "job", 30: EVERYWHERE}),
        ({"job_id_known": "no"}, {0: "library song"}),
        ({"songs_shown": "job-id", "job_id_known": "no"}, {0: "", 30: "library song"}),
        ({"appearance_delay_seconds": 5}, {0: "", 4: "", 5: EVERYWHERE}),
        ({"appearance_delay_seconds": 5, "songs_shown": "finished"}, {34: "", 35: EVERYWHERE}),
        ({"appearance_delay_seconds": 5, "songs_shown": "job-id"}, {4: "", 5: "job", 34: "job", 35: EVERYWHERE}),
    ],
)
def test_when_a_song_is_shown(
    emulator: Emulator, clock: Callable[[float], None], settings: dict[str, Any], expected: dict[float, str]
) -> None:
    emulator.configure(songs_per_job=1, **settings)
    create(emulator)
    for seconds, where in expected.items():
        clock(seconds)
        assert places(emulator, emulator.accepted_creates[0], 0) == where


@pytest.mark.parametrize("job_reply", ["job_id", "jobs"])
@pytest.mark.parametrize(("songs_shown", "first"), [("at-once", 0), ("finished", 30)])
def test_songs_appear_one_after_another(
    emulator: Emulator, clock: Callable[[float], None], job_reply: str, songs_shown: str, first: int
) -> None:
    emulator.configure(
        songs_per_job=3, job_reply=job_reply, songs_shown=songs_shown, stagger_seconds=10, appearance_delay_seconds=1
    )
    create(emulator)
    ids = set(emulator.accepted_creates[0].song_ids)
    for seconds, count in ((first, 0), (first + 1, 1), (first + 11, 2), (first + 20, 2), (first + 21, 3)):
        clock(seconds)
        assert len(ids & set(shown(emulator))) == count


def test_a_job_can_leave_the_list_before_its_songs_show(emulator: Emulator, clock: Callable[[float], None]) -> None:
    emulator.configure(appearance_delay_seconds=60)
    create(emulator)
    clock(31)
    (made,) = emulator.accepted_creates
    assert call(emulator, "GET", "scheduler").json() == []
    assert refused(download(emulator, song_id=made.song_ids[0]), 404)
    assert places(emulator, made, 0) == ""
    clock(60)
    assert places(emulator, made, 0) == EVERYWHERE
    assert download(emulator, song_id=made.song_ids[0]).status_code == 200


def test_when_songs_are_shown_is_settled_when_they_are_asked_for(emulator: Emulator) -> None:
    emulator.configure(appearance_delay_seconds=3600)
    create(emulator)
    assert shown(emulator) == []
    assert len(emulator.songs) == 3
    emulator.configure(appearance_delay_seconds=0)
    assert len(shown(emulator)) == 2


@pytest.mark.parametrize("songs_shown", ["at-once", "finished"])
@pytest.mark.parametrize(("cancelled_jobs", "where"), [("made", EVERYWHERE), ("dropped", "")])
def test_songs_of_a_cancelled_job(
    emulator: Emulator, clock: Callable[[float], None], songs_shown: str, cancelled_jobs: str, where: str
) -> None:
    emulator.configure(songs_shown=songs_shown, cancelled_jobs=cancelled_jobs, stagger_seconds=3)
    create(emulator)
    (made,) = emulator.accepted_creates
    assert call(emulator, "DELETE", f"scheduler/{made.job_ids[0]}").status_code == 200
    assert call(emulator, "GET", "scheduler").json() == []
    clock(60)
    assert places(emulator, made, 1) == where
    assert emulator.accepted_creates == [made]


@pytest.mark.parametrize("job_reply", ["job_id", "jobs", "song-jobs", "songs", "both"])
def test_what_the_response_to_a_create_names(emulator: Emulator, job_reply: str) -> None:
    emulator.configure(job_reply=job_reply, generation_seconds=30)
    document = create(emulator, replyRef="order 7").json()
    (made,) = emulator.accepted_creates
    job = {"job_id": made.job_ids[0], "user_id": "user-1"}
    songs = [{"id": song_id} for song_id in made.song_ids]
    jobs = [{"id": job_id} for job_id in made.job_ids]
    expected = {"job_id": job, "jobs": {"jobs": jobs}, "songs": {"songs": songs}, "both": {**job, "songs": songs}}
    assert document == expected.get(job_reply, {"jobs": songs})
    assert (made.job_ids == made.song_ids) is (job_reply == "song-jobs")
    assert sorted(shown(emulator)) == sorted(made.song_ids)
    assert [job["job_id"] for job in call(emulator, "GET", "scheduler").json()] == list(made.job_ids)


def test_a_song_that_has_its_jobs_id_is_shown_by_it_while_it_runs(
    emulator: Emulator, clock: Callable[[float], None]
) -> None:
    emulator.configure(job_reply="song-jobs", songs_shown="job-id")
    first, second = (job["id"] for job in create(emulator).json()["jobs"])
    assert shown(emulator) == []
    assert shown(emulator, first) == [first]
    assert shown(emulator, second) == [second]


def test_accepted_creates_are_those_that_are_paid_for(emulator: Emulator) -> None:
    create(emulator, "moderated")
    create(emulator, "", replyRef="a")
    create(emulator, replyRef="a")
    create(emulator, replyRef="b")
    for song in emulator.songs:
        call(emulator, "DELETE", "music", params={"id": song.id})
    emulator.clear()
    assert [made.body for made in emulator.accepted_creates] == [
        {"prompt": "slow jazz", "replyRef": "a"},
        {"prompt": "slow jazz", "replyRef": "b"},
    ]
    assert [len(made.song_ids) for made in emulator.accepted_creates] == [2, 2]


def test_a_job_that_ends_frees_its_slot(emulator: Emulator, clock: Callable[[float], None]) -> None:
    emulator.configure(appearance_delay_seconds=60)
    assert [create(emulator).status_code for _ in range(4)] == [200, 200, 200, 429]
    clock(30)
    assert create(emulator).status_code == 200
    assert len(emulator.accepted_creates) == 4


def library(emulator: Emulator, **params: Any) -> list[dict[str, Any]]:
    songs: list[dict[str, Any]] = call(emulator, "GET", "music", params={"limit": 100, **params}).json()
    return songs


@pytest.mark.parametrize(
    ("order", "expected"),
    [("newest-first", "bca"), ("oldest-first", "acb"), ("by-id", "abc"), ("by-title", "cba")],
)
def test_what_the_library_is_sorted_by(order: str, expected: str) -> None:
    start = SONG.created_at
    songs = [
        Song(id="a", title="Three", created_at=start),
        Song(id="b", title="Second", created_at=start + timedelta(hours=2)),
        Song(id="c", title="First", created_at=start + timedelta(hours=1)),
    ]
    with Emulator(songs=songs, library_order=order) as emulator:
        assert [song["id"] for song in library(emulator)] == list(expected)
        assert [song["id"] for song in library(emulator, offset=1, limit=1)] == [expected[1]]


@pytest.mark.parametrize(("times", "difference_ms"), [("exact", 1), ("equal", 0), ("inverted", -1)])
def test_times_of_the_songs_of_one_create_request(emulator: Emulator, times: str, difference_ms: int) -> None:
    emulator.configure(library_times=times, songs_per_job=3)
    create(emulator)
    newest, middle, oldest, old = (datetime.fromisoformat(song["created_at"]) for song in library(emulator))
    assert newest - middle == middle - oldest == timedelta(milliseconds=difference_ms)
    assert old == SONG.created_at


def test_times_of_example_songs() -> None:
    with Emulator(songs=example_songs(6), library_times="inverted") as emulator:
        times = [datetime.fromisoformat(song["created_at"]) for song in library(emulator)]
    assert [(one - other).total_seconds() for one, other in pairwise(times)] == [-0.001, 120.001] * 2 + [-0.001]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ("none", ["5", "4", "3", "2", "1", "0"]),
        ("deletes", ["5", "4", "2", "1"]),
        ("both", ["5", "4", "3", "2", "1", "0"]),
    ],
)
def test_the_library_changes_while_it_is_paged(changes: str, expected: list[str]) -> None:
    songs = [replace(song, id=str(number)) for number, song in enumerate(example_songs(6))]
    with Emulator(songs=songs, library_changes=changes) as emulator:
        pages = [library(emulator, offset=offset, limit=2) for offset in (0, 2, 4)]
        assert [song["id"] for page in pages for song in page] == expected
        assert library(emulator, offset=50) == []
        assert len(emulator.songs) == (4 if changes == "deletes" else 6)


def test_songs_are_added_at_the_top_while_the_library_is_paged() -> None:
    songs = [replace(song, id=str(number)) for number, song in enumerate(example_songs(4))]
    with Emulator(songs=songs, library_changes="adds") as emulator:
        pages = [[song["id"] for song in library(emulator, offset=offset, limit=2)] for offset in (0, 2, 4)]
        assert pages == [["3", "2"], ["2", "1"], ["1", "0"]]
        assert len(emulator.songs) == 7


def test_a_page_has_a_limit_of_its_own() -> None:
    with Emulator(songs=example_songs(12), page_limit=5) as emulator:
        assert [len(library(emulator, offset=offset)) for offset in (0, 5, 10, 15)] == [5, 5, 2, 0]
        assert len(library(emulator, limit=3)) == 3


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "music?id=unknown"),
        ("GET", "music/download?id=unknown&download_format=mp3"),
        ("DELETE", "scheduler/unknown"),
        ("GET", "unknown"),
        ("GET", "../unknown"),
    ],
)
def test_a_404_of_a_proxy(emulator: Emulator, method: str, path: str) -> None:
    emulator.configure(not_found_body="html")
    response = call(emulator, method, path)
    assert response.status_code == 404
    assert response.headers["Content-Type"].startswith("text/html")
    assert refused(call(emulator, "GET", "music?limit=0"), 400)
