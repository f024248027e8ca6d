"""Break off an exchange in which a server keeps the line busy without sending anything of use."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError


class Watchdog:
    """
    Shuts a socket down when it was not fed for too long.

    A read timeout starts anew with every byte, so a server that drips a head, interim replies or chunk extensions
    would hold a task for ever.

    :param limit: seconds
    :param unless: is asked when a new connection stands; when it says True, no request is sent over it
    """

    def __init__(self, limit: float, unless: Callable[[], bool] | None = None) -> None:
        self.limit = limit
        self.unless = unless
        self.has_bitten = False
        #: Whether a connection stands, TLS included, so that a request may be on its way.
        self.has_connected = False
        self._deadline = 0.0
        self._socket: socket.socket | None = None
        self._stopped = threading.Event()

    def watch(self, watched: socket.socket) -> None:
        """Start to watch a socket."""
        self.feed()
        self._socket = watched
        threading.Thread(target=self._run, name="riffusion-watchdog", daemon=True).start()

    def feed(self) -> None:
        """Tell that something of use has arrived."""
        self._deadline = time.monotonic() + self.limit

    def bite(self) -> None:
        """Shut the socket down now."""
        self.has_bitten = True
        self._stopped.set()
        if self._socket is not None:
            with suppress(OSError):
                # Not SSLSocket's own, which takes the TLS state away under the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def stop(self) -> None:
        """Stop to watch."""
        self._stopped.set()

    def _run(self) -> None:
        while (remaining := self._deadline - time.monotonic()) > 0:
            if self._stopped.wait(remaining):
                return
        self.bite()


#: The watchdog of the exchange that this thread is about to make.
CURRENT: ContextVar[Watchdog | None] = ContextVar("riffusion_watchdog", default=None)


class _WatchedHTTPConnection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _stop_if_told(self)
        _note_connection(self)

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        # One that is used again is not connected any more.
        _note_connection(self)
        super().putrequest(*args, **kwargs)

    def getresponse(self) -> Any:
        _watch(self.sock)
        return super().getresponse()


class _WatchedHTTPSConnection(_WatchedHTTPConnection, HTTPSConnection):
    pass


def _watch(watched: socket.socket | None) -> None:
    watchdog = CURRENT.get()
    if watchdog is not None and watched is not None:
        watchdog.watch(watched)


def _note_connection(connection: HTTPConnection) -> None:
    watchdog = CURRENT.get()
    if watchdog is not None and connection.sock is not None:
        watchdog.has_connected = True


def _stop_if_told(connection: HTTPConnection) -> None:
    watchdog = CURRENT.get()
    if watchdog is not None and watchdog.unless is not None and watchdog.unless():
        connection.close()
        raise NewConnectionError(connection, "stopped before the request was sent")


class _WatchedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _WatchedHTTPConnection


class _WatchedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedHTTPSConnection


class WatchedAdapter(HTTPAdapter):
    """Sends requests over connections that :data:`CURRENT` watches from the moment they wait for a reply."""

    _POOLS = {"http": _WatchedHTTPPool, "https": _WatchedHTTPSPool}  # noqa: RUF012  # read by requests on each instance

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._POOLS
        return manager
