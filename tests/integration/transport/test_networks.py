"""Proxies, gateways, client certificates, and the addresses that names lead to."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from requests.exceptions import InvalidSchema

from airflow_provider_riffusion.exceptions import (
    RiffusionConfigurationError,
    RiffusionConnectionError,
    RiffusionDownloadError,
    RiffusionError,
    RiffusionServerError,
)
from airflow_provider_riffusion.hooks.connection import ConnectionSettings
from airflow_provider_riffusion.transport.client import Client
from airflow_provider_riffusion.transport.request import Request
from airflow_provider_riffusion.transport.response import Response
from tests.support.proxies import proxy
from tests.support.raw_server import ok, response, serve

TOKEN = "user:canary-token"
KEY = "canary-gateway-key"
HEADERS = {"X-Gateway-Key": KEY}
GET = Request("GET", "/songs")

pytestmark = pytest.mark.usefixtures("no_backoff")


def client(url: str, **settings: Any) -> Client:
    return Client(
        ConnectionSettings(base_url=url, token=TOKEN, **{"timeout": 20.0, "low_speed_time": 10.0, **settings})
    )


def read(response: Response) -> bytes:
    return response.read(max_bytes=1000)


def moved(location: str) -> Callable[[socket.socket], None]:
    return response(f"HTTP/1.1 302 X\nLocation: {location}\nContent-Length: 0\nConnection: close")


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, str]]:
    """Names, and the addresses that they resolve to when they are looked up, and when they are connected to."""
    names: dict[str, tuple[str, str]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: Any, *arguments: Any, **options: Any) -> list[Any]:
        address = names[host][port is not None] if host in names else host
        return real(address, port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return names


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """A certificate of this machine, which is its own authority, and its key."""
    paths = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -keyout {paths[1]} "
        f"-out {paths[0]} -addext subjectAltName=IP:127.0.0.1".split(),
        check=True,
        capture_output=True,
    )
    return paths


@pytest.fixture
def tls(certificate: tuple[str, str]) -> ssl.SSLContext:
    """A server's TLS that asks for a client certificate, and takes none or that of the fixture."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.load_verify_locations(certificate[0])
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


