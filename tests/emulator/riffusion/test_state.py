"""Jobs from queued to their end, slots, and the cookies of accounts."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from airflow_provider_riffusion.emulator import Account, Emulator
from airflow_provider_riffusion.emulator.riffusion import state
from tests.emulator.support import SONG, call, create, download, refused, status_of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> Callable[[float], None]:
    """Let a generation take 30 s, and return a function that sets the clock that many seconds ahead."""
    ahead = 0.0

    def set_ahead(seconds: float) -> None:
        nonlocal ahead
        ahead = seconds

    emulator.configure(generation_seconds=30)
    monkeypatch.setattr(state, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead))
    return set_ahead


def test_life_of_a_job(emulator: Emulator, clock: Callable[[float], None]) -> None:
    response = create(emulator, replyRef="order 7").json()
    assert response.keys() == {"job_id", "user_id"}
    assert response["user_id"] == "user-1"
    for seconds, status in ((0, "queued"), (15, "generating_audio"), (30, "complete")):
        clock(seconds)
        assert status_of(emulator, response["job_id"]) == status
    songs = call(emulator, "GET", "music", params={"id": response["job_id"]}).json()
    assert len(songs) == 2
    assert all("replyRef" not in song for song in songs)
    for song in songs:
        assert call(emulator, "GET", "music", params={"id": song["id"]}).json() == [song]
        assert download(emulator, song_id=song["id"]).content == emulator.audio(song["id"])


def test_running_songs_are_listed_first_and_have_no_audio(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=30)
    create(emulator)
    running, other, old = call(emulator, "GET", "music").json()
    assert old["id"] == SONG.id
    assert running["status"] == other["status"] == "queued"
    assert running["download_url"] is None
    refused(download(emulator, song_id=running["id"]), 409)


def test_one_job_per_song(emulator: Emulator) -> None:
    emulator.configure(job_reply="jobs")
    jobs = create(emulator).json()["jobs"]
    assert len(jobs) == 2
    songs = [call(emulator, "GET", "music", params={"id": job["id"]}).json() for job in jobs]
    assert [len(found) for found in songs] == [1, 1]
    assert songs[0][0]["id"] != songs[1][0]["id"]


@pytest.mark.parametrize("word", ["completed", "failed", "cancelled"])
def test_final_status(emulator: Emulator, word: str) -> None:
    emulator.configure(final_status=word, generation_seconds=0)
    assert status_of(emulator, create(emulator).json()["job_id"]) == word


def test_a_prompt_that_fails(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=0)
    assert status_of(emulator, create(emulator, "a failing song").json()["job_id"]) == "failed"


def test_slots() -> None:
    with Emulator(accounts=[Account("user-1", max_jobs=1)], generation_seconds=30) as emulator:
        job_id = create(emulator).json()["job_id"]
        response = create(emulator)
        assert refused(response, 429)
        assert "Retry-After" not in response.headers
        for value in ("12", 12, 12.5):
            emulator.configure(retry_after=value)
            assert create(emulator).headers["Retry-After"] == str(value)
        assert create(emulator, maxJobs=2).status_code == 200
        assert call(emulator, "DELETE", f"scheduler/{job_id}").status_code == 200
        refused(create(emulator), 429)
        assert create(emulator, maxJobs=2).status_code == 200


def test_many_at_once() -> None:
    with (
        Emulator(accounts=[Account("user-1", max_jobs=10)], generation_seconds=30) as emulator,
        ThreadPoolExecutor(40) as pool,
    ):
        answers = list(pool.map(lambda _: create(emulator).status_code, range(40)))
    assert sorted(answers) == [200] * 10 + [429] * 30
    assert emulator.count("create-prompt", "POST") == 40


def test_stop_tracking(emulator: Emulator, clock: Callable[[float], None]) -> None:
    job_id = create(emulator).json()["job_id"]
    assert call(emulator, "DELETE", f"scheduler/{job_id}/").status_code == 200
    assert call(emulator, "GET", "scheduler").json() == []
    assert refused(call(emulator, "DELETE", f"scheduler/{job_id}"), 404)
    assert status_of(emulator, job_id) == "queued"
    clock(30)
    assert status_of(emulator, job_id) == "complete"


def test_finished_jobs_leave_the_list(emulator: Emulator) -> None:
    job_id = create(emulator).json()["job_id"]
    time.sleep(0.05)
    assert status_of(emulator, job_id) == "complete"
    assert call(emulator, "GET", "scheduler").json() == []
    assert refused(call(emulator, "DELETE", f"scheduler/{job_id}"), 404)


def test_a_fresh_cookie_repairs(emulator: Emulator) -> None:
    body = {"cookie": "fresh", "maxJobs": 5}
    emulator.break_account("user-1")
    response = call(emulator, "POST", "accounts", json=body)
    assert response.status_code == 201
    assert response.json()["user_id"] == "user-1"
    assert response.json()["maxJobs"] == 5
    assert download(emulator).status_code == 200
    emulator.break_account("user-1")
    assert refused(call(emulator, "POST", "accounts", json=body), 400)
    assert download(emulator).status_code == 596
    assert refused(call(emulator, "POST", "accounts", json={}), 400)
    assert refused(call(emulator, "POST", "accounts", json={"cookie": "x", "maxJobs": 11}), 400)


def test_a_cookie_names_its_account() -> None:
    with Emulator(accounts=[Account("user-1"), Account("user-10")]) as emulator:
        emulator.break_account("user-1")
        emulator.break_account("user-10")
        call(emulator, "POST", "accounts", json={"cookie": "session of user-10"})
        assert [account.user_id for account in emulator.accounts if account.error] == ["user-1"]
