"""Downloads that break and go on, against a server that serves ranges and lies about them."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.emulator.riffusion.files import file_response, other_version
from airflow_provider_riffusion.emulator.server.ranges import RANGE_FAULTS
from airflow_provider_riffusion.exceptions import RiffusionApiError, RiffusionDownloadError, RiffusionTooLargeError
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from airflow_provider_riffusion.transport.retry import ATTEMPTS

pytestmark = pytest.mark.usefixtures("no_backoff")

#: 1.8 MB, more than the writer keeps in memory.
SONG = Song("song", duration_s=10)
OLD = file_response(SONG, "wav").to_bytes()
NEW = file_response(other_version(SONG), "wav").to_bytes()
CUT = 700_000


@pytest.fixture(scope="module")
def server() -> Iterator[Emulator]:
    with Emulator(songs=[SONG], ranges="yes") as emulator:
        yield emulator


@pytest.fixture
def emulator(server: Emulator, connect: Callable[..., None]) -> Iterator[Emulator]:
    connect(server.url, server.token)
    yield server
    server.clear()
    server.configure(audio_reply="bytes", ranges="yes")


@pytest.fixture
def download(tmp_path: Path, emulator: Emulator) -> Callable[..., bytes]:
    """Download the song, and check that the digest is the stored file's."""

    def download(**options: Any) -> bytes:
        path = tmp_path / "song.wav"
        file = RiffusionHook().download("song", "wav", path, **options)
        content = path.read_bytes()
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert list(tmp_path.iterdir()) == [path]
        return content

    return download


def sent(emulator: Emulator) -> list[tuple[int | None, int]]:
    """Return status and bytes of each response."""
    return [(request.status, request.bytes_sent) for request in emulator.requests]


@pytest.mark.parametrize("what", ["truncate", "reset"])
@pytest.mark.parametrize("audio_reply", ["bytes", "url", "redirect"])
def test_a_body_that_breaks_goes_on_where_it_broke(
    emulator: Emulator, download: Callable[..., bytes], audio_reply: str, what: str
) -> None:
    emulator.configure(audio_reply=audio_reply)
    path = "music/download" if audio_reply == "bytes" else "/files/song.wav"
    emulator.fault(what, after_bytes=CUT, times=1, path=path)
    assert download() == OLD
    files = [request for request in emulator.requests if request.status in (200, 206) and request.bytes_sent > 1000]
    assert [(request.status, request.bytes_sent) for request in files] == [(200, CUT), (206, len(OLD) - CUT)]
    # A redirect is asked for anew, and the response that gave a URL is not.
    assert emulator.count("music/download") == {"bytes": 2, "url": 1, "redirect": 2}[audio_reply]


def test_many_cuts_move_hardly_more_than_the_bytes(emulator: Emulator, download: Callable[..., bytes]) -> None:
    piece = len(OLD) // 9
    emulator.fault("truncate", after_bytes=piece, times=8)
    assert download() == OLD
    assert len(emulator.requests) == 9 > ATTEMPTS
    assert sum(request.bytes_sent for request in emulator.requests) == len(OLD)


