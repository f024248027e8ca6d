"""Faults on the wire: connections that end, stall and drip, and bodies that are cut or repeated."""

from __future__ import annotations

import http.client
import time
import zlib

import pytest
import requests

from airflow_provider_riffusion.emulator import Emulator
from tests.emulator.support import SONG, call, download


def open_download(emulator: Emulator, kind: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(emulator.url.removeprefix("http://"), timeout=5)
    path = f"/v1/riffusion/music/download/?id={SONG.id}&download_format={kind}"
    connection.request("GET", path, headers={"Authorization": f"Bearer {emulator.token}"})
    return connection


def read_all(emulator: Emulator, kind: str) -> tuple[bytes, Exception | None]:
    connection = open_download(emulator, kind)
    received = b""
    try:
        while piece := connection.sock.recv(65536):
            received += piece
    except OSError as error:
        return received, error
    finally:
        connection.close()
    return received, None


def test_reset_before_the_head(emulator: Emulator) -> None:
    emulator.fault("reset", times=1)
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        download(emulator)
    assert emulator.requests[-1].status is None
    assert download(emulator).status_code == 200


def test_reset_in_the_body(emulator: Emulator) -> None:
    emulator.fault("reset", after_bytes=5000)
    received, error = read_all(emulator, "wav")
    assert isinstance(error, ConnectionResetError)
    assert received.partition(b"\r\n\r\n")[2] == emulator.audio(SONG.id, "wav")[:5000]
    assert emulator.requests[-1].bytes_sent == 5000


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("after", [0, 5000, None])
def test_truncate(emulator: Emulator, framing: str | None, after: int | None) -> None:
    emulator.fault("truncate", after_bytes=after, framing=framing)
    connection = open_download(emulator, "wav")
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


def test_stall_before_the_head(emulator: Emulator) -> None:
    emulator.fault("stall", seconds=0.1, times=1)
    start = time.monotonic()
    assert download(emulator).content == emulator.audio(SONG.id)
    assert time.monotonic() - start >= 0.1
    emulator.fault("stall")
    with pytest.raises(requests.ReadTimeout):
        download(emulator, timeout=0.05)
    assert emulator.requests[-1].status is None


def test_stall_in_the_body(emulator: Emulator) -> None:
    emulator.fault("stall", after_bytes=3000, seconds=0.1, times=1)
    start = time.monotonic()
    assert download(emulator).content == emulator.audio(SONG.id)
    assert time.monotonic() - start >= 0.1
    emulator.fault("stall", after_bytes=3000)
    connection = open_download(emulator, "mp3")
    response = connection.getresponse()
    assert response.read(3000) == emulator.audio(SONG.id)[:3000]
    connection.sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        response.read(1)
    assert emulator.requests[-1].bytes_sent == 3000
    connection.close()


def test_drip(emulator: Emulator) -> None:
    emulator.fault("drip", bytes_per_second=len(emulator.audio(SONG.id)) / 0.15)
    start = time.monotonic()
    assert download(emulator).content == emulator.audio(SONG.id)
    assert 0.14 <= time.monotonic() - start < 10


@pytest.mark.parametrize("framing", [None, "length", "close"])
@pytest.mark.parametrize("kind", ["mp3", "wav"])
def test_gzip(emulator: Emulator, kind: str, framing: str | None) -> None:
    emulator.fault("gzip", framing=framing)
    response = download(emulator, kind)
    assert response.headers["Content-Encoding"] == "gzip"
    assert ("Content-Length" in response.headers) is (framing == "length")
    assert response.content == emulator.audio(SONG.id, kind)


@pytest.mark.parametrize("framing", [None, "length", "close"])
@pytest.mark.parametrize("after", [None, 400])
def test_gzip_cut(emulator: Emulator, framing: str | None, after: int | None) -> None:
    emulator.fault("gzip-cut", framing=framing, after_bytes=after)
    connection = open_download(emulator, "wav")
    content = connection.getresponse().read()
    connection.close()
    assert after in (None, len(content))
    unpacking = zlib.decompressobj(wbits=31)
    unpacked = unpacking.decompress(content)
    whole = emulator.audio(SONG.id, "wav")
    assert whole.startswith(unpacked)
    assert len(unpacked) < len(whole)
    assert not unpacking.eof


@pytest.mark.parametrize("framing", [None, "close", "length"])
def test_endless(emulator: Emulator, framing: str | None) -> None:
    emulator.fault("endless", framing=framing)
    with download(emulator, stream=True) as response:
        whole = emulator.audio(SONG.id)
        received = b"".join(piece for piece, _ in zip(response.iter_content(4096), range(500), strict=False))
    assert received.startswith(whole * 100)
    assert response.headers.get("Content-Length") == (str(2**40) if framing == "length" else None)


@pytest.mark.parametrize("endpoint", ["create-prompt", "create-compose"])
def test_lost_reply(emulator: Emulator, endpoint: str) -> None:
    emulator.fault("lost-reply", path="music/create")
    with pytest.raises(requests.ConnectionError):
        call(emulator, "POST", f"music/{endpoint}", json={"prompt": "x", "prompt_1": "x"})
    assert len(emulator.songs) == 3
    assert emulator.count("music/create") == 1
    assert emulator.requests[0].status is None
