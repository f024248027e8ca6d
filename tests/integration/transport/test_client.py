"""The HTTP exchange against a server that misbehaves byte by byte."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import itertools
import socket
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_riffusion.exceptions import (
    RiffusionApiError,
    RiffusionConnectionError,
    RiffusionDownloadError,
    RiffusionError,
    RiffusionRateLimitError,
    RiffusionServerError,
    RiffusionTooLargeError,
)
from airflow_provider_riffusion.hooks.connection import ConnectionSettings
from airflow_provider_riffusion.transport import response as response_module
from airflow_provider_riffusion.transport import retry as retries
from airflow_provider_riffusion.transport.client import Client
from airflow_provider_riffusion.transport.request import Request
from airflow_provider_riffusion.transport.response import Response
from tests.support.raw_server import RawServer, ok, reset, response, serve

TOKEN = "user:canary-token"
BODY = bytes(range(256)) * 1000
ROOT = Request("GET", "/")

pytestmark = pytest.mark.usefixtures("no_backoff")


def client(url: str, **settings: Any) -> Client:
    return Client(ConnectionSettings(base_url=url, token=TOKEN, **{"timeout": 1.0, "low_speed_time": 0.5, **settings}))


def get(server: RawServer, *, max_bytes: int = 2**30, **settings: object) -> bytes:
    file = io.BytesIO()

    def save(response: Response) -> str:
        return response.save(max_bytes=max_bytes)

    sha256 = client(server.url, **settings).get(Request("GET", "/file"), save, into=file)
    assert sha256 == hashlib.sha256(file.getvalue()).hexdigest()
    return file.getvalue()


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks) + end


def coded(coding: str, body: bytes) -> Callable[[socket.socket], None]:
    return response(f"HTTP/1.1 200 OK\nContent-Encoding: {coding}\nContent-Length: {len(body)}", body)


CHUNKED = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked"
WHOLE = {
    "length": ok(BODY),
    "chunked": response(CHUNKED, chunked(BODY[:7], BODY[7:])),
    "close": response("HTTP/1.1 200 OK\nConnection: close", BODY),
    "http/1.0": response("HTTP/1.0 200 OK", BODY),
    "gzip": coded("gzip", gzip.compress(BODY)),
    "x-gzip": coded("X-Gzip", gzip.compress(BODY)),
    "gzip of two members": coded("gzip", gzip.compress(BODY[:500]) + gzip.compress(BODY[500:])),
    "deflate": coded("deflate", zlib.compress(BODY)),
    "identity": coded("identity", BODY),
}
BROKEN = {
    "length": response(f"HTTP/1.1 200 OK\nContent-Length: {len(BODY)}", BODY[:-1]),
    "length, nothing": response(f"HTTP/1.1 200 OK\nContent-Length: {len(BODY)}"),
    "chunked, no end": response(CHUNKED, chunked(BODY, end=b"")),
    "chunked, cut": response(CHUNKED, chunked(BODY)[:1000]),
    "chunked, garbage": response(CHUNKED, b"zz\r\nhello\r\n0\r\n\r\n"),
    "gzip, cut": coded("gzip", gzip.compress(BODY)[:-20]),
    "gzip, no trailer": coded("gzip", gzip.compress(BODY)[:-8]),
    "gzip, garbage": coded("gzip", BODY),
    "gzip, wrong sum": coded("gzip", gzip.compress(BODY)[:-8] + b"\0" * 8),
    "gzip, second member cut": coded("gzip", gzip.compress(BODY) + gzip.compress(BODY)[:30]),
    "gzip, cut in chunks": response(f"{CHUNKED}\nContent-Encoding: gzip", chunked(gzip.compress(BODY)[:-20])),
}


@pytest.mark.parametrize("script", WHOLE.values(), ids=WHOLE)
def test_a_whole_body_arrives_byte_for_byte(script: Callable[[socket.socket], None]) -> None:
    with serve(script) as server:
        assert get(server) == BODY
    assert len(server.requests) == 1


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_a_broken_body_is_mended_by_a_retry(script: Callable[[socket.socket], None]) -> None:
    with serve(script, ok(BODY)) as server:
        assert get(server) == BODY
    assert len(server.requests) == 2


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_a_body_that_is_always_broken_is_an_error_after_five_attempts(
    script: Callable[[socket.socket], None],
) -> None:
    with serve(script) as server, pytest.raises(RiffusionDownloadError):
        get(server)
    assert len(server.requests) == retries.ATTEMPTS


def test_a_reset_is_mended_before_the_head_and_in_the_body() -> None:
    def reset_in_body(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 256000\r\n\r\n" + BODY[:1000])
        time.sleep(0.1)
        reset(connection)

    with serve(reset, reset_in_body, ok(BODY)) as server:
        assert get(server) == BODY
    assert len(server.requests) == 3


def test_a_stall_ends_by_the_timeout() -> None:
    def stall(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 256000\r\n\r\n" + BODY[:1000])
        time.sleep(3)

    with serve(stall, ok(BODY)) as server:
        assert get(server, timeout=0.3) == BODY


def test_a_stall_before_the_head_ends_by_the_timeout() -> None:
    with serve(lambda connection: time.sleep(3), ok(BODY)) as server:
        assert get(server, timeout=0.3) == BODY


@pytest.mark.parametrize("piece", [b"x", b"1\r\nx\r\n"], ids=["close", "chunked"])
def test_a_drip_ends_by_the_minimum_speed(piece: bytes) -> None:
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(
            (CHUNKED if len(piece) > 1 else "HTTP/1.1 200 OK").replace("\n", "\r\n").encode() + b"\r\n\r\n"
        )
        while not stop.wait(0.1):
            connection.sendall(piece)

    with serve(drip, ok(BODY)) as server:
        assert get(server) == BODY
        stop.set()
    assert len(server.requests) == 2


def endless(*pieces: bytes) -> Callable[[socket.socket], None]:
    """Send the first piece, and then the second for ever."""

    def drip(connection: socket.socket) -> None:
        connection.sendall(pieces[0])
        while True:
            time.sleep(0.1)
            connection.sendall(pieces[1])

    return drip


@pytest.mark.parametrize(
    "script",
    [
        endless(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5", b";x"),
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X: x\r\n"),
    ],
    ids=["head", "interim responses", "chunk extension", "trailer"],
)
def test_a_drip_outside_of_the_body_ends_by_the_watchdog(script: Callable[[socket.socket], None]) -> None:
    start = time.monotonic()
    with serve(script, ok(BODY)) as server:
        assert get(server, timeout=0.5, low_speed_time=0.5) == BODY
    assert len(server.requests) == 2
    assert time.monotonic() - start < 30


def test_a_stall_in_a_body_without_a_length_is_not_its_end() -> None:
    with serve(endless(b"HTTP/1.1 200 OK\r\n\r\n" + BODY[:100], b""), ok(BODY)) as server:
        assert get(server, timeout=0.5) == BODY


def test_abort_breaks_off_from_another_thread() -> None:
    with serve(endless(b"HTTP/1.1 200 OK\r\n\r\n", b"")) as server:
        found = client(server.url, timeout=60)
        threading.Timer(0.3, found.abort).start()
        start = time.monotonic()
        with pytest.raises(RiffusionError, match="aborted"):
            found.get(ROOT, lambda response: response.read(max_bytes=100))
        assert time.monotonic() - start < 30
    assert len(server.requests) == 1


def test_gzip_in_tiny_packets() -> None:
    def tiny(connection: socket.socket) -> None:
        body = gzip.compress(b"RIFF")
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        for byte in body:
            connection.sendall(bytes([byte]))
            time.sleep(0.005)

    with serve(tiny) as server:
        assert client(server.url).get(ROOT, lambda response: response.head(4)) == b"RIFF"


def test_a_slow_body_above_the_minimum_speed_is_let_through() -> None:
    def slow(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 25600\r\n\r\n")
        for start in range(0, 25600, 2560):
            connection.sendall(BODY[start : start + 2560])
            time.sleep(0.12)

    with serve(slow) as server:
        assert get(server, low_speed_limit=1024) == BODY[:25600]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "script",
    [ok(BODY), response("HTTP/1.1 200 OK", BODY), coded("gzip", gzip.compress(bytes(10**7)))],
    ids=["length", "close", "gzip bomb"],
)
def test_a_body_larger_than_allowed_is_not_repeated(script: Callable[[socket.socket], None]) -> None:
    with serve(script) as server, pytest.raises(RiffusionTooLargeError, match="100000"):
        get(server, max_bytes=100_000)
    assert len(server.requests) == 1


def test_the_limit_that_struck_is_named() -> None:
    def too_large(save: Callable[[Response], object]) -> str:
        with serve(ok(BODY)) as server, pytest.raises(RiffusionTooLargeError) as caught:
            client(server.url).get(ROOT, save)
        return str(caught.value)

    assert too_large(lambda response: response.read(max_bytes=9)).endswith("larger than the 9 bytes that JSON may have")
    assert too_large(lambda response: response.save(max_bytes=9)).endswith("the 9 bytes of max_bytes")


def test_an_endless_body_ends_at_the_limit() -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in itertools.repeat(None, 10_000):
            connection.sendall(BODY)

    with serve(endless) as server, pytest.raises(RiffusionTooLargeError):
        get(server, max_bytes=10**6)


def test_an_encoding_that_nobody_asked_for_is_an_error() -> None:
    with serve(coded("br", BODY)) as server, pytest.raises(RiffusionDownloadError, match="'br'"):
        get(server)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "script",
    [
        lambda connection: None,
        response("garbage"),
        response("HTTP/1.1 99999 What"),
        response("HTTP/1.1 200 OK\n" + "\n".join(f"X-{n}: x" for n in range(300))),
    ],
    ids=["closed", "no HTTP", "no status", "too many headers"],
)
def test_no_answer_is_a_connection_error(script: Callable[[socket.socket], None]) -> None:
    with serve(script) as server, pytest.raises(RiffusionConnectionError) as caught:
        get(server)
    assert len(server.requests) == retries.ATTEMPTS
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_refused_connection_is_a_connection_error() -> None:
    with serve(ok(b"")) as server:
        pass
    with pytest.raises(RiffusionConnectionError, match="Connection refused"):
        get(server)


def status(code: int, *headers: str) -> Callable[[socket.socket], None]:
    return response("\n".join([f"HTTP/1.1 {code} X", "Content-Length: 0", "Connection: close", *headers]))


def raise_for(response: Response) -> str:
    """Use a response as the hook does: what is not 200 is an error, some of which are worth another try."""
    if response.status == 200:
        return "ok"
    raise RiffusionServerError(
        "x", http_status=response.status, retry_after=response.retry_after, transient=response.status in (429, 503)
    )


def test_a_transient_error_is_repeated_and_another_is_not() -> None:
    with serve(status(503), status(503), ok(b"")) as server:
        assert client(server.url).get(ROOT, raise_for) == "ok"
    assert len(server.requests) == 3
    with serve(status(596)) as server, pytest.raises(RiffusionServerError):
        client(server.url).get(ROOT, raise_for)
    assert len(server.requests) == 1


def test_retry_after_is_waited_for() -> None:
    with serve(status(429, "Retry-After: 1"), ok(b"")) as server:
        start = time.monotonic()
        assert client(server.url).get(ROOT, raise_for) == "ok"
    assert time.monotonic() - start >= 1


def test_a_retry_after_that_is_too_long_is_an_error_at_once() -> None:
    in_20_years = format_datetime(datetime.now(UTC) + timedelta(days=365 * 20))
    with serve(status(429, f"Retry-After: {in_20_years}"), ok(b"")) as server:
        start = time.monotonic()
        with pytest.raises(RiffusionRateLimitError, match="longer than the 120 s") as caught:
            client(server.url).get(ROOT, raise_for)
    assert time.monotonic() - start < 30
    assert caught.value.http_status == 429
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 120
    assert len(server.requests) == 1


def test_all_waiting_together_has_an_end(pauses: list[float]) -> None:
    with serve(status(503, "Retry-After: 110")) as server, pytest.raises(RiffusionApiError):
        client(server.url).get(ROOT, raise_for)
    assert len(pauses) == 2
    assert sum(pauses) <= retries.MAX_WAITING_SECONDS


# --- exchanges that nobody wants any more, and one within another


@pytest.fixture
def while_connecting(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What happens while the next request looks for its server, each once."""
    actions: list[Callable[[], object]] = []
    real = socket.getaddrinfo

    def getaddrinfo(*arguments: Any, **options: Any) -> Any:
        if actions:
            actions.pop()()
        return real(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return actions


@pytest.mark.parametrize("moment", ["before", "while connecting"])
def test_an_aborted_client_sends_nothing_more(moment: str, while_connecting: list[Callable[[], object]]) -> None:
    with serve(ok(b"")) as server:
        aborted = client(server.url)
        if moment == "before":
            aborted.abort()
        else:
            while_connecting.append(aborted.abort)
        with pytest.raises(RiffusionConnectionError, match="the exchange was aborted"):
            aborted.get(ROOT, raise_for)
    assert server.requests == []


def test_a_request_of_a_signal_handler_leaves_the_watchdog_of_the_one_it_interrupts(
    while_connecting: list[Callable[[], object]],
) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for _ in range(600):
            connection.sendall(b"X: y\r\n")
            time.sleep(0.05)

    def choose(request: bytes) -> Callable[[socket.socket], None]:
        return ok(b"") if request.startswith(b"DELETE") else drip

    with serve(choose=choose) as server:
        interrupted = client(server.url, timeout=0.3, low_speed_time=0.2)
        while_connecting.append(lambda: interrupted.send(Request("DELETE", "/job"), raise_for))
        with pytest.raises(RiffusionConnectionError, match=r"nothing of use arrived for 0\.5 s"):
            interrupted.get(ROOT, raise_for, attempts=1)


# --- redirects and URLs that came from a response


def moved(location: str, code: int = 302) -> Callable[[socket.socket], None]:
    return status(code, f"Location: {location}")


def has_token(request: bytes) -> bool:
    return TOKEN.encode() in request


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_on_the_own_origin_keeps_the_token(code: int) -> None:
    with serve(moved("/other?x=1", code), ok(BODY)) as server:
        assert get(server) == BODY
    assert [has_token(request) for request in server.requests] == [True, True]
    assert server.requests[1].startswith(b"GET /other?x=1 ")


def test_a_redirect_to_another_origin_carries_no_token() -> None:
    with serve(ok(BODY)) as other, serve(moved(f"{other.url}/file?sig=1")) as server:
        assert get(server) == BODY
    assert has_token(server.requests[0])
    assert not has_token(other.requests[0])
    assert b"uthorization" not in other.requests[0]


def test_a_redirect_back_from_another_origin() -> None:
    with serve(ok(BODY)) as own:
        with serve(moved(f"{own.url}/back")) as other:
            own.scripts.insert(0, moved(other.url))
            assert get(own) == BODY
        assert [has_token(request) for request in own.requests + other.requests] == [True, True, False]


def test_five_redirects_are_followed_and_six_are_not() -> None:
    with serve(*[moved("/next")] * 5, ok(BODY)) as server:
        assert get(server) == BODY
    with serve(moved("/loop")) as server, pytest.raises(RiffusionDownloadError, match="more than 5 redirects"):
        get(server)
    assert len(server.requests) == 6


def test_the_body_of_a_redirect_is_not_read() -> None:
    def endless_redirect(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 302 X\r\nLocation: /next\r\nConnection: close\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(1000):
                connection.sendall(BODY)
                sent.append(len(BODY))

    sent: list[int] = []
    with serve(endless_redirect, ok(BODY)) as server:
        assert get(server) == BODY
    assert sum(sent) < 20e6


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher://127.0.0.1/x",
        "http://169.254.169.254/latest/meta-data",
        "http://2852039166/latest",
        "http://0xa9fea9fe/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fe80::1]/",
        "http://[broken",
        "http://127.0.0.1:port/",
        "//169.254.169.254/x",
        "http://127.0.0.1:9\\@127.0.0.1:1/x",
        "http://127.0.0.1 .example/x",
    ],
)
def test_targets_that_are_refused(target: str) -> None:
    with serve(moved(target)) as server, pytest.raises(RiffusionDownloadError, match="Refused"):
        get(server)
    assert len(server.requests) == 1
    with serve(ok(BODY)) as server, pytest.raises(RiffusionDownloadError, match="Refused"):
        client(server.url).get(replace(ROOT, location=target), raise_for)
    assert len(server.requests) == 0


