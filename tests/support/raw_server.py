"""A server that sends exactly the bytes a test tells it to."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Script = Callable[[socket.socket], None]


@dataclass
class RawServer:
    """
    The requests that came, and the port they came to.

    :param scripts: what to do with each connection, in order; the last one serves all that follow
    :param choose: finds the script by the request instead
    """

    scripts: list[Script]
    choose: Callable[[bytes], Script] | None = None
    port: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def script_for(self, request: bytes) -> Script:
        self.requests.append(request)
        if self.choose:
            return self.choose(request)
        return self.scripts[min(len(self.requests), len(self.scripts)) - 1]


def response(head: str, body: bytes = b"") -> Script:
    """Send a head, given without line ends, and a body, and close."""
    content = head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body
    return lambda connection: connection.sendall(content)


def ok(body: bytes, content_type: str = "application/octet-stream") -> Script:
    """Send a whole response."""
    return response(
        f"HTTP/1.1 200 OK\nContent-Type: {content_type}\nContent-Length: {len(body)}\nConnection: close", body
    )


def reset(connection: socket.socket) -> None:
    """Break the connection with a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class NoTls:
    """Takes the place of a TLS context on a server that speaks none."""

    def wrap_socket(self, connection: socket.socket, *, server_side: bool) -> socket.socket:
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        raise OSError("no TLS here")


def read_request(connection: socket.socket) -> bytes | None:
    """Read a head and the body that its Content-Length announces; None when the connection ends before."""
    request, length = b"", None
    while length is None or len(request) < length:
        data = connection.recv(65536)
        if not data:
            return None
        request += data
        head, end, _ = request.partition(b"\r\n\r\n")
        if end and length is None:
            if b"expect: 100-continue" in head.lower():
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            announced = re.search(rb"(?i)content-length: (\d+)", head)
            length = len(head) + len(end) + int(announced[1] if announced else 0)
    return request


@contextmanager
def serve(
    *scripts: Script, choose: Callable[[bytes], Script] | None = None, tls: ssl.SSLContext | NoTls | None = None
) -> Iterator[RawServer]:
    """Run a server; each connection gets one request read and one script run."""
    server = RawServer(list(scripts), choose)
    listener = socket.create_server(("127.0.0.1", 0))
    server.port = listener.getsockname()[1]
    stopping = threading.Event()

    def handle(connection: socket.socket) -> None:
        with suppress(OSError), tls.wrap_socket(connection, server_side=True) if tls else connection as stream:
            request = read_request(stream)
            if request is not None:
                server.script_for(request)(stream)

    def accept() -> None:
        while not stopping.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        stopping.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
