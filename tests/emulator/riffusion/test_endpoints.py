"""The endpoints: what they take and what they show."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests

from airflow_provider_riffusion.emulator import Account, Emulator, Song, example_songs
from tests.emulator.support import PENDING, SONG, call, create, download, refused


@pytest.mark.parametrize(("method", "path"), [("PUT", "music"), ("GET", "music/create-prompt"), ("GET", "x")])
def test_unknown_endpoint(emulator: Emulator, method: str, path: str) -> None:
    assert refused(call(emulator, method, path), 404)


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"id": SONG.id}, 400),
        ({"id": SONG.id, "download_format": "flac"}, 400),
        ({"download_format": "mp3"}, 400),
        ({"id": "", "download_format": "mp3"}, 400),
        ({"id": "unknown", "download_format": "mp3"}, 404),
        ({"id": SONG.id, "download_format": "mp3", "user_id": "nobody"}, 404),
    ],
)
def test_bad_parameters_of_a_download(emulator: Emulator, params: dict[str, str], status: int) -> None:
    assert refused(call(emulator, "GET", "music/download", params=params), status)


@pytest.mark.parametrize(("status", "answer"), [("generating_audio", 409), ("queued", 409), ("failed", 400)])
def test_a_song_that_is_not_done(emulator: Emulator, status: str, answer: int) -> None:
    emulator.set_song_status(SONG.id, status)
    assert status in refused(download(emulator), answer)


def test_songs_newest_first_with_offset_and_limit() -> None:
    songs = example_songs(12)
    with Emulator(songs=songs) as emulator:
        newest = [song.id for song in reversed(songs)]

        def ids(**params: Any) -> list[str]:
            return [song["id"] for song in call(emulator, "GET", "music/", params=params).json()]

        assert ids() == newest[:10]
        assert ids(limit=3) == newest[:3]
        assert ids(offset=3, limit=3) == newest[3:6]
        assert ids(offset=50) == []


def test_fields_of_a_song(emulator: Emulator) -> None:
    (song,) = call(emulator, "GET", "music", params={"id": SONG.id}).json()
    assert song["title"] == SONG.title
    assert song["status"] == "complete"
    assert song["duration_s"] == 2.0
    assert song["created_at"] == "2025-04-01T12:00:00.000Z"
    assert requests.get(song["download_url"], timeout=5).content == emulator.audio(SONG.id, "m4a")


@pytest.mark.parametrize("params", [{"limit": "0"}, {"limit": "x"}, {"offset": "-1"}])
def test_bad_parameters_of_a_list(emulator: Emulator, params: dict[str, str]) -> None:
    assert refused(call(emulator, "GET", "music", params=params), 400)


def test_unknown_id(emulator: Emulator) -> None:
    assert refused(call(emulator, "GET", "music", params={"id": "unknown"}), 404)


def test_delete(emulator: Emulator) -> None:
    response = call(emulator, "DELETE", "music/", params={"id": SONG.id})
    assert (response.status_code, response.content) == (200, b"")
    assert refused(call(emulator, "DELETE", "music/", params={"id": SONG.id}), 404)
    assert refused(call(emulator, "DELETE", "music/"), 400)
    assert call(emulator, "GET", "music").json() == []


@pytest.mark.parametrize("endpoint", ["create-prompt", "create-compose"])
def test_moderated_prompt(emulator: Emulator, endpoint: str) -> None:
    body = {"prompt": "A Moderated word", "prompt_1": "A Moderated word"}
    response = call(emulator, "POST", f"music/{endpoint}", json=body)
    assert response.status_code == 422
    assert response.json() == {
        "is_flagged": True,
        "reason": "moderation",
        "musician_replacement_data": None,
    }
    assert len(emulator.songs) == 1


def test_compose(emulator: Emulator) -> None:
    body = {
        "title": "Harvest",
        "lyrics": "la la",
        "lyrics_strength": 0,
        "prompt_1": "folk",
        "prompt_1_strength": 20,
        "prompt_2": "choir",
        "prompt_2_start": 50,
        "prompt_2_end": 100,
        "model": "FUZZ-0.8",
    }
    job_id = call(emulator, "POST", "music/create-compose/", json=body).json()["job_id"]
    song = call(emulator, "GET", "music", params={"id": job_id}).json()[0]
    assert (song["title"], song["lyrics"], song["sound"]) == ("Harvest", "la la", "folk, choir")
    assert emulator.requests[0].body == body


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": "  "},
        {"prompt": 7},
        {"prompt": "x", "instrumental": "yes"},
        {"prompt": "x", "maxJobs": 0},
        {"prompt": "x", "maxJobs": 11},
        {"prompt": "x", "maxJobs": True},
        {"prompt": "x", "replyRef": "r" * 1025},
        {"prompt": "x", "replyUrl": "r" * 1025},
        {"prompt": "x", "model": "other"},
        [],
        None,
    ],
)
def test_bad_prompt(emulator: Emulator, body: Any) -> None:
    assert refused(call(emulator, "POST", "music/create-prompt", json=body), 400)
    assert len(emulator.songs) == 1


@pytest.mark.parametrize(
    "field",
    [
        {"prompt_1": None},
        {"prompt_1_strength": 19},
        {"prompt_3_strength": 101},
        {"prompt_2_start": -1},
        {"prompt_2_end": 101},
        {"lyrics_strength": 101},
        {"lyrics_weirdness": -1},
        {"lyrics": 5},
    ],
)
def test_bad_compose(emulator: Emulator, field: dict[str, Any]) -> None:
    body = {"prompt_1": "folk", **field}
    assert refused(call(emulator, "POST", "music/create-compose", json=body), 400)


def test_lyrics(emulator: Emulator) -> None:
    response = call(emulator, "POST", "music/generate-lyrics", json={"prompt": "rain", "lyrics": "Once"})
    assert response.json().keys() == {"lyrics"}
    assert response.json()["lyrics"].startswith("Once\n")
    assert refused(call(emulator, "POST", "music/generate-lyrics", json={}), 400)


def test_accounts(emulator: Emulator) -> None:
    account = call(emulator, "GET", "accounts/user-1").json()
    assert account["user_id"] == "user-1"
    assert account["maxJobs"] == 3
    assert "error" not in account
    assert account["jwt"].keys() >= {"expires_at", "expires_at_UTC"}
    assert call(emulator, "GET", "accounts/").json() == {"user-1": account}
    assert refused(call(emulator, "GET", "accounts/nobody"), 404)


def test_no_accounts() -> None:
    with Emulator(accounts=[], songs=[]) as emulator:
        assert refused(call(emulator, "GET", "accounts"), 404)
        assert refused(call(emulator, "GET", "accounts/user-1"), 404)
        assert call(emulator, "POST", "accounts", json={"cookie": "c"}).status_code == 201
        assert list(call(emulator, "GET", "accounts").json()) == ["user-1"]


def test_several_accounts_need_a_user_id() -> None:
    songs = [Song(id="a", user_id="one"), Song(id="b", user_id="two")]
    with Emulator(accounts=[Account("one"), Account("two")], songs=songs) as emulator:
        assert "user_id" in refused(call(emulator, "GET", "music"), 400)
        assert refused(call(emulator, "GET", "music", params={"user_id": "three"}), 404)
        found = call(emulator, "GET", "music", params={"user_id": "two"}).json()
        assert [song["id"] for song in found] == ["b"]
        params = {"id": "a", "download_format": "mp3", "user_id": "two"}
        assert refused(call(emulator, "GET", "music/download", params=params), 404)
        assert refused(create(emulator), 400)
        assert create(emulator, user_id="two").json()["user_id"] == "two"
        assert refused(create(emulator, user_id="three"), 404)


def test_a_broken_account() -> None:
    with Emulator(accounts=[Account("one"), Account("two")], songs=[Song(id="a")]) as emulator:
        emulator.break_account("one")
        for method, path, body in (
            ("GET", "music", None),
            ("DELETE", "music", None),
            ("GET", "music/download", None),
            ("POST", "music/create-prompt", {"prompt": "x", "user_id": "one"}),
            ("POST", "music/create-compose", {"prompt_1": "x", "user_id": "one"}),
            ("POST", "music/generate-lyrics", {"prompt": "x", "user_id": "one"}),
        ):
            params = {"user_id": "one", "id": "a", "download_format": "mp3"}
            response = call(emulator, method, path, params=params, json=body)
            assert (response.status_code, response.reason) == (596, "Pending error")
            assert response.json() == {"error": PENDING}
        assert call(emulator, "GET", "music", params={"user_id": "two"}).status_code == 200
        assert call(emulator, "GET", "accounts").json()["one"]["error"]
        assert call(emulator, "GET", "accounts/one").json()["error"]
        assert call(emulator, "GET", "scheduler").status_code == 200
        emulator.repair_account("one")
        assert call(emulator, "GET", "music", params={"user_id": "one"}).status_code == 200


def test_running_jobs(emulator: Emulator) -> None:
    emulator.configure(generation_seconds=30)
    assert call(emulator, "GET", "scheduler/").json() == []
    job_id = create(emulator, replyRef="ref", replyUrl="https://example.org/").json()["job_id"]
    (job,) = call(emulator, "GET", "scheduler").json()
    assert job.pop("started").endswith("Z")
    assert re.fullmatch(r"\d\d:\d\d", job.pop("elapsed"))
    assert job == {
        "job_id": job_id,
        "user_id": "user-1",
        "replyUrl": "https://example.org/",
        "replyRef": "ref",
    }
    available = call(emulator, "GET", "scheduler/available").json()
    assert [entry["job_id"] for entry in available["executing"]] == [job_id]
    assert available["available"] == [{"user_id": "user-1", "maxJobs": 3, "executing": 1, "available": 2}]
