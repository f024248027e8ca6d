"""The HTTP server: reads and logs requests, and sends the replies with the faults in force."""

from __future__ import annotations

import json
import logging
import re
import socket
import socketserver
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from airflow_provider_riffusion.emulator.riffusion.endpoints import Endpoints, Request
from airflow_provider_riffusion.emulator.riffusion.models import LoggedRequest
from airflow_provider_riffusion.emulator.riffusion.state import State
from airflow_provider_riffusion.emulator.server.control import CONTROL_PREFIX, Control
from airflow_provider_riffusion.emulator.server.delivery import CutError, Delivery
from airflow_provider_riffusion.emulator.server.faults import Fault, FaultList, change_reply, reply_instead
from airflow_provider_riffusion.emulator.server.request_log import RequestLog
from airflow_provider_riffusion.emulator.server.response import Reply, error_reply

log = logging.getLogger(__name__)

_MAX_REQUEST_BODY = 1024 * 1024
_HOST_HEADER = re.compile(r"[A-Za-z0-9.\-:\[\]]+")
_HIDDEN = "***"


class EmulatorServer(ThreadingHTTPServer):
    """
    The server of one emulator.

    :param address: host and port to listen on; port 0: a free one
    :param state: accounts, songs and jobs
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], state: State) -> None:
        self.state = state
        self.faults = FaultList()
        self.request_log = RequestLog()
        self.endpoints = Endpoints(state)
        self.control = Control(state, self.faults, self.request_log)
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)

    @property
    def url(self) -> str:
        """The base URL, without the API's prefix."""
        host, port = self.server_address[0], self.server_address[1]
        text = host.decode() if isinstance(host, bytes | bytearray) else str(host)
        return f"http://[{text}]:{port}" if ":" in text else f"http://{text}:{port}"

    def server_bind(self) -> None:
        """Bind without looking the host's name up: that can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, so that :meth:`stop` can end it."""
        with self._connections_lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection."""
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a connection; clients that go away are no news."""
        error = sys.exception()
        if isinstance(error, OSError):
            log.debug("connection of %s ended: %s", client_address, error)
        else:
            log.error("request of %s failed", client_address, exc_info=error)

    def stop(self) -> None:
        """Stop at once, also while replies stall or drip."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._connections_lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """One connection and its requests."""

    protocol_version = "HTTP/1.1"
    server_version = "riffusion-emulator"
    # Head and body are two writes; Nagle's algorithm would hold the second one back for 40 ms.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer a request of any method."""
        server = cast("EmulatorServer", self.server)
        try:
            body_error, body = self._read_body()
            request = self._request(server, body)
            if request.path.startswith(CONTROL_PREFIX):
                reply = body_error or server.control.answer(request, str(self.client_address[0]))
                Delivery(self, None, server.stopping, _ignore, _ignore).send(reply)
            else:
                self._answer(server, request, body_error)
        except (CutError, OSError):
            self.close_connection = True

    do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = do_POST = do_PUT = do_GET

    def _read_body(self) -> tuple[Reply | None, Any]:
        """Read and parse the body, also when nobody will use it: the next request starts after it."""
        text = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (text.isascii() and text.isdigit()):
            self.close_connection = True
            return error_reply(411, "Content-Length is required"), None
        if int(text) > _MAX_REQUEST_BODY:
            self.close_connection = True
            return error_reply(413, f"Request body has at most {_MAX_REQUEST_BODY} bytes"), None
        content = self.rfile.read(int(text))
        if not content or self.command == "GET":
            return None, None
        try:
            return None, json.loads(content)
        except ValueError:
            return error_reply(400, "Request body is not JSON"), None

    def _request(self, server: EmulatorServer, body: Any) -> Request:
        parts = urlsplit(self.path)
        scheme, _, token = self.headers.get("Authorization", "").strip().partition(" ")
        host = self.headers.get("Host", "")
        return Request(
            method=self.command,
            path=parts.path,
            query=dict(reversed(parse_qsl(parts.query, keep_blank_values=True))),
            body=body,
            token=token.strip() if scheme.lower() == "bearer" else None,
            # A client in a container reaches this server by another name than the one it is bound to.
            base_url=f"http://{host}" if _HOST_HEADER.fullmatch(host) else server.url,
        )

    def _answer(self, server: EmulatorServer, request: Request, body_error: Reply | None) -> None:
        secrets = [secret for secret in (server.state.token, request.token) if secret]
        number = server.request_log.open(
            LoggedRequest(
                time=datetime.now(UTC),
                monotonic=time.monotonic(),
                method=request.method,
                path=_hide(request.path, secrets),
                query=_hide(request.query, secrets),
                token_sent="Authorization" in self.headers,
                song_id=_hide(request.song_id, secrets),
                body=_hide(request.body, secrets),
            )
        )
        fault = server.faults.take(request.method, request.path, request.song_id)
        delivery = Delivery(
            self,
            fault,
            server.stopping,
            lambda status: server.request_log.set_status(number, status),
            lambda count: server.request_log.add_bytes(number, count),
        )
        try:
            delivery.send(self._reply(server, request, body_error, fault))
        finally:
            entry = server.request_log.get(number)
            if entry is not None:
                log.info(
                    "%s %s %s -> %s, %s bytes%s",
                    entry.method,
                    entry.path,
                    entry.query,
                    entry.status or "no reply",
                    entry.bytes_sent,
                    f", fault {fault.what}" if fault else "",
                )

    @staticmethod
    def _reply(server: EmulatorServer, request: Request, body_error: Reply | None, fault: Fault | None) -> Reply:
        if fault is not None:
            instead = reply_instead(fault, request.base_url)
            if instead is not None:
                return instead
        if body_error is not None and request.token == server.state.token:
            return body_error
        wrong_format = fault is not None and fault.what == "wrong-format"
        reply = server.endpoints.answer(request, wrong_format=wrong_format)
        return reply if fault is None else change_reply(fault, reply)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the library's own lines, which quote the URL, out of sight."""


def _ignore(_: int) -> None:
    """Note nothing."""


def _hide(value: Any, secrets: list[str]) -> Any:
    """Return a value without the secrets: tokens wherever they are, and cookies."""
    if isinstance(value, dict):
        return {
            _hide(key, secrets): _HIDDEN if key == "cookie" else _hide(item, secrets) for key, item in value.items()
        }
    if isinstance(value, list):
        return [_hide(item, secrets) for item in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _HIDDEN)
            if secret in unquote(value):
                value = _HIDDEN
    return value