# --- secrets


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login foreign password foreign\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))


@pytest.mark.usefixtures("netrc")
def test_netrc_is_not_asked() -> None:
    with serve(ok(BODY)) as other, serve(moved(other.url)) as server:
        get(server)
    assert f"Authorization: Bearer {TOKEN}".encode() in server.requests[0]
    assert b"uthorization" not in other.requests[0]


def test_a_url_that_parsers_read_differently_gets_no_token() -> None:
    with serve(ok(BODY)) as foreign, serve(ok(BODY)) as server:
        server.scripts.insert(0, moved(f"http://127.0.0.1:{foreign.port}\\@127.0.0.1:{server.port}/x"))
        with pytest.raises(RiffusionDownloadError, match="backslash"):
            get(server)
    assert foreign.requests == []


@pytest.mark.parametrize("echo", [TOKEN, "user%3Acanary-token"])
def test_no_error_holds_the_token_that_a_server_echoes(echo: str) -> None:
    def fail(response: Response) -> None:
        raise RiffusionServerError(f"x {echo}", api_message=f"y {echo}")

    for script in (response(f"FOO {echo}"), moved(f"ftp://host/{echo}"), ok(b"")):
        with serve(script) as server, pytest.raises(RiffusionError) as caught:
            client(server.url).get(ROOT, fail)
        assert echo not in str(caught.value) + repr(vars(caught.value))


