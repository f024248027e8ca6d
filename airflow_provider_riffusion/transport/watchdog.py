"""Abort an exchange in which a server keeps the connection busy without sending anything of use."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import cache
from typing import Any

from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema
from urllib3.connection import HTTPConnection

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError


class Watchdog:
    """
    Shuts a socket down when it was not fed for too long.

    A read timeout starts anew with every byte, so a server that drips headers, interim responses or chunk extensions
    would hold a task for ever.

    :param limit: seconds
    :param check_peer: is called with the address that was connected to; raises when no request may go there
    """

    def __init__(self, limit: float, check_peer: Callable[[str], None] | None = None) -> None:
        self.limit = limit
        self.check_peer = check_peer
        self.has_bitten = False
        #: Why the exchange was cut, when it was.
        self.reason = f"nothing of use arrived for {limit:g} s"
        #: Whether the connection is ready, TLS included, so that the server may have received the request.
        self.has_connected = False
        self._deadline = 0.0
        self._socket: socket.socket | None = None
        self._stopped = threading.Event()

    def watch(self, watched: socket.socket) -> None:
        """Start to watch a socket."""
        self.feed()
        self._socket = watched
        if self.has_bitten:
            self._bite()
        threading.Thread(target=self._run, name="riffusion-watchdog", daemon=True).start()

    def feed(self) -> None:
        """Start the time anew, because something of use has arrived."""
        self._deadline = time.monotonic() + self.limit

    def abort(self) -> None:
        """Shut the socket down now, because nobody wants the response any more."""
        self.reason = "the exchange was aborted"
        self._bite()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()

    def run(self, send: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function that sends requests, and watch those; a signal handler's have a watchdog of their own."""
        context = copy_context()
        context.run(_CURRENT.set, self)
        return context.run(send, *args, **kwargs)

    def _bite(self) -> None:
        self.has_bitten = True
        self._stopped.set()
        if self._socket is not None:
            with suppress(OSError):
                # SSLSocket.shutdown() would drop the TLS state while another thread is reading.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _run(self) -> None:
        while (remaining := self._deadline - time.monotonic()) > 0:
            if self._stopped.wait(remaining):
                return
        self._bite()


_CURRENT: ContextVar[Watchdog] = ContextVar("riffusion_watchdog")


class _WatchedConnection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        watchdog = self._noted()
        if watchdog.check_peer is not None:
            watchdog.check_peer(self.sock.getpeername()[0])

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        # connect() is not called for a connection that is used again, so it is noted here.
        self._noted()
        super().putrequest(*args, **kwargs)

    def getresponse(self) -> Any:
        self._noted().watch(self.sock)
        return super().getresponse()

    def _noted(self) -> Watchdog:
        """Note that the connection is ready, if it is; raise when nobody wants the response any more."""
        watchdog = _CURRENT.get()
        if watchdog.has_bitten:
            raise ConnectionAbortedError
        watchdog.has_connected |= self.sock is not None
        return watchdog


@cache
def _watched(connection_class: type[HTTPConnection]) -> type[HTTPConnection]:
    return type(connection_class.__name__, (_WatchedConnection, connection_class), {})


class WatchedAdapter(HTTPAdapter):
    """Sends requests over connections that a :class:`Watchdog` watches while they wait for a response."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        # Whatever class the pool uses, for http, https or a proxy, becomes a watched one.
        # Read once, because other threads may use the same pool.
        kind = pool.ConnectionCls
        if not issubclass(kind, _WatchedConnection):
            pool.ConnectionCls = _watched(kind)
        return pool

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().proxy_manager_for(*args, **kwargs)
        except InvalidSchema:
            what = "PySocks is missing for a SOCKS proxy; pip install 'airflow-provider-riffusion[socks]'."
            raise RiffusionConfigurationError(what) from None
