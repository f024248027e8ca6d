"""Downloads that break and go on, against a server that serves ranges and lies about them."""

from __future__ import annotations

import hashlib
import io
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.emulator.riffusion.files import download_response, file_response, other_version
from airflow_provider_riffusion.emulator.riffusion.models import Settings
from airflow_provider_riffusion.emulator.server.ranges import RANGE_FAULTS
from airflow_provider_riffusion.exceptions import RiffusionApiError, RiffusionDownloadError, RiffusionTooLargeError
from airflow_provider_riffusion.hooks.connection import ConnectionSettings
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from airflow_provider_riffusion.transport.request import Request
from airflow_provider_riffusion.transport.response import Response
from airflow_provider_riffusion.transport.retry import ATTEMPTS
from airflow_provider_riffusion.useapi.client import UseapiClient
from tests.support.raw_server import RawServer, Script, ok, response, serve

pytestmark = pytest.mark.usefixtures("no_backoff")

#: 1.8 MB, more than the writer keeps in memory.
SONG = Song("song", duration_s=10)
OLD = file_response(SONG, "wav").to_bytes()
NEW = file_response(other_version(SONG), "wav").to_bytes()
STEMS = download_response(SONG, "stems", Settings(), "").to_bytes()
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
    server.configure(audio_reply="bytes", ranges="yes", stems_reply="base64")


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


@pytest.mark.parametrize("audio_reply", ["bytes", "url", "redirect"])
def test_a_body_that_breaks_goes_on_where_it_broke(
    emulator: Emulator, download: Callable[..., bytes], audio_reply: str
) -> None:
    emulator.configure(audio_reply=audio_reply)
    path = "music/download" if audio_reply == "bytes" else "/files/song.wav"
    emulator.fault("truncate", after_bytes=CUT, times=1, path=path)
    assert download() == OLD
    files = [request for request in emulator.requests if request.status in (200, 206) and request.bytes_sent > 1000]
    assert [(request.status, request.bytes_sent) for request in files] == [(200, CUT), (206, len(OLD) - CUT)]
    # A redirect is asked for anew, and the response that gave a URL is not.
    assert emulator.count("music/download") == {"bytes": 2, "url": 1, "redirect": 2}[audio_reply]


def test_a_reset_is_mended_with_what_had_arrived(emulator: Emulator, download: Callable[..., bytes]) -> None:
    emulator.fault("reset", after_bytes=CUT, times=1)
    assert download() == OLD
    # A reset takes away what the client has not read yet.
    assert sent(emulator)[1][1] >= len(OLD) - CUT


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
def test_a_server_that_has_lied_is_not_asked_for_a_range_again(
    emulator: Emulator, download: Callable[..., bytes], lie: str
) -> None:
    emulator.fault("truncate", after_bytes=CUT, times=1)
    emulator.fault(lie, times=1)
    emulator.fault("truncate", after_bytes=2 * CUT, times=1)
    assert download() in (OLD, NEW)
    assert 206 not in [status for status, _ in sent(emulator)[2:]]


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


def test_a_kill_leaves_no_thread_and_no_file(
    emulator: Emulator, tmp_path: Path, download: Callable[..., bytes]
) -> None:
    emulator.fault("stall", after_bytes=2 * CUT)

    class Killed(BaseException):
        """What Airflow's handlers raise."""

    def kill(*_: object) -> None:
        raise Killed

    before = signal.signal(signal.SIGALRM, kill)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(Killed):
            download()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("riffusion-writer")]


