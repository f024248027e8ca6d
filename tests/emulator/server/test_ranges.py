"""Ranges as RFC 9110 says, and the lies about them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_provider_riffusion.emulator import Emulator
from airflow_provider_riffusion.emulator.server.ranges import RANGE_FAULTS
from tests.emulator.support import SONG, download

LENGTH = 352_844


@pytest.fixture
def ranges(emulator: Emulator) -> Emulator:
    emulator.configure(ranges="yes")
    return emulator


def test_by_default_nothing_comes_in_ranges(emulator: Emulator) -> None:
    response = download(emulator, "wav", headers={"Range": "bytes=10-"})
    assert (response.status_code, len(response.content)) == (200, LENGTH)
    assert not {"ETag", "Accept-Ranges", "Content-Range"} & response.headers.keys()


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-", 206, 0, LENGTH),
        ("bytes=300000-", 206, 300_000, LENGTH),
        ("bytes=300000-300000", 206, 300_000, 300_001),
        (f"bytes=5-{LENGTH + 5}", 206, 5, LENGTH),
        (f"bytes={LENGTH}-", 416, 0, 0),
        ("bytes=-5", 200, 0, LENGTH),
        ("bytes=0-1,5-6", 200, 0, LENGTH),
        ("seconds=1-", 200, 0, LENGTH),
    ],
)
def test_a_range_is_cut_out(ranges: Emulator, asked: str, status: int, start: int, end: int) -> None:
    response = download(ranges, "wav", headers={"Range": asked})
    assert response.status_code == status
    assert response.content == ranges.audio(SONG.id, "wav")[start:end]
    expected = {200: None, 206: f"bytes {start}-{end - 1}/{LENGTH}", 416: f"bytes */{LENGTH}"}
    assert response.headers.get("Content-Range") == expected[status]


def test_if_range_keeps_versions_apart(ranges: Emulator) -> None:
    etag = download(ranges).headers["ETag"]

    def status() -> int:
        return download(ranges, headers={"Range": "bytes=10-", "If-Range": etag}).status_code

    assert status() == 206
    ranges.add_song(replace(SONG, title="Blue Facade"))
    assert status() == 200


#: Status, start of the bytes, and what is said of them, when all from byte 300,000 on is asked for.
LIES = {
    "new-version": (200, 0, None),
    "ignored-if-range": (206, 300_000, f"bytes 300000-{LENGTH - 1}/{LENGTH}"),
    "range-etag": (206, 300_000, f"bytes 300000-{LENGTH - 1}/{LENGTH}"),
    "range-start": (206, 150_000, f"bytes 150000-{LENGTH - 1}/{LENGTH}"),
    "range-total": (206, 300_000, f"bytes 300000-{LENGTH - 1}/{LENGTH + 1}"),
    "range-short": (206, 300_000, f"bytes 300000-{LENGTH - 1}/{LENGTH}"),
    "range-nameless": (206, 300_000, None),
    "range-multipart": (206, 300_000, f"bytes 300000-{LENGTH - 1}/{LENGTH}"),
    "range-ignored": (200, 0, None),
    "range-416": (416, LENGTH, f"bytes */{LENGTH}"),
    "unasked-206": (206, 0, f"bytes 0-{LENGTH // 2 - 1}/{LENGTH}"),
    "weak-etag": (200, 0, None),
}


@pytest.mark.parametrize("fault", RANGE_FAULTS)
def test_a_lie(ranges: Emulator, fault: str) -> None:
    right = download(ranges, "wav")
    ranges.fault(fault)
    etag = right.headers["ETag"]
    response = download(ranges, "wav", headers={"Range": "bytes=300000-", "If-Range": etag})
    status, start, content_range = LIES[fault]
    assert (response.status_code, response.headers.get("Content-Range")) == (status, content_range)
    is_right = response.content == right.content[start:]
    assert is_right == (
        fault not in ("new-version", "ignored-if-range", "range-short", "range-multipart", "unasked-206")
    )
    has_right_etag = response.headers.get("ETag") == etag
    assert has_right_etag == (fault not in ("new-version", "ignored-if-range", "range-etag", "range-416", "weak-etag"))


@pytest.mark.parametrize("fault", sorted(RANGE_FAULTS.keys() - {"new-version", "ignored-if-range"}))
def test_a_lie_needs_ranges(emulator: Emulator, fault: str) -> None:
    emulator.fault(fault)
    response = download(emulator, headers={"Range": "bytes=10-"})
    assert response.status_code == 200
    assert response.content == emulator.audio(SONG.id)
