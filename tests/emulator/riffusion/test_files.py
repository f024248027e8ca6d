"""Downloads: mp3, wav, and the stems JSON in all its shapes."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import requests

from airflow_provider_riffusion.emulator import Emulator, Song
from tests.emulator.support import SONG, call, download


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(("kind", "content_type"), [("mp3", "audio/mpeg"), ("wav", "audio/wav")])
def test_audio(emulator: Emulator, kind: str, content_type: str, slash: str) -> None:
    response = call(emulator, "GET", f"music/download{slash}", params={"id": SONG.id, "download_format": kind})
    assert response.status_code == 200
    assert response.content == emulator.audio(SONG.id, kind)
    assert response.headers["Content-Length"] == str(len(response.content))
    assert response.headers["Content-Type"] == content_type
    logged = emulator.requests[-1]
    assert (logged.status, logged.bytes_sent, logged.song_id) == (200, len(response.content), SONG.id)
    assert logged.query == {"id": SONG.id, "download_format": kind}


@pytest.mark.parametrize("reply", ["chunked", "close", "url", "redirect"])
@pytest.mark.parametrize("kind", ["mp3", "wav"])
def test_other_ways_to_respond(emulator: Emulator, reply: str, kind: str) -> None:
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


def test_content_type_is_settable(emulator: Emulator) -> None:
    emulator.configure(content_type="application/octet-stream")
    assert download(emulator).headers["Content-Type"] == "application/octet-stream"


def test_files_url_gives_urls_another_origin(emulator: Emulator) -> None:
    emulator.configure(audio_reply="url", files_url="http://files.example")
    assert download(emulator).json() == {"url": f"http://files.example/files/{SONG.id}.mp3"}


def test_base64_stems_are_the_default(emulator: Emulator) -> None:
    stems = download(emulator, "stems").json()["stems"]
    assert {name: base64.b64decode(value) for name, value in stems.items()} == emulator.stems(SONG.id)
    assert list(stems) == ["vocals", "drums", "bass", "other"]


def test_shapes_of_stems(emulator: Emulator) -> None:
    def reply(shape: str) -> Any:
        emulator.configure(stems_reply=shape)
        return download(emulator, "stems").json()

    expected = emulator.stems(SONG.id)
    document = reply("top-level")
    assert {name: base64.b64decode(value) for name, value in document.items()} == expected
    document = reply("list-base64")["stems"]
    assert {item["name"]: base64.b64decode(item["data"]) for item in document} == expected
    document = reply("list")
    assert {item["name"]: fetch(item["url"]) for item in document} == expected
    document = reply("data-uri")["stems"]
    assert all(value.startswith("data:audio/mp4;base64,") for value in document.values())
    assert {name: base64.b64decode(value.partition(",")[2]) for name, value in document.items()} == expected
    document = reply("urls")["stems"]
    assert {name: fetch(value) for name, value in document.items()} == expected
    document = reply("objects")["stems"]
    assert {key for value in document.values() for key in value} == {"url", "audio_url", "download_url"}
    assert {name: fetch(*value.values()) for name, value in document.items()} == expected
    assert not set(expected) & set(reply("unknown"))


def fetch(url: str) -> bytes:
    return requests.get(url, timeout=5).content


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("absent", {}), ("null", {"bass": None, "other": None}), ("empty", {"bass": "", "other": ""})],
)
def test_missing_stems(missing: str, expected: dict[str, Any]) -> None:
    song = Song(id="duo", stems=("vocals", "drums"))
    with Emulator(songs=[song], missing_stems=missing) as emulator:
        stems = download(emulator, "stems", "duo").json()["stems"]
        assert {name: value for name, value in stems.items() if not value} == expected
        assert set(emulator.stems("duo")) == {"vocals", "drums"}
