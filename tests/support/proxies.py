"""An http and a SOCKS5 proxy on this machine that note what they are asked for."""

from __future__ import annotations

import base64
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """
    What the proxy was asked for.

    :param scheme: of the proxy's URL
    :param to: where each connection goes, whatever it asks for; by default where it asks
    """

    scheme: str
    to: int | None = None
    port: int = 0
    #: ``host:port`` of each connection that it made.
    targets: list[str] = field(default_factory=list)
    #: ``user:password`` of each connection that gave them.
    users: list[str] = field(default_factory=list)

    def url(self, user: str = "") -> str:
        return f"{self.scheme}://{user and f'{user}@'}127.0.0.1:{self.port}"

    def connect(self, target: str) -> socket.socket:
        self.targets.append(target)
        host, _, port = target.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)) if self.to is None else ("127.0.0.1", self.to))


def _http(proxy: Proxy, client: socket.socket) -> socket.socket:
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(1) or b"\r\n\r\n"
    if found := re.search(rb"(?i)proxy-authorization: basic (\S+)", head):
        proxy.users.append(base64.b64decode(found[1]).decode())
    if connect := re.match(rb"CONNECT (\S+) ", head):
        server = proxy.connect(connect[1].decode())
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        return server
    authority = (re.match(rb"\S+ http://([^/ ]+)", head) or [b"", b"no.url"])[1].decode()
    server = proxy.connect(authority if ":" in authority else f"{authority}:80")
    server.sendall(head)
    return server


def _socks5(proxy: Proxy, client: socket.socket) -> socket.socket:
    def read(length: int) -> bytes:
        return client.recv(length, socket.MSG_WAITALL)

    # With user and password where the client can give them.
    method = 2 if 2 in read(read(2)[1]) else 0
    client.sendall(bytes([5, method]))
    if method == 2:
        user = read(read(2)[1]).decode()
        proxy.users.append(f"{user}:{read(read(1)[0]).decode()}")
        client.sendall(bytes([1, 0]))
    kind = read(4)[3]
    host = socket.inet_ntoa(read(4)) if kind == 1 else read(read(1)[0]).decode()
    server = proxy.connect(f"{host}:{int.from_bytes(read(2))}")
    client.sendall(bytes([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
    return server


_HANDSHAKES: dict[str, Callable[[Proxy, socket.socket], socket.socket]] = {"http": _http, "socks5h": _socks5}


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(2**16):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(scheme: str, *, to: int | None = None) -> Iterator[Proxy]:
    """
    Run a proxy.

    :param scheme: ``http`` or ``socks5h``
    :param to: see :class:`Proxy`
    """
    running = Proxy(scheme, to)
    listener = socket.create_server(("127.0.0.1", 0))
    running.port = listener.getsockname()[1]

    def handle(client: socket.socket) -> None:
        with client, suppress(OSError, IndexError), _HANDSHAKES[scheme](running, client) as server:
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server)
            back.join()

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=handle, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
