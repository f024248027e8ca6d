"""The server: tokens, connections, and bodies that it does not take."""

from __future__ import annotations

import http.client
import socket

import pytest
import requests

from airflow_provider_riffusion.emulator import Emulator
from tests.emulator.support import call, refused


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic dXNlcjoxMjM0LWFiY2RlZg==", "user:1234-abcdef"])
def test_without_the_right_token(emulator: Emulator, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = requests.get(f"{emulator.url}/v1/riffusion/accounts", headers=headers, timeout=5)
    assert response.status_code == 401
    assert response.json() == {"error": "Unauthorized", "code": 401}
    assert emulator.requests[0].token_sent is (header is not None)


def test_keep_alive(emulator: Emulator) -> None:
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


def test_bodies_that_it_does_not_take(emulator: Emulator) -> None:
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


def test_a_body_that_is_no_json(emulator: Emulator) -> None:
    assert refused(call(emulator, "POST", "music/create-prompt", data=b"{"), 400)


def test_head_has_no_body(emulator: Emulator) -> None:
    response = requests.head(f"{emulator.url}/v1/riffusion/music", timeout=5)
    assert (response.status_code, response.content) == (401, b"")
