"""A server that sends exactly the bytes a test tells it to."""

from __future__ import annotations

import socket
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
    """

    scripts: list[Script]
    port: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def reply(head: str, body: bytes = b"") -> Script:
    """Send a head, given without line ends, and a body, and close."""
    content = head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body
    return lambda connection: connection.sendall(content)


def ok(body: bytes, content_type: str = "application/octet-stream") -> Script:
    """Send a whole reply."""
    return reply(f"HTTP/1.1 200 OK\nContent-Type: {content_type}\nContent-Length: {len(body)}\nConnection: close", body)


def reset(connection: socket.socket) -> None:
    """Break the connection with a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextmanager
def serve(*scripts: Script) -> Iterator[RawServer]:
    """Run a server; each connection gets one request read and one script run."""
    server = RawServer(list(scripts))
    listener = socket.create_server(("127.0.0.1", 0))
    server.port = listener.getsockname()[1]
    stopping = threading.Event()

    def handle(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                data = connection.recv(65536)
                if not data:
                    return
                request += data
            server.requests.append(request)
            server.scripts[min(len(server.requests), len(server.scripts)) - 1](connection)

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
