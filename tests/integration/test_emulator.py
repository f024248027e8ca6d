"""The emulator as a client sees it, over real sockets and without any other module of this package."""

from __future__ import annotations

import base64
import http.client
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
import requests

from airflow_provider_riffusion.emulator import Account, Emulator, Song, example_songs
from airflow_provider_riffusion.emulator.__main__ import build_parser, greeting, main, make_emulator
from airflow_provider_riffusion.emulator.server.faults import parse_fault
from airflow_provider_riffusion.emulator.server.http_server import Handler

SONG = Song(id="11111111-2222-4333-8444-555555555555", title="Blue Façade", duration_s=2.0)
GENERATION_SECONDS = 0.3
PENDING = (
    "Your Riffusion account has pending error. Please address this issue at "
    "https://useapi.net/docs/api-riffusion-v1/post-riffusion-accounts before making any new API calls."
)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(songs=[SONG], generation_seconds=GENERATION_SECONDS) as running:
        yield running


def call(emulator: Emulator, method: str, path: str, **kwargs: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {emulator.token}", **kwargs.pop("headers", {})}
    kwargs.setdefault("timeout", 5)
    return requests.request(method, f"{emulator.url}/v1/riffusion/{path}", headers=headers, **kwargs)


def download(emulator: Emulator, kind: str = "mp3", song_id: str = SONG.id, **kwargs: Any) -> requests.Response:
    return call(emulator, "GET", "music/download/", params={"id": song_id, "download_format": kind}, **kwargs)


def create(emulator: Emulator, prompt: str = "slow jazz", **fields: Any) -> requests.Response:
    return call(emulator, "POST", "music/create-prompt", json={"prompt": prompt, **fields})


def status_of(emulator: Emulator, song_or_job_id: str) -> str:
    return call(emulator, "GET", "music", params={"id": song_or_job_id}).json()[0]["status"]


def wait_for(emulator: Emulator, song_or_job_id: str, status: str) -> None:
    deadline = time.monotonic() + 5
    while status_of(emulator, song_or_job_id) != status:
        if time.monotonic() > deadline:
            pytest.fail(f"{song_or_job_id} never became {status}")
        time.sleep(0.02)


@contextmanager
def emulator_stopped(emulator: Emulator) -> Iterator[None]:
    try:
        yield
    finally:
        emulator.stop()


def refused(response: requests.Response, status: int) -> str:
    document = response.json()
    assert response.status_code == status
    assert document["code"] == status
    return document["error"]


class TestToken:
    @pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic dXNlcjoxMjM0LWFiY2RlZg==", "user:1234-abcdef"])
    def test_without_the_right_token(self, emulator, header):
        headers = {} if header is None else {"Authorization": header}
        response = requests.get(f"{emulator.url}/v1/riffusion/accounts", headers=headers, timeout=5)
        assert response.status_code == 401
        assert response.json() == {"error": "Unauthorized", "code": 401}
        assert emulator.requests[0].token_sent is (header is not None)

    def test_log_never_holds_a_token_or_a_cookie(self, emulator, caplog):
        caplog.set_level(logging.DEBUG)
        call(emulator, "GET", f"music/?token={emulator.token}&quoted={quote(quote(emulator.token))}")
        call(emulator, "POST", "accounts", json={"cookie": "secret-cookie"})
        requests.post(
            f"{emulator.url}/v1/riffusion/music/create-prompt",
            json={"prompt": "other-token"},
            headers={"Authorization": "Bearer other-token"},
            timeout=5,
        )
        everything = repr(emulator.requests) + requests.get(f"{emulator.url}/_emulator/requests", timeout=5).text
        ours = [record.getMessage() for record in caplog.records if "emulator" in record.name]
        everything += repr(ours)
        assert "/v1/riffusion/music/" in everything
        for secret in (emulator.token, "abcdef", "secret-cookie", "other-token"):
            assert secret not in everything


class TestDownload:
    @pytest.mark.parametrize("slash", ["", "/"])
    @pytest.mark.parametrize(("kind", "content_type"), [("mp3", "audio/mpeg"), ("wav", "audio/wav")])
    def test_audio(self, emulator, kind, content_type, slash):
        response = call(emulator, "GET", f"music/download{slash}", params={"id": SONG.id, "download_format": kind})
        assert response.status_code == 200
        assert response.content == emulator.audio(SONG.id, kind)
        assert response.headers["Content-Length"] == str(len(response.content))
        assert response.headers["Content-Type"] == content_type
        logged = emulator.requests[-1]
        assert (logged.status, logged.bytes_sent, logged.song_id) == (200, len(response.content), SONG.id)
        assert logged.query == {"id": SONG.id, "download_format": kind}

    def test_wav_has_the_size_of_its_duration(self, emulator):
        content = download(emulator, "wav").content
        assert len(content) == 44 + 2 * 44_100 * 4
        assert int.from_bytes(content[4:8], "little") == len(content) - 8

    def test_songs_differ(self):
        songs = example_songs(6, duration_s=0.5)
        with Emulator(songs=songs) as emulator:
            for kind in ("mp3", "wav", "m4a"):
                assert len({emulator.audio(song.id, kind) for song in songs}) == len(songs)
            stems = [content for song in songs for content in emulator.stems(song.id).values()]
        assert len(set(stems)) == 4 * len(songs)

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
    def test_bad_parameters(self, emulator, params, status):
        assert refused(call(emulator, "GET", "music/download", params=params), status)

    @pytest.mark.parametrize(("status", "answer"), [("generating_audio", 409), ("queued", 409), ("failed", 400)])
    def test_song_that_is_not_done(self, emulator, status, answer):
        emulator.set_song_status(SONG.id, status)
        assert status in refused(download(emulator), answer)

    @pytest.mark.parametrize("reply", ["chunked", "close", "url", "redirect"])
    @pytest.mark.parametrize("kind", ["mp3", "wav"])
    def test_other_ways_to_reply(self, emulator, reply, kind):
        emulator.configure(audio_reply=reply)
        response = download(emulator, kind, allow_redirects=False)
        content = response.content
        if reply in ("url", "redirect"):
            url = response.json()["url"] if reply == "url" else response.headers["Location"]
            assert response.status_code == (200 if reply == "url" else 302)
            content = requests.get(url, timeout=5).content
            assert emulator.requests[-1].token_sent is False
            assert emulator.requests[-1].song_id == SONG.id
        else:
            assert "Content-Length" not in response.headers
            assert response.headers.get("Transfer-Encoding") == ("chunked" if reply == "chunked" else None)
        assert content == emulator.audio(SONG.id, kind)

    def test_content_type_is_settable(self, emulator):
        emulator.configure(content_type="application/octet-stream")
        assert download(emulator).headers["Content-Type"] == "application/octet-stream"

    def test_file_urls_log_a_token_that_came(self, emulator):
        requests.get(f"{emulator.url}/files/{SONG.id}.mp3", headers={"Authorization": "Bearer x"}, timeout=5)
        assert emulator.requests[-1].token_sent is True
        assert emulator.requests[-1].status == 200

    def test_files_url_gives_urls_another_origin(self, emulator):
        emulator.configure(audio_reply="url", files_url="http://files.example")
        assert download(emulator).json() == {"url": f"http://files.example/files/{SONG.id}.mp3"}

    def test_memory_stays_low_while_a_long_wav_streams(self):
        song = Song(id="long", duration_s=1200)
        with Emulator(songs=[song]) as emulator:
            with download(emulator, "wav", "long", stream=True) as warm_up:
                next(warm_up.iter_content(1024))
            tracemalloc.start()
            try:
                with download(emulator, "wav", "long", stream=True) as response:
                    size = sum(map(len, response.iter_content(1024 * 1024)))
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert size == 44 + 1200 * 176_400
        assert peak < 8 * 1024 * 1024


class TestStems:
    def fetch(self, url: str) -> bytes:
        return requests.get(url, timeout=5).content

    def test_base64_is_the_default(self, emulator):
        stems = download(emulator, "stems").json()["stems"]
        assert {name: base64.b64decode(value) for name, value in stems.items()} == emulator.stems(SONG.id)
        assert list(stems) == ["vocals", "drums", "bass", "other"]

    def test_shapes(self, emulator):
        def reply(shape: str) -> Any:
            emulator.configure(stems_reply=shape)
            return download(emulator, "stems").json()

        expected = emulator.stems(SONG.id)
        document = reply("top-level")
        assert {name: base64.b64decode(value) for name, value in document.items()} == expected
        document = reply("list-base64")["stems"]
        assert {item["name"]: base64.b64decode(item["data"]) for item in document} == expected
        document = reply("list")
        assert {item["name"]: self.fetch(item["url"]) for item in document} == expected
        document = reply("data-uri")["stems"]
        assert all(value.startswith("data:audio/mp4;base64,") for value in document.values())
        assert {name: base64.b64decode(value.partition(",")[2]) for name, value in document.items()} == expected
        document = reply("urls")["stems"]
        assert {name: self.fetch(value) for name, value in document.items()} == expected
        document = reply("objects")["stems"]
        assert {key for value in document.values() for key in value} == {"url", "audio_url", "download_url"}
        assert {name: self.fetch(*value.values()) for name, value in document.items()} == expected
        assert not set(expected) & set(reply("unknown"))

    @pytest.mark.parametrize(
        ("missing", "expected"),
        [("absent", {}), ("null", {"bass": None, "other": None}), ("empty", {"bass": "", "other": ""})],
    )
    def test_missing_stems(self, missing, expected):
        song = Song(id="duo", stems=("vocals", "drums"))
        with Emulator(songs=[song], missing_stems=missing) as emulator:
            stems = download(emulator, "stems", "duo").json()["stems"]
            assert {name: value for name, value in stems.items() if not value} == expected
            assert set(emulator.stems("duo")) == {"vocals", "drums"}

    def test_padding_makes_them_large(self):
        with Emulator(songs=[Song(id="big", stem_padding=1_000_000)]) as emulator:
            assert all(len(content) > 1_000_000 for content in emulator.stems("big").values())

    def test_settings_are_checked(self, emulator):
        with pytest.raises(ValueError, match="stems_reply"):
            emulator.configure(stems_reply="sideways")


class TestPlayable:
    @pytest.mark.parametrize(
        ("kind", "codec", "duration"), [("mp3", "mp3", 2), ("wav", "pcm_s16le", 2), ("m4a", "aac", 2)]
    )
    def test_songs(self, emulator, tmp_path, kind, codec, duration):
        path = tmp_path / "song"
        path.write_bytes(emulator.audio(SONG.id, kind))
        probe = self.probe(path)
        assert probe["streams"][0]["codec_name"] == codec
        assert float(probe["format"]["duration"]) == pytest.approx(duration, abs=0.1)
        if kind == "mp3":
            assert probe["format"]["tags"]["title"] == SONG.title
        else:
            assert probe["streams"][0]["sample_rate"] == "44100"

    def test_stems(self, emulator, tmp_path):
        for name, content in emulator.stems(SONG.id).items():
            path = tmp_path / name
            path.write_bytes(content)
            assert self.probe(path)["streams"][0]["codec_name"] == "aac"

    @staticmethod
    def probe(path: os.PathLike[str]) -> dict[str, Any]:
        ffprobe = shutil.which("ffprobe")
        if ffprobe is None:
            pytest.skip("ffprobe is not installed: whether the emulator's audio plays was not checked")
        command = [ffprobe, "-v", "error", "-show_format", "-show_streams", "-of", "json", str(path)]
        result = subprocess.run(command, capture_output=True, check=True, text=True)
        assert result.stderr == ""
        return json.loads(result.stdout)


class TestSongs:
    def test_newest_first_with_offset_and_limit(self):
        songs = example_songs(12)
        with Emulator(songs=songs) as emulator:
            newest = [song.id for song in reversed(songs)]

            def ids(**params: Any) -> list[str]:
                return [song["id"] for song in call(emulator, "GET", "music/", params=params).json()]

            assert ids() == newest[:10]
            assert ids(limit=3) == newest[:3]
            assert ids(offset=3, limit=3) == newest[3:6]
            assert ids(offset=50) == []

    def test_fields(self, emulator):
        (song,) = call(emulator, "GET", "music", params={"id": SONG.id}).json()
        assert song["title"] == SONG.title
        assert song["status"] == "complete"
        assert song["duration_s"] == 2.0
        assert song["created_at"] == "2025-04-01T12:00:00.000Z"
        assert requests.get(song["download_url"], timeout=5).content == emulator.audio(SONG.id, "m4a")

    @pytest.mark.parametrize("params", [{"limit": "0"}, {"limit": "x"}, {"offset": "-1"}])
    def test_bad_parameters(self, emulator, params):
        assert refused(call(emulator, "GET", "music", params=params), 400)

    def test_unknown_id(self, emulator):
        assert refused(call(emulator, "GET", "music", params={"id": "unknown"}), 404)

    def test_delete(self, emulator):
        response = call(emulator, "DELETE", "music/", params={"id": SONG.id})
        assert (response.status_code, response.content) == (200, b"")
        assert refused(call(emulator, "DELETE", "music/", params={"id": SONG.id}), 404)
        assert refused(call(emulator, "DELETE", "music/"), 400)
        assert call(emulator, "GET", "music").json() == []

    @pytest.mark.parametrize(("method", "path"), [("PUT", "music"), ("GET", "music/create-prompt"), ("GET", "x")])
    def test_unknown_endpoint(self, emulator, method, path):
        assert refused(call(emulator, method, path), 404)


class TestCreate:
    def test_life_of_a_job(self, emulator):
        reply = create(emulator, replyRef="order 7").json()
        assert reply.keys() == {"job_id", "user_id"}
        assert reply["user_id"] == "user-1"
        seen = []
        deadline = time.monotonic() + 5
        while "complete" not in seen and time.monotonic() < deadline:
            status = status_of(emulator, reply["job_id"])
            if status not in seen:
                seen.append(status)
            time.sleep(0.01)
        assert seen == ["queued", "generating_audio", "complete"]
        songs = call(emulator, "GET", "music", params={"id": reply["job_id"]}).json()
        assert len(songs) == 2
        assert all("replyRef" not in song for song in songs)
        for song in songs:
            assert call(emulator, "GET", "music", params={"id": song["id"]}).json() == [song]
            assert download(emulator, song_id=song["id"]).content == emulator.audio(song["id"])

    def test_running_songs_are_listed_first_and_have_no_audio(self, emulator):
        emulator.configure(generation_seconds=30)
        create(emulator)
        running, other, old = call(emulator, "GET", "music").json()
        assert old["id"] == SONG.id
        assert running["status"] == other["status"] == "queued"
        assert running["download_url"] is None
        refused(download(emulator, song_id=running["id"]), 409)

    def test_jobs_reply(self, emulator):
        emulator.configure(job_reply="jobs")
        jobs = create(emulator).json()["jobs"]
        assert len(jobs) == 2
        songs = [call(emulator, "GET", "music", params={"id": job["id"]}).json() for job in jobs]
        assert [len(found) for found in songs] == [1, 1]
        assert songs[0][0]["id"] != songs[1][0]["id"]

    @pytest.mark.parametrize("word", ["completed", "failed", "cancelled"])
    def test_final_status(self, emulator, word):
        emulator.configure(final_status=word, generation_seconds=0)
        assert status_of(emulator, create(emulator).json()["job_id"]) == word

    def test_prompt_that_fails(self, emulator):
        emulator.configure(generation_seconds=0)
        assert status_of(emulator, create(emulator, "a failing song").json()["job_id"]) == "failed"

    @pytest.mark.parametrize("endpoint", ["create-prompt", "create-compose"])
    def test_moderated_prompt(self, emulator, endpoint):
        body = {"prompt": "A Moderated word", "prompt_1": "A Moderated word"}
        response = call(emulator, "POST", f"music/{endpoint}", json=body)
        assert response.status_code == 422
        assert response.json() == {
            "is_flagged": True,
            "reason": "moderation",
            "musician_replacement_data": None,
        }
        assert len(emulator.songs) == 1

    def test_compose(self, emulator):
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
    def test_bad_prompt(self, emulator, body):
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
    def test_bad_compose(self, emulator, field):
        body = {"prompt_1": "folk", **field}
        assert refused(call(emulator, "POST", "music/create-compose", json=body), 400)

    def test_body_that_is_no_json(self, emulator):
        assert refused(call(emulator, "POST", "music/create-prompt", data=b"{"), 400)

    def test_slots(self):
        with Emulator(accounts=[Account("user-1", max_jobs=1)], generation_seconds=30) as emulator:
            job_id = create(emulator).json()["job_id"]
            response = create(emulator)
            assert refused(response, 429)
            assert "Retry-After" not in response.headers
            emulator.configure(retry_after="12")
            assert create(emulator).headers["Retry-After"] == "12"
            assert create(emulator, maxJobs=2).status_code == 200
            assert call(emulator, "DELETE", f"scheduler/{job_id}").status_code == 200
            refused(create(emulator), 429)
            assert create(emulator, maxJobs=2).status_code == 200

    def test_lyrics(self, emulator):
        response = call(emulator, "POST", "music/generate-lyrics", json={"prompt": "rain", "lyrics": "Once"})
        assert response.json().keys() == {"lyrics"}
        assert response.json()["lyrics"].startswith("Once\n")
        assert refused(call(emulator, "POST", "music/generate-lyrics", json={}), 400)

    def test_many_at_once(self):
        with (
            Emulator(accounts=[Account("user-1", max_jobs=10)], generation_seconds=30) as emulator,
            ThreadPoolExecutor(40) as pool,
        ):
            answers = list(pool.map(lambda _: create(emulator).status_code, range(40)))
        assert sorted(answers) == [200] * 10 + [429] * 30
        assert emulator.count("create-prompt", "POST") == 40


class TestScheduler:
    def test_running_jobs(self, emulator):
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

    def test_stop_tracking(self, emulator):
        job_id = create(emulator).json()["job_id"]
        assert call(emulator, "DELETE", f"scheduler/{job_id}/").status_code == 200
        assert call(emulator, "GET", "scheduler").json() == []
        assert refused(call(emulator, "DELETE", f"scheduler/{job_id}"), 404)
        wait_for(emulator, job_id, "complete")

    def test_finished_jobs_leave(self, emulator):
        wait_for(emulator, create(emulator).json()["job_id"], "complete")
        assert call(emulator, "GET", "scheduler").json() == []


class TestAccounts:
    def test_list_and_one(self, emulator):
        account = call(emulator, "GET", "accounts/user-1").json()
        assert account["user_id"] == "user-1"
        assert account["maxJobs"] == 3
        assert "error" not in account
        assert account["jwt"].keys() >= {"expires_at", "expires_at_UTC"}
        assert call(emulator, "GET", "accounts/").json() == {"user-1": account}
        assert refused(call(emulator, "GET", "accounts/nobody"), 404)

    def test_none(self):
        with Emulator(accounts=[], songs=[]) as emulator:
            assert refused(call(emulator, "GET", "accounts"), 404)
            assert refused(call(emulator, "GET", "accounts/user-1"), 404)
            assert call(emulator, "POST", "accounts", json={"cookie": "c"}).status_code == 201
            assert list(call(emulator, "GET", "accounts").json()) == ["user-1"]

    def test_several_need_user_id(self):
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

    def test_broken_account(self):
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

    def test_fresh_cookie_repairs(self, emulator):
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

    def test_cookie_names_its_account(self):
        with Emulator(accounts=[Account("user-1"), Account("user-10")]) as emulator:
            emulator.break_account("user-1")
            emulator.break_account("user-10")
            call(emulator, "POST", "accounts", json={"cookie": "session of user-10"})
            assert [account.user_id for account in emulator.accounts if account.error] == ["user-1"]


class TestFaults:
    @pytest.mark.parametrize("status", [200, 400, 402, 404, 429, 500, 503, 599, 600, 999])
    def test_status(self, emulator, status):
        emulator.fault("status", status=status, times=2, path="music/download", retry_after="7")
        for _ in range(2):
            response = download(emulator)
            assert refused(response, status)
            assert response.headers["Retry-After"] == "7"
        assert download(emulator).content == emulator.audio(SONG.id)

    def test_bodies_of_a_status(self, emulator):
        def body(form: str, status: int = 422) -> requests.Response:
            emulator.clear()
            emulator.fault("status", status=status, body=form, message="No.")
            return download(emulator)

        assert body("json").json() == {"error": "No.", "code": 422}
        assert body("json-no-code").json() == {"error": "No."}
        assert body("json-nested").json() == {"error": {"code": 422, "message": "No."}}
        assert body("json-text-code").json() == {"error": "No.", "code": "422"}
        assert body("moderation").json()["is_flagged"] is True
        assert body("empty").content == b""
        assert body("html", 502).text.startswith("<!DOCTYPE html>")
        emulator.clear()
        emulator.fault("status", status=596)
        assert download(emulator).json() == {"error": PENDING}

    def test_match(self, emulator):
        emulator.fault("status", status=503, path="music/download", song_id="other")
        emulator.fault("status", status=502, method="delete")
        emulator.fault("status", status=504, path="/v1/riffusion/music/")
        assert download(emulator).status_code == 200
        assert download(emulator, song_id="other").status_code == 503
        assert call(emulator, "DELETE", "music", params={"id": SONG.id}).status_code == 502
        assert call(emulator, "GET", "music").status_code == 504
        assert call(emulator, "GET", "scheduler").status_code == 200
        emulator.clear()
        assert emulator.requests == []
        assert call(emulator, "GET", "music").status_code == 200

    def test_times_hold_under_concurrency(self, emulator):
        emulator.fault("status", status=503, times=7)
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: download(emulator).status_code, range(30)))
        assert answers.count(503) == 7

    def test_reset_before_the_head(self, emulator):
        emulator.fault("reset", times=1)
        with pytest.raises(requests.ConnectionError, match="reset by peer"):
            download(emulator)
        assert emulator.requests[-1].status is None
        assert download(emulator).status_code == 200

    def test_reset_in_the_body(self, emulator):
        emulator.fault("reset", after_bytes=5000)
        received, error = self.read_all(emulator, "wav")
        assert isinstance(error, ConnectionResetError)
        assert received.partition(b"\r\n\r\n")[2] == emulator.audio(SONG.id, "wav")[:5000]
        assert emulator.requests[-1].bytes_sent == 5000

    @pytest.mark.parametrize("framing", ["length", "chunked", "close"])
    @pytest.mark.parametrize("after", [0, 5000, None])
    def test_truncate(self, emulator, framing, after):
        emulator.fault("truncate", after_bytes=after, framing=framing)
        connection = self.open(emulator, "wav")
        response = connection.getresponse()
        whole = emulator.audio(SONG.id, "wav")
        expected = whole[: len(whole) // 2 if after is None else after]
        if framing == "close":
            assert response.read() == expected
        else:
            with pytest.raises(http.client.IncompleteRead) as caught:
                response.read()
            assert caught.value.partial == expected
        assert emulator.requests[-1].bytes_sent == len(expected)
        connection.close()

    def test_stall_before_the_head(self, emulator):
        emulator.fault("stall", seconds=0.4, times=1)
        start = time.monotonic()
        assert download(emulator).content == emulator.audio(SONG.id)
        assert time.monotonic() - start >= 0.4
        emulator.fault("stall")
        with pytest.raises(requests.ReadTimeout):
            download(emulator, timeout=0.2)

    def test_stall_in_the_body(self, emulator):
        emulator.fault("stall", after_bytes=3000, seconds=0.4)
        connection = self.open(emulator, "mp3")
        response = connection.getresponse()
        first = response.read(3000)
        start = time.monotonic()
        rest = response.read()
        assert time.monotonic() - start >= 0.3
        assert first + rest == emulator.audio(SONG.id)
        connection.close()

    def test_drip(self, emulator):
        size = len(emulator.audio(SONG.id))
        emulator.fault("drip", bytes_per_second=size / 0.5)
        start = time.monotonic()
        assert download(emulator).content == emulator.audio(SONG.id)
        assert 0.45 <= time.monotonic() - start < 1.5

    @pytest.mark.parametrize("framing", [None, "length", "close"])
    @pytest.mark.parametrize("kind", ["mp3", "wav"])
    def test_gzip(self, emulator, kind, framing):
        emulator.fault("gzip", framing=framing)
        response = download(emulator, kind)
        assert response.headers["Content-Encoding"] == "gzip"
        assert ("Content-Length" in response.headers) is (framing == "length")
        assert response.content == emulator.audio(SONG.id, kind)

    @pytest.mark.parametrize("framing", [None, "length", "close"])
    @pytest.mark.parametrize("after", [None, 400])
    def test_gzip_cut(self, emulator, framing, after):
        emulator.fault("gzip-cut", framing=framing, after_bytes=after)
        connection = self.open(emulator, "wav")
        content = connection.getresponse().read()
        connection.close()
        assert after in (None, len(content))
        unpacking = zlib.decompressobj(wbits=31)
        unpacked = unpacking.decompress(content)
        whole = emulator.audio(SONG.id, "wav")
        assert whole.startswith(unpacked)
        assert len(unpacked) < len(whole)
        assert not unpacking.eof

    def test_json_error(self, emulator):
        emulator.fault("json-error", message="Upstream said no")
        response = download(emulator)
        assert (response.status_code, response.json()) == (200, {"error": "Upstream said no"})

    def test_html(self, emulator):
        emulator.fault("html")
        response = download(emulator)
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/html")
        assert "</html>" in response.text

    @pytest.mark.parametrize(("what", "status", "length"), [("empty", 200, "0"), ("204", 204, None)])
    def test_nothing(self, emulator, what, status, length):
        emulator.fault(what)
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {emulator.token}"
            for _ in range(2):
                response = session.get(f"{emulator.url}/v1/riffusion/music/download", timeout=5)
                assert (response.status_code, response.content) == (status, b"")
                assert response.headers.get("Content-Length") == length

    @pytest.mark.parametrize("url", ["https://example.org/x", "file:///etc/passwd", "/relative"])
    def test_redirect(self, emulator, url):
        emulator.fault("redirect", url=url, status=307)
        response = download(emulator, allow_redirects=False)
        assert (response.status_code, response.headers["Location"]) == (307, url)

    def test_redirect_loop(self, emulator):
        emulator.fault("redirect-loop", times=1)
        with pytest.raises(requests.TooManyRedirects):
            download(emulator)
        assert emulator.count("redirect-loop") == 30

    @pytest.mark.parametrize(("kind", "sent"), [("mp3", "wav"), ("wav", "mp3"), ("stems", "mp3")])
    def test_wrong_format(self, emulator, kind, sent):
        emulator.fault("wrong-format")
        asked = {"mp3": "audio/mpeg", "wav": "audio/wav", "stems": "application/json"}[kind]
        response = download(emulator, kind)
        assert response.content == emulator.audio(SONG.id, sent)
        assert response.headers["Content-Type"] == asked

    @pytest.mark.parametrize("framing", [None, "close", "length"])
    def test_endless(self, emulator, framing):
        emulator.fault("endless", framing=framing)
        with download(emulator, stream=True) as response:
            whole = emulator.audio(SONG.id)
            received = b"".join(piece for piece, _ in zip(response.iter_content(4096), range(500), strict=False))
        assert received.startswith(whole * 100)
        assert response.headers.get("Content-Length") == (str(2**40) if framing == "length" else None)

    @pytest.mark.parametrize("endpoint", ["create-prompt", "create-compose"])
    def test_lost_reply(self, emulator, endpoint):
        emulator.fault("lost-reply", path="music/create")
        with pytest.raises(requests.ConnectionError):
            call(emulator, "POST", f"music/{endpoint}", json={"prompt": "x", "prompt_1": "x"})
        assert len(emulator.songs) == 3
        assert emulator.count("music/create") == 1
        assert emulator.requests[0].status is None

    def test_faults_of_the_wire_also_hit_files(self, emulator):
        emulator.configure(stems_reply="urls")
        emulator.fault("status", status=403, path="/files/" + SONG.id + "/drums.m4a", times=1)
        stems = download(emulator, "stems").json()["stems"]
        assert requests.get(stems["vocals"], timeout=5).status_code == 200
        assert requests.get(stems["drums"], timeout=5).status_code == 403

    @pytest.mark.parametrize(
        ("what", "fields"),
        [
            ("explode", {}),
            ("status", {}),
            ("status", {"status": 100}),
            ("status", {"status": 503, "body": "poem"}),
            ("redirect", {}),
            ("redirect", {"url": "x\r\nSet-Cookie: y"}),
            ("drip", {}),
            ("reset", {"times": 0}),
            ("reset", {"after_bytes": -1}),
            ("truncate", {"framing": "origami"}),
        ],
    )
    def test_orders_that_make_no_sense(self, emulator, what, fields):
        with pytest.raises(ValueError, match=r"\w"):
            emulator.fault(what, **fields)

    @staticmethod
    def open(emulator: Emulator, kind: str) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(emulator.url.removeprefix("http://"), timeout=5)
        path = f"/v1/riffusion/music/download/?id={SONG.id}&download_format={kind}"
        connection.request("GET", path, headers={"Authorization": f"Bearer {emulator.token}"})
        return connection

    def read_all(self, emulator: Emulator, kind: str) -> tuple[bytes, Exception | None]:
        connection = self.open(emulator, kind)
        received = b""
        try:
            while piece := connection.sock.recv(65536):
                received += piece
        except OSError as error:
            return received, error
        finally:
            connection.close()
        return received, None


class TestControl:
    def control(self, emulator: Emulator, method: str, path: str, **kwargs: Any) -> requests.Response:
        return requests.request(method, f"{emulator.url}/_emulator/{path}", timeout=5, **kwargs)

    def test_faults(self, emulator):
        response = self.control(emulator, "POST", "faults", json={"status": 503, "times": 2, "path": "music/download"})
        assert response.status_code == 201
        assert download(emulator).status_code == 503
        (fault,) = self.control(emulator, "GET", "faults").json()
        assert (fault["what"], fault["times"]) == ("status", 1)
        assert self.control(emulator, "DELETE", "faults").status_code == 200
        assert download(emulator).status_code == 200

    @pytest.mark.parametrize("body", [{}, [], {"what": "nonsense"}, {"what": "reset", "colour": 1}, {"status": "x"}])
    def test_bad_fault(self, emulator, body):
        assert refused(self.control(emulator, "POST", "faults", json=body), 400)
        assert self.control(emulator, "GET", "faults").json() == []

    def test_accounts(self, emulator):
        assert self.control(emulator, "POST", "accounts/user-1/break").status_code == 200
        assert download(emulator).status_code == 596
        assert self.control(emulator, "POST", "accounts/user-1/repair").status_code == 200
        assert download(emulator).status_code == 200
        assert refused(self.control(emulator, "POST", "accounts/nobody/break"), 404)
        assert refused(self.control(emulator, "POST", "accounts/user-1/hug"), 404)

    def test_requests(self, emulator):
        download(emulator)
        (logged,) = self.control(emulator, "GET", "requests").json()
        assert logged["path"] == "/v1/riffusion/music/download/"
        assert logged["token_sent"] is True
        assert logged["status"] == 200
        self.control(emulator, "DELETE", "requests")
        assert emulator.count() == 0

    def test_settings(self, emulator):
        assert self.control(emulator, "POST", "settings", json={"audio_reply": "url"}).status_code == 200
        assert download(emulator).json().keys() == {"url"}
        for body in (
            {"audio_reply": "x"},
            {"colour": "x"},
            [],
            {"generation_seconds": "soon"},
            {"songs_per_job": 0},
            {"final_status": None},
            {"retry_after": "1\r\nX: y"},
        ):
            assert refused(self.control(emulator, "POST", "settings", json=body), 400)

    def test_reset(self, emulator):
        emulator.fault("status", status=503)
        emulator.break_account("user-1")
        emulator.add_song(Song(id="new"))
        emulator.configure(audio_reply="url")
        download(emulator)
        assert self.control(emulator, "POST", "reset").status_code == 200
        assert emulator.count() == 0
        assert [song.id for song in emulator.songs] == [SONG.id]
        assert download(emulator).content == emulator.audio(SONG.id)

    def test_only_on_loopback(self, emulator, monkeypatch):
        # 192.0.2.1 is reserved for documentation; no packet goes there.
        real = Handler.setup

        def setup(self):
            real(self)
            self.client_address = ("192.0.2.1", 9)

        monkeypatch.setattr(Handler, "setup", setup)
        assert refused(self.control(emulator, "GET", "requests"), 403)


class TestServer:
    def test_keep_alive(self, emulator):
        connection = http.client.HTTPConnection(emulator.url.removeprefix("http://"), timeout=5)
        headers = {"Authorization": f"Bearer {emulator.token}"}
        emulator.fault("status", status=503, times=1)
        connection.request("POST", "/v1/riffusion/music/create-prompt", b'{"prompt": "x"}', headers)
        first = connection.getresponse()
        first.read()
        own = connection.sock
        connection.request("GET", "/v1/riffusion/accounts", headers=headers)
        second = connection.getresponse()
        second.read()
        assert (first.status, second.status) == (503, 200)
        assert connection.sock is own
        connection.close()

    def test_bodies_that_it_does_not_take(self, emulator):
        chunks = iter([b"{}"])
        assert refused(call(emulator, "POST", "music/create-prompt", data=chunks), 411)
        answer = b""
        with socket.create_connection(("127.0.0.1", int(emulator.url.rpartition(":")[2]))) as connection:
            connection.sendall(
                b"POST /v1/riffusion/accounts HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n"
                b"Authorization: Bearer user:1234-abcdef\r\n\r\n"
            )
            while piece := connection.recv(4096):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 413 ")

    def test_head_has_no_body(self, emulator):
        response = requests.head(f"{emulator.url}/v1/riffusion/music", timeout=5)
        assert (response.status_code, response.content) == (401, b"")

    def test_logs_one_line_per_request(self, emulator, caplog):
        caplog.set_level(logging.INFO)
        download(emulator)
        call(emulator, "GET", "scheduler")
        deadline = time.monotonic() + 2
        while len(caplog.messages) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        ours = [record.getMessage() for record in caplog.records if "emulator" in record.name]
        assert len(ours) == 2
        assert "music/download" in ours[0]
        assert "200" in ours[0]

    @pytest.mark.parametrize(
        ("what", "fields"),
        [
            ("stall", {}),
            ("stall", {"after_bytes": 100}),
            ("drip", {"bytes_per_second": 1}),
            ("endless", {}),
        ],
    )
    def test_stops_promptly(self, what, fields):
        emulator = Emulator(songs=[SONG])
        emulator.start()
        emulator.fault(what, **fields)
        ended = threading.Event()

        def client() -> None:
            try:
                download(emulator, timeout=30)
            except requests.RequestException:
                ended.set()

        threading.Thread(target=client, daemon=True).start()
        deadline = time.monotonic() + 5
        while emulator.count() == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        start = time.monotonic()
        emulator.stop()
        assert time.monotonic() - start < 1
        assert ended.wait(1)
        self.wait_for_the_end_of_connections()
        assert emulator.count("music/download") == 1

    @staticmethod
    def wait_for_the_end_of_connections() -> None:
        deadline = time.monotonic() + 1
        while names := [thread.name for thread in threading.enumerate() if "process_request" in thread.name]:
            if time.monotonic() > deadline:
                pytest.fail(f"still running: {names}")
            time.sleep(0.01)

    def test_both_families_on_one_socket(self):
        try:
            emulator = Emulator(host="::")
            emulator.start()
        except OSError:
            pytest.skip("this machine has no IPv6")
        with emulator_stopped(emulator):
            port = emulator.url.rpartition(":")[2]
            assert emulator.url == f"http://[::]:{port}"
            for host in ("127.0.0.1", "[::1]"):
                assert requests.get(f"http://{host}:{port}/_emulator/requests", timeout=5).status_code == 200

    def test_stops_promptly_when_clients_neither_read_nor_leave(self):
        with Emulator(songs=[Song(id="long", duration_s=1200)]) as emulator, requests.Session() as idle:
            response = download(emulator, "wav", "long", stream=True)
            idle.get(f"{emulator.url}/v1/riffusion/music", timeout=5)
            time.sleep(0.1)
            start = time.monotonic()
            emulator.stop()
            assert time.monotonic() - start < 1
            self.wait_for_the_end_of_connections()
            response.close()

    def test_life(self):
        emulator = Emulator()
        with pytest.raises(RuntimeError, match="not started"):
            _ = emulator.url
        with emulator:
            port = int(emulator.url.rpartition(":")[2])
            with pytest.raises(RuntimeError, match="started already"):
                emulator.start()
            with pytest.raises(OSError, match="in use"):
                Emulator(port=port).start()
        emulator.stop()
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://127.0.0.1:{port}/", timeout=1)

    def test_imports_nothing_of_the_rest(self):
        code = (
            "import sys, airflow_provider_riffusion.emulator.__main__\n"
            "names = [n for n in sys.modules if n.split('.')[0] in ('airflow', 'requests', 'tenacity')\n"
            "         or n.startswith('airflow_provider_riffusion.')\n"
            "         and not n.startswith('airflow_provider_riffusion.emulator')]\n"
            "print(names)"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert result.stdout.strip() == "[]"


class TestCommandLine:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "status=503,times=2,path=music/download",
                {"what": "status", "status": 503, "times": 2, "path": "music/download"},
            ),
            ("reset,after_bytes=1000", {"what": "reset", "after_bytes": 1000}),
            ("204", {"what": "204"}),
            ("what=stall,seconds=0.5", {"what": "stall", "seconds": 0.5}),
            (
                "status=429,retry_after=Wed, 21 Oct 2026 07:28:00 GMT,times=1",
                {"what": "status", "retry_after": "Wed, 21 Oct 2026 07:28:00 GMT", "times": 1},
            ),
            ("redirect,url=http://x/?a=b,c", {"what": "redirect", "url": "http://x/?a=b,c"}),
        ],
    )
    def test_fault(self, text, expected):
        fault = parse_fault(text)
        assert {name: getattr(fault, name) for name in expected} == expected

    @pytest.mark.parametrize("text", ["", "explode", "times=2", "status=x", "reset,colour=red"])
    def test_bad_fault(self, text, capsys):
        with pytest.raises(SystemExit):
            build_parser().parse_args(["--fault", text])
        assert "--fault" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "arguments", [["--generation-seconds", "-1"], ["--song-seconds", "nan"], ["--accounts", "0"]]
    )
    def test_bad_numbers(self, arguments, capsys):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert "error:" in capsys.readouterr().err

    def test_greeting_can_be_copied(self):
        arguments = build_parser().parse_args(["--port", "0", "--accounts", "2", "--songs", "3", "--quiet"])
        with make_emulator(arguments) as emulator:
            text = greeting(emulator)
            line = re.search(r"AIRFLOW_CONN_RIFFUSION_DEFAULT='(.*)'", text)
            assert line
            assert json.loads(line[1]) == {
                "conn_type": "riffusion",
                "host": emulator.url,
                "password": emulator.token,
                "extra": {"user_id": "user-1"},
            }
            url = re.search(r"'(http://\S+/music/download/\S+)'", text)
            assert url
            headers = {"Authorization": f"Bearer {emulator.token}"}
            assert requests.get(url[1], headers=headers, timeout=5).content.startswith(b"ID3")
            assert all(song.id in text for song in emulator.songs)

    def test_process(self):
        command = [
            sys.executable,
            "-m",
            "airflow_provider_riffusion.emulator",
            "--port",
            "0",
            "--broken-account",
        ]
        with subprocess.Popen(
            [*command, "--fault", "status=503,times=1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            lines = iter(process.stdout.readline, "")
            url = next(match[0] for line in lines if (match := re.search(r"http://[\d.:]+", line)))
            headers = {"Authorization": "Bearer user:1234-abcdef"}
            answers = [
                requests.get(f"{url}/v1/riffusion/music", headers=headers, timeout=5).status_code for _ in range(2)
            ]
            assert answers == [503, 596]
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=5)
        assert process.returncode == 0
        assert "Traceback" not in errors
        assert len(errors.splitlines()) == 2

    def test_port_in_use(self, emulator):
        port = emulator.url.rpartition(":")[2]
        command = [sys.executable, "-m", "airflow_provider_riffusion.emulator", "--port", port]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        assert result.returncode == 1
        assert result.stderr.startswith("cannot listen on 127.0.0.1 port")
