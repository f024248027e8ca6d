"""A server before the emulator that lets a test act between a request and its response."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from airflow_provider_riffusion.emulator import Emulator
from tests.support.raw_server import RawServer, Script, serve


def relay(request: bytes, emulator: Emulator) -> bytes:
    """Have the emulator answer a request, and return the whole response."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    port = int(emulator.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
        response = b"".join(iter(lambda: connection.recv(2**20), b""))
    # Or a client would send its next request over a connection that is just being closed.
    status, _, rest = response.partition(b"\r\n")
    return b"\r\n".join([status, b"Connection: close", rest])


@contextmanager
def relaying(
    emulator: Emulator,
    *,
    before: Callable[[str], object] = lambda request: None,
    after: Callable[[str], object] = lambda request: None,
) -> Iterator[RawServer]:
    """
    Run a server that hands requests on to the emulator.

    :param emulator: answers them
    :param before: called with a request's first line, before the emulator gets it
    :param after: called when the emulator has answered, before its response is sent on
    """

    def choose(request: bytes) -> Script:
        line = request.partition(b"\r\n")[0].decode("latin-1")
        before(line)
        response = relay(request, emulator)
        after(line)
        return lambda connection: connection.sendall(response)

    with serve(choose=choose) as server:
        yield server
