"""Reads and logs requests, and sends the responses with the faults in force."""

from __future__ import annotations

import json
import logging
import re
import socket
import socketserver
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from airflow_provider_riffusion.emulator.server.control import CONTROL_PREFIX, Control
from airflow_provider_riffusion.emulator.server.delivery import CutError, Delivery
from airflow_provider_riffusion.emulator.server.faults import (
    REDIRECT_LOOP_PATH,
    Fault,
    FaultList,
    changed_response,
    response_instead,
)
from airflow_provider_riffusion.emulator.server.ranges import ranged, wants_new_version
from airflow_provider_riffusion.emulator.server.request import Request
from airflow_provider_riffusion.emulator.server.request_log import RequestLog, log_entry
from airflow_provider_riffusion.emulator.server.response import RefusedError, Response, error_response
from airflow_provider_riffusion.emulator.server.service import Service

log = logging.getLogger(__name__)

_LARGEST_REQUEST_BODY_BYTES = 1024 * 1024
_HOST_HEADER = re.compile(r"[A-Za-z0-9.\-:\[\]]+")


class EmulatorServer(ThreadingHTTPServer):
    """
    The server of one emulator.

    :param address: host and port to listen on; port 0: a free one
    :param service: the API that it serves
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        self.service = service
        self.faults = FaultList()
        self.request_log = RequestLog()
        self.control = Control(service, self.faults, self.request_log)
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)

    @property
    def url(self) -> str:
        """The base URL, without the API's prefix."""
        host = self.server_name
        return f"http://[{host}]:{self.server_port}" if ":" in host else f"http://{host}:{self.server_port}"

    def server_bind(self) -> None:
        """Bind without looking the host's name up, which can take seconds."""
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
        """Stop at once, also while responses stall or drip."""
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

    server: EmulatorServer
    protocol_version = "HTTP/1.1"
    server_version = "riffusion-emulator"
    # Head and body are two writes; Nagle's algorithm would hold the second one back for 40 ms.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer a request of any method."""
        server = self.server
        try:
            body, body_error = self._read_body()
            request = self._request(body)
            entry, fault = log_entry(request, server.service.token), None
            is_control = request.path.startswith(CONTROL_PREFIX)
            if not is_control:
                server.request_log.append(entry)
                fault = server.faults.take(request)
            try:
                Delivery(self, fault, entry, server.stopping).send(self._response(request, body_error, fault))
            finally:
                if not is_control:
                    log.info("%s%s", entry, f", fault {fault.what}" if fault else "")
        except (CutError, OSError):
            self.close_connection = True

    do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = do_POST = do_PUT = do_GET

    def _read_body(self) -> tuple[Any, RefusedError | None]:
        """Read and parse the body, also when nobody will use it: the next request starts after it."""
        text = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (text.isascii() and text.isdigit()):
            self.close_connection = True
            return None, RefusedError(411, "Content-Length is required")
        if int(text) > _LARGEST_REQUEST_BODY_BYTES:
            self.close_connection = True
            return None, RefusedError(413, f"Request body has at most {_LARGEST_REQUEST_BODY_BYTES} bytes")
        content = self.rfile.read(int(text))
        if not content or self.command == "GET":
            return None, None
        try:
            return json.loads(content), None
        except ValueError:
            return None, RefusedError(400, "Request body is not JSON")

    def _request(self, body: Any) -> Request:
        parts = urlsplit(self.path)
        query = dict(reversed(parse_qsl(parts.query, keep_blank_values=True)))
        host = self.headers.get("Host", "")
        return Request(
            client=str(self.client_address[0]),
            method=self.command,
            path=parts.path,
            query=query,
            authorization=self.headers.get("Authorization"),
            body=body,
            # A client in a container reaches this server by another name than the one it is bound to.
            base_url=f"http://{host}" if _HOST_HEADER.fullmatch(host) else self.server.url,
            song_id=self.server.service.song_id(parts.path, query),
            range=self.headers.get("Range"),
            if_range=self.headers.get("If-Range"),
        )

    def _response(self, request: Request, body_error: RefusedError | None, fault: Fault | None) -> Response:
        service = self.server.service
        instead = None if fault is None else response_instead(fault, request.base_url, service.messages)
        if instead is not None and fault is not None and not fault.carried_out:
            return instead
        if request.path == REDIRECT_LOOP_PATH:
            return Response(302, headers={"Location": request.base_url + REDIRECT_LOOP_PATH})
        is_control = request.path.startswith(CONTROL_PREFIX)
        try:
            # Without the right token, a client learns no more than that.
            if body_error is not None and (is_control or request.token == service.token):
                raise body_error
            if is_control:
                return self.server.control.answer(request)
            what = None if fault is None else fault.what
            wanted = replace(request, wrong_format=what == "wrong-format", other_version=wants_new_version(what))
            response = ranged(request, service.answer(wanted), what)
        except RefusedError as refusal:
            response = error_response(refusal.status, refusal.message, retry_after=refusal.retry_after)
        return instead or (response if fault is None else changed_response(fault, response))

    def log_message(self, format: str, *args: Any) -> None:
        """Drop the library's own lines, which quote the URL and a token in it."""
