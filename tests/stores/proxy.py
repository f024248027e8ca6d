"""A way to a server that breaks while much is sent through it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tests.support.raw_server import reset


@contextmanager
def breaking(endpoint: str, *, after_bytes: int) -> Iterator[str]:
    """
    Pass connections on to a server, and reset each once so many bytes were sent through it.

    :param endpoint: URL of the server
    :param after_bytes: bytes
    :return: URL of the way
    """
    target = urlsplit(endpoint)
    listener = socket.create_server(("127.0.0.1", 0))

    def back(server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(2**16):
                client.sendall(data)

    def forward(client: socket.socket) -> None:
        with client, socket.create_connection((target.hostname or "", target.port or 80)) as server, suppress(OSError):
            threading.Thread(target=back, args=(server, client), daemon=True).start()
            left = after_bytes
            while left > 0 and (data := client.recv(min(2**16, left))):
                server.sendall(data)
                left -= len(data)
            if left <= 0:
                reset(client)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=forward, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