def test_a_server_that_cuts_after_a_few_bytes_ends_after_five_attempts(
    emulator: Emulator, download: Callable[..., bytes]
) -> None:
    # The first attempt brings enough to count as none.
    emulator.fault("truncate", after_bytes=CUT, times=1)
    emulator.fault("truncate", after_bytes=len(OLD) // 100 - 1000)
    with pytest.raises(RiffusionDownloadError):
        download()
    assert len(emulator.requests) == 1 + ATTEMPTS


def test_errors_between_the_parts_use_attempts_up_until_the_body_goes_on(
    emulator: Emulator, download: Callable[..., bytes], pauses: list[float]
) -> None:
    emulator.fault("truncate", after_bytes=CUT, times=1)
    emulator.fault("status", status=503, times=4)
    emulator.fault("truncate", after_bytes=CUT, times=1)
    emulator.fault("status", status=503, times=4)
    assert download() == OLD
    assert [status for status, _ in sent(emulator)] == [200, *[503] * 4, 206, *[503] * 4, 206]
    assert len(pauses) == 10


def test_the_waiting_is_limited_for_each_stretch_without_progress(
    emulator: Emulator, download: Callable[..., bytes], pauses: list[float]
) -> None:
    for _ in range(2):
        emulator.fault("truncate", after_bytes=CUT, times=1)
        emulator.fault("status", status=503, retry_after="110", times=2)
    assert download() == OLD
    assert sum(pauses) > 400
    emulator.clear()
    emulator.fault("truncate", after_bytes=CUT, times=1)
    emulator.fault("status", status=503, retry_after="110")
    with pytest.raises(RiffusionApiError):
        download()
    assert [status for status, _ in sent(emulator)] == [200, 503, 503, 503]


# --- lies, and servers that cannot do it

#: What the file is in the end, and the statuses of the responses after the one that is cut.
LIES = {
    "new-version": (NEW, [200]),
    "ignored-if-range": (NEW, [206, 200]),
    "range-etag": (OLD, [206, 200]),
    "range-start": (OLD, [206, 200]),
    "range-total": (OLD, [206, 200]),
    "range-short": (OLD, [206, 200]),
    "range-nameless": (OLD, [206, 200]),
    "range-multipart": (OLD, [206, 200]),
    "range-ignored": (OLD, [200]),
    "range-416": (OLD, [416, 200]),
}


def test_every_lie_is_told() -> None:
    assert LIES.keys() | {"unasked-206", "weak-etag"} == RANGE_FAULTS.keys()


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_a_range_makes_the_download_start_over(
    emulator: Emulator, download: Callable[..., bytes], lie: str
) -> None:
    emulator.fault("truncate", after_bytes=CUT, times=1)
    emulator.fault(lie)
    stored, statuses = LIES[lie]
    assert download() == stored
    assert [status for status, _ in sent(emulator)] == [200, *statuses]


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies_once_and_is_cut_again_mixes_nothing(
    emulator: Emulator, download: Callable[..., bytes], lie: str
) -> None:
    emulator.fault("truncate", after_bytes=CUT, times=1)
    emulator.fault(lie, times=1)
    emulator.fault("truncate", after_bytes=2 * CUT, times=1)
    assert download() in (OLD, NEW)


def test_a_version_that_takes_over_is_gone_on_with(emulator: Emulator, download: Callable[..., bytes]) -> None:
    def replace_song() -> None:
        emulator.fault("truncate", after_bytes=CUT, times=1)

    emulator.fault("truncate", after_bytes=CUT, times=1)
    replace_song()
    assert download() == OLD
    assert sent(emulator) == [(200, CUT), (206, CUT), (206, len(OLD) - 2 * CUT)]


def test_a_part_that_was_not_asked_for_is_an_error(emulator: Emulator, download: Callable[..., bytes]) -> None:
    emulator.fault("unasked-206")
    with pytest.raises(RiffusionApiError, match="206"):
        download()
    assert len(emulator.requests) == 1


def test_a_part_that_was_not_asked_for_is_an_error_also_after_a_break(
    emulator: Emulator, download: Callable[..., bytes]
) -> None:
    emulator.fault("truncate", after_bytes=CUT, times=1)
    emulator.fault("unasked-206")
    with pytest.raises(RiffusionApiError, match="206"):
        download()
    assert [status for status, _ in sent(emulator)] == [200, 206, 206]


@pytest.mark.parametrize("settings", [{"ranges": "no"}, {"audio_reply": "chunked"}], ids=str)
def test_without_ranges_or_a_length_it_starts_over_each_time(
    emulator: Emulator, download: Callable[..., bytes], settings: dict[str, str]
) -> None:
    emulator.configure(**settings)
    emulator.fault("truncate", after_bytes=CUT)
    with pytest.raises(RiffusionDownloadError):
        download()
    assert sent(emulator) == [(200, CUT)] * ATTEMPTS


def test_a_weak_etag_is_no_validator(emulator: Emulator, download: Callable[..., bytes]) -> None:
    emulator.fault("weak-etag")
    assert download() == OLD