@pytest.mark.parametrize("length", range(180, 310, 8))
def test_no_error_holds_a_part_of_the_token_that_is_cut_off(length: int) -> None:
    filler = "x" * length
    for script in (response(f"FOO {filler}{TOKEN}{filler}"), moved(f"ftp://host/{filler}{TOKEN}{filler}")):
        with serve(script) as server, pytest.raises(RiffusionError) as caught:
            client(server.url).get(ROOT, lambda response: None)
        assert TOKEN[:8] not in str(caught.value)
        assert len(str(caught.value)) < 2000


def test_a_server_that_echoes_the_token_gets_it_into_no_text() -> None:
    def echo(response: Response) -> None:
        raise RiffusionError(f"{response.error_body()!r} {response.read(max_bytes=1000)!r}")

    with serve(ok(f"you sent {TOKEN}".encode())) as server, pytest.raises(RiffusionError) as caught:
        client(server.url).get(ROOT, echo)
    assert "you sent ***" in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("quoted", [TOKEN, "user%3Acanary-token", "user%3acanary%2Dtoken"])
def test_a_redirect_that_quotes_the_token_is_refused(quoted: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"), serve(ok(BODY)) as other:
        for location in (f"/file?token={quoted}", f"{other.url}/{quoted}"):
            with serve(moved(location)) as server, pytest.raises(RiffusionDownloadError, match="Refused") as caught:
                get(server)
            assert len(server.requests) == 1
            assert quoted not in str(caught.value) + caplog.text
    assert other.requests == []


def test_an_encoding_that_quotes_the_token_is_not_shown() -> None:
    token = "user:CANARY-token"
    with serve(coded(token, BODY)) as server:
        settings = ConnectionSettings(base_url=server.url, token=token, timeout=1.0)
        with pytest.raises(RiffusionDownloadError) as caught:
            Client(settings).get(ROOT, lambda response: response.read(max_bytes=1000))
    assert token.lower() not in str(caught.value).lower()


def test_a_signature_in_a_url_is_not_shown() -> None:
    with (
        serve(lambda connection: None) as other,
        serve(moved(f"{other.url}/f?sig=hunter2")) as server,
        pytest.raises(RiffusionConnectionError) as caught,
    ):
        get(server)
    assert "hunter2" not in str(caught.value)
    assert "/f" in str(caught.value)


def test_verify_false_wins_over_the_environments_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle")
    seen: list[object] = []

    def send(self: object, request: object, **options: object) -> None:
        seen.append(options["verify"])
        raise requests.ConnectionError

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", send)
    with pytest.raises(RiffusionConnectionError):
        client("https://127.0.0.1:1", verify=False).get(ROOT, raise_for, attempts=1)
    assert seen == [False]


def test_an_unknown_certificate_names_the_remedy_and_is_not_repeated(tmp_path: Path) -> None:
    import ssl
    import subprocess

    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -keyout {tmp_path}/key.pem "
        f"-out {tmp_path}/cert.pem -addext subjectAltName=IP:127.0.0.1".split(),
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    handshakes = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                handshakes.append(1)
                try:
                    with context.wrap_socket(connection, server_side=True) as secure:
                        secure.recv(65536)
                        secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                except OSError:
                    pass

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(RiffusionConnectionError, match="CA bundle in the connection's extra verify"):
            client(url).get(ROOT, raise_for)
        assert len(handshakes) == 1
        assert client(url, verify=str(tmp_path / "cert.pem")).get(ROOT, raise_for) == "ok"
        thread.join()


def test_progress_is_logged_now_and_then(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_module, "PROGRESS_INTERVAL_SECONDS", 0.2)

    def slow(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 256000\r\n\r\n")
        for start in range(0, len(BODY), 25600):
            connection.sendall(BODY[start : start + 25600])
            time.sleep(0.1)

    with caplog.at_level("INFO"), serve(slow) as server:
        get(server)
    records = [record for record in caplog.records if "Downloading" in record.getMessage()]
    assert len(records) >= 2
    # A clock of its own stamps the records, so that a little is allowed for.
    assert all(later.created - earlier.created > 0.15 for earlier, later in itertools.pairwise(records))
    lines = [record.getMessage() for record in records]
    assert "% of 0.3 MB" in lines[0]
    assert "MB/s" in lines[0]