# --- proxies


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_proxy_of_the_connection_carries_the_requests(scheme: str, method: str) -> None:
    with serve(ok(b"[]")) as server, proxy(scheme, to=server.port) as way:
        through = client("http://api.example", proxies={"http": way.url("someone:hunter2-hunter2")})
        request = Request(method, "/songs")
        assert (through.get(request, read) if method == "GET" else through.send(request, read)) == b"[]"
    assert way.targets == ["api.example:80"]
    assert way.users == ["someone:hunter2-hunter2"]
    assert f"Bearer {TOKEN}".encode() in server.requests[0]


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_a_proxy_of_the_environment_carries_the_requests(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    with serve(ok(b"[]")) as server, proxy(scheme) as way:
        monkeypatch.setenv("ALL_PROXY" if scheme == "socks5h" else "HTTP_PROXY", way.url())
        assert client(server.url).get(GET, read) == b"[]"
    assert way.targets == [f"127.0.0.1:{server.port}"]


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_tls_goes_through_a_proxy(scheme: str, certificate: tuple[str, str], tls: ssl.SSLContext) -> None:
    with serve(ok(b"[]"), tls=tls) as server, proxy(scheme) as way:
        url = f"https://127.0.0.1:{server.port}"
        through = client(url, verify=certificate[0], proxies={"https": way.url()})
        assert through.get(GET, read) == b"[]"
    assert way.targets == [f"127.0.0.1:{server.port}"]


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_a_server_that_hangs_is_given_up_behind_a_proxy(scheme: str) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for _ in range(600):
            connection.sendall(b"X: y\r\n")
            time.sleep(0.05)

    with serve(drip) as server, proxy(scheme, to=server.port) as way:
        settings = {"timeout": 0.5, "low_speed_time": 0.2, "proxies": {"http": way.url()}}
        with pytest.raises(RiffusionConnectionError, match=r"nothing of use arrived for 0\.7 s"):
            client("http://api.example", **settings).get(GET, read, attempts=1)


def test_a_socks_proxy_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise InvalidSchema("Missing dependencies for SOCKS support.")

    monkeypatch.setattr("requests.adapters.SOCKSProxyManager", missing)
    through = client("http://api.example", proxies={"http": "socks5://127.0.0.1:1"})
    with pytest.raises(RiffusionConfigurationError, match=r"'airflow-provider-riffusion\[socks\]'"):
        through.get(GET, read)


def test_the_password_of_a_proxy_is_in_no_error() -> None:
    def echo(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 407 hunter2-hunter2\r\nContent-Length: 0\r\n\r\n")

    with serve(echo) as server:
        for scheme in ("http", "socks5"):
            way = f"{scheme}://someone:hunter2-hunter2@127.0.0.1:{server.port}"
            through = client("https://api.example", proxies={"https": way}, timeout=0.5)
            with pytest.raises(RiffusionConnectionError) as caught:
                through.get(GET, read, attempts=1)
            assert "hunter2" not in str(caught.value) + repr(through.settings)
            assert not caught.value.may_have_arrived


# --- gateways


def test_headers_and_certificate_reach_the_own_origin_only(certificate: tuple[str, str], tls: ssl.SSLContext) -> None:
    with serve(ok(b"song"), tls=tls) as other, serve(ok(b"song"), tls=tls) as own:
        seen: list[tuple[str, bool]] = []

        def judged(name: str, then: Callable[[Any], None]) -> Callable[[Any], None]:
            def answer(connection: Any) -> None:
                seen.append((name, connection.getpeercert() is not None))
                then(connection)

            return answer

        url, foreign = f"https://127.0.0.1:{own.port}", f"https://127.0.0.1:{other.port}/file"
        other.scripts = [judged("other", ok(b"song"))]
        own.scripts = [judged("own", moved("/next")), judged("own", moved(foreign)), judged("own", ok(b"song"))]
        gateway = client(url, verify=certificate[0], cert=certificate, headers=HEADERS)
        assert gateway.get(GET, read) == b"song"
        assert gateway.get(replace(GET, location=f"{url}/file"), read) == b"song"
        assert gateway.get(replace(GET, location=foreign), read) == b"song"
        assert gateway.send(Request("POST", "/songs"), read) == b"song"
    assert seen == [("own", True), ("own", True), ("other", False), ("own", True), ("other", False), ("own", True)]
    assert [KEY.encode() in request for request in own.requests] == [True] * 4
    # What a response has put into the place of a body gets no token, wherever it leads.
    assert [TOKEN.encode() in request for request in own.requests] == [True, True, False, True]
    assert not any(KEY.encode() in request or TOKEN.encode() in request for request in other.requests)


def test_a_header_replaces_ours_and_leaves_the_token() -> None:
    with serve(ok(b"[]")) as server:
        client(server.url, headers={"User-Agent": "gateway-client", "X-Tenant": "songs"}).get(GET, read)
    head = server.requests[0]
    assert b"User-Agent: gateway-client\r\n" in head
    assert b"X-Tenant: songs\r\n" in head
    assert head.count(b"uthorization") == 1


def test_a_header_that_a_server_echoes_is_in_no_error_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    def fail(response: Response) -> None:
        raise RiffusionServerError(f"{response.error_body()!r} {KEY}")

    scripts = (response(f"FOO {KEY}"), moved(f"ftp://host/{KEY}"), moved(f"/{KEY}"), ok(KEY.encode()))
    with caplog.at_level("DEBUG"):
        for script in scripts:
            with serve(script) as server, pytest.raises(RiffusionError) as caught:
                client(server.url, headers=HEADERS).get(GET, fail, attempts=2)
            assert KEY not in str(caught.value) + repr(vars(caught.value)) + caplog.text
    assert KEY not in repr(client(server.url, headers=HEADERS).settings)


def test_an_error_names_the_classes_of_urllib3_and_none_of_ours() -> None:
    with serve(ok(b"")) as server:
        pass
    with pytest.raises(RiffusionConnectionError, match="HTTPConnection") as caught:
        client(server.url).get(GET, read, attempts=1)
    assert "Watched" not in str(caught.value)


# --- the address that was connected to


def test_a_name_that_changes_after_a_look_reaches_nothing_on_this_machine(
    resolver: dict[str, tuple[str, str]],
) -> None:
    resolver.update({"api.example": ("203.0.113.1",) * 2, "files.example": ("203.0.113.2", "127.0.0.1")})
    with serve(ok(b"secret")) as server:
        location = f"http://files.example:{server.port}/song.mp3"
        with pytest.raises(RiffusionDownloadError, match=r"Refused .* it is an address of this machine"):
            client("http://api.example").get(replace(GET, location=location), read)
    assert server.requests == []


def test_the_own_api_may_be_on_this_machine_under_any_name(resolver: dict[str, tuple[str, str]]) -> None:
    resolver.update(dict.fromkeys(("api.example", "files.example"), ("127.0.0.1", "127.0.0.1")))
    with serve(ok(b"song")) as server:
        server.scripts.insert(0, moved(f"http://files.example:{server.port}/song.mp3"))
        assert client(f"http://api.example:{server.port}").get(GET, read) == b"song"


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_behind_a_proxy_addresses_in_urls_are_judged_and_names_are_not(scheme: str) -> None:
    with serve(ok(b"song")) as server, proxy(scheme, to=server.port) as way:
        through = client("http://api.example", proxies={"http": way.url()})
        assert through.get(replace(GET, location="http://files.example/song.mp3"), read) == b"song"
        for host in ("127.0.0.1", "169.254.169.254", "[fd00:ec2::254]", "168.63.129.16"):
            with pytest.raises(RiffusionDownloadError, match="Refused"):
                through.get(replace(GET, location=f"http://{host}/song.mp3"), read)
    assert way.targets == ["files.example:80"]