def test_stems_go_on_too(emulator: Emulator, tmp_path: Path) -> None:
    emulator.fault("truncate", times=1)
    files = RiffusionHook().download_stems("song", tmp_path)
    assert {file.name: file.path.read_bytes() for file in files} == emulator.stems("song")
    (first, rest), whole = sent(emulator), len(STEMS)
    assert (first, rest) == ((200, whole // 2), (206, whole - whole // 2))


def test_a_stem_at_a_url_goes_on(emulator: Emulator, tmp_path: Path) -> None:
    emulator.configure(stems_reply="urls")
    emulator.fault("truncate", times=1, path="/files/song/drums.m4a")
    files = RiffusionHook().download_stems("song", tmp_path)
    assert {file.name: file.path.read_bytes() for file in files} == emulator.stems("song")
    drums = len(emulator.stems("song")["drums"])
    moved = [request.bytes_sent for request in emulator.requests if "drums" in request.path]
    assert moved == [drums // 2, drums - drums // 2]


# --- byte by byte

TOKEN = "user:canary-token"
BODY = bytes(range(256)) * 100
OTHER = BODY[::-1]
GOOD = ('ETag: "v1"', "Accept-Ranges: bytes", f"Content-Length: {len(BODY)}")


def head(*headers: str, status: int = 200) -> str:
    return "\n".join((f"HTTP/1.1 {status} X", "Connection: close", *headers))


def get(server: RawServer, use: Callable[[Response], str] | None = None, max_bytes: int = 2**20) -> bytes:
    settings = ConnectionSettings(base_url=server.url, token=TOKEN, timeout=5, low_speed_time=5)
    file = io.BytesIO()
    save = use or (lambda response: response.save(max_bytes=max_bytes))
    sha256 = UseapiClient(settings).get(Request("GET", "/file"), save, into=file)
    assert sha256 == hashlib.sha256(file.getvalue()).hexdigest()
    return file.getvalue()


def header(request: bytes, name: str) -> str | None:
    found = re.search(rf"(?im)^{name}: (.*)\r$", request.decode("latin-1"))
    return found and found[1]


def chunked(body: bytes) -> bytes:
    return f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"


def cut(*headers: str, body: bytes = BODY) -> Script:
    return response(head(*headers), body[:10_000])


def rest(*headers: str, body: bytes = BODY[10_000:]) -> Script:
    return response(head(*headers, status=206), body)


PART = ('ETag: "v1"', "Content-Range: bytes 10000-25599/25600", "Content-Length: 15600")


def test_the_request_for_the_rest_names_its_start_and_the_version() -> None:
    with serve(cut(*GOOD), rest(*PART)) as server:
        assert get(server) == BODY
    assert [header(request, "Range") for request in server.requests] == [None, "bytes=10000-"]
    assert [header(request, "If-Range") for request in server.requests] == [None, '"v1"']


@pytest.mark.parametrize(
    "headers",
    [
        ('ETag: W/"v1"', *GOOD[1:]),
        ("ETag: v1", *GOOD[1:]),
        ('ETag: "v1', *GOOD[1:]),
        ('ETag: ""', *GOOD[1:]),
        (f'ETag: "{TOKEN}"', *GOOD[1:]),
        ('ETag: "user%3Acanary-token"', *GOOD[1:]),
        (f'ETag: "{"x" * 1000}"', *GOOD[1:]),
        ("Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT", *GOOD[1:]),
        GOOD[1:],
        (GOOD[0], GOOD[2]),
        (GOOD[0], "Accept-Ranges: none", GOOD[2]),
    ],
    ids=lambda headers: " ".join(headers)[:40],
)
def test_a_version_that_cannot_be_told_from_another_is_not_gone_on_with(headers: tuple[str, ...]) -> None:
    with serve(cut(*headers), ok(BODY)) as server:
        assert get(server) == BODY
    assert [header(request, "Range") for request in server.requests] == [None, None]


@pytest.mark.parametrize(
    "headers",
    [
        (PART[0], "Content-Range: bytes 10000-25599/*", PART[2]),
        (PART[0], "Content-Range: bytes */25600", PART[2]),
        (PART[0], "Content-Range: bytes 10000-25598/25600", PART[2]),
        (PART[0], "Content-Range: bytes 10001-25599/25600", PART[2]),
        (PART[0], "Content-Range: bytes 10000-25599/25601", PART[2]),
        (PART[0], "Content-Range: bytes=10000-25599/25600", PART[2]),
        (PART[0], "Content-Range: items 10000-25599/25600", PART[2]),
        (PART[0], "Content-Range: bytes 1\u00b20000-25599/25600", PART[2]),
        PART[1:],
        ('ETag: W/"v1"', *PART[1:]),
        (*PART, "Content-Encoding: gzip"),
        (*PART, "Content-Type: Multipart/byteranges; boundary=x"),
    ],
    ids=lambda headers: " ".join(headers)[:60],
)
def test_a_part_that_does_not_fit_makes_the_download_start_over(headers: tuple[str, ...]) -> None:
    with serve(cut(*GOOD), rest(*headers, body=OTHER[10_000:]), ok(BODY)) as server:
        assert get(server) == BODY
    assert [header(request, "Range") for request in server.requests] == [None, "bytes=10000-", None]


@pytest.mark.parametrize("body", [BODY[10_000:] + b"x", BODY[10_001:]], ids=["more", "less"])
def test_a_part_of_another_length_than_it_says_makes_the_download_start_over(body: bytes) -> None:
    part = rest(*PART[:2], "Transfer-Encoding: chunked", body=chunked(body))
    with serve(cut(*GOOD), part, ok(BODY)) as server:
        assert get(server) == BODY
    assert len(server.requests) == 3


@pytest.mark.parametrize(("second", "stored"), [(rest(*PART), BODY), (ok(OTHER), OTHER)], ids=["same", "other"])
def test_a_redirect_is_asked_for_anew_and_the_etag_decides(second: Script, stored: bytes) -> None:
    def moved(location: str) -> Script:
        return response(head(f"Location: {location}", "Content-Length: 0", status=302))

    with (
        serve(cut(*GOOD), second) as signed,
        serve(moved(f"{signed.url}/?signature=1"), moved(f"{signed.url}/?signature=2")) as server,
    ):
        assert get(server) == stored
    assert [request.split()[1] for request in signed.requests] == [b"/?signature=1", b"/?signature=2"]
    assert [header(request, "If-Range") for request in signed.requests] == [None, '"v1"']
    assert not [request for request in signed.requests if TOKEN.encode() in request]


def test_a_new_version_that_breaks_is_gone_on_with_in_its_turn() -> None:
    new = ('ETag: "v2"', *GOOD[1:])
    with serve(cut(*GOOD), cut(*new, body=OTHER), rest('ETag: "v2"', *PART[1:], body=OTHER[10_000:])) as server:
        assert get(server) == OTHER
    assert [header(request, "If-Range") for request in server.requests] == [None, '"v1"', '"v2"']


def test_a_whole_body_that_is_found_wanting_is_fetched_whole() -> None:
    def use(response: Response) -> str:
        sha256 = response.save(max_bytes=2**20)
        if len(raw.requests) == 1:
            raise RiffusionDownloadError("the audio says that it is longer", transient=True)
        return sha256

    with serve(response(head(*GOOD), OTHER), ok(BODY)) as raw:
        assert get(raw, use) == BODY
    assert header(raw.requests[1], "Range") is None


def test_a_response_that_goes_on_looks_like_a_whole_one() -> None:
    heads: list[tuple[bytes, ...]] = []

    def use(response: Response) -> str:
        heads.append((response.head(300), response.head(9_000), response.head(12_000 if heads else 10)))
        return response.save(max_bytes=2**20)

    with serve(cut(*GOOD), rest(*PART)) as server:
        assert get(server, use) == BODY
    assert [tuple(map(len, each)) for each in heads] == [(300, 9_000, 10), (300, 9_000, 12_000)]
    assert all(BODY.startswith(part) for each in heads for part in each)


def test_a_content_length_beside_chunks_counts_for_nothing() -> None:
    both = head(*GOOD[:2], "Content-Length: 7", "Transfer-Encoding: chunked")
    with serve(response(both, chunked(BODY))) as server:
        assert get(server) == BODY
    assert len(server.requests) == 1


def test_the_limit_holds_for_all_parts_together() -> None:
    endless = rest(*PART[:2], "Transfer-Encoding: chunked", body=chunked(BODY))
    with serve(cut(*GOOD), endless) as server, pytest.raises(RiffusionTooLargeError):
        get(server, max_bytes=len(BODY))
    assert len(server.requests) == 2
