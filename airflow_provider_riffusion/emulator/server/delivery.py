"""Sends a response over a connection, and carries out the faults that happen on the wire."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

from airflow_provider_riffusion.emulator.server.faults import Fault
from airflow_provider_riffusion.emulator.server.request_log import LoggedRequest
from airflow_provider_riffusion.emulator.server.response import Response, reason_phrase

# A reset throws away what the kernel has not sent yet; on a loopback that takes far less than this.
_DRAIN_SECONDS = 0.05
_DRIP_SECONDS = 0.05
# A fault that acts at a position must not wait for a piece of megabytes to drain first.
_LARGEST_WRITE_BYTES = 64 * 1024


class CutError(Exception):
    """The connection was cut on purpose, or the emulator stops."""


class Delivery:
    """
    One response on its way.

    :param handler: the handler of the connection
    :param fault: what goes wrong on the wire; None: nothing
    :param entry: the log's entry of the request; status and bytes are noted in it before they are sent, so
        that whoever has read them finds them in the log
    :param stopping: set when the emulator stops; ends every wait
    """

    def __init__(
        self, handler: BaseHTTPRequestHandler, fault: Fault | None, entry: LoggedRequest, stopping: threading.Event
    ) -> None:
        self._handler = handler
        self._fault = fault
        self._what = fault.what if fault else None
        self._bytes_per_second = (fault.bytes_per_second if fault else None) or 1
        self._entry = entry
        self._stopping = stopping

    def send(self, response: Response) -> None:
        """Send a response; CutError and OSError mean that the connection is of no more use."""
        if self._what == "lost-reply":
            raise CutError
        if self._fault is not None and self._fault.after_bytes is None and self._what in ("reset", "stall"):
            self._act(drain_seconds=0)
        framing = self._framing(response)
        bodiless = self._handler.command == "HEAD" or response.status in (204, 304)
        self._send_head(response, None if bodiless else framing)
        if bodiless:
            return
        position = None if self._fault is None else self._fault.position(response.length)
        sent = 0
        if position == 0:
            self._act()
        for piece in self._pieces(response, position):
            self._write(piece, framing)
            sent += len(piece)
            if sent == position:
                self._act()
            if self._what == "drip" and sent >= (position or 0):
                self._wait(len(piece) / self._bytes_per_second)
        if framing == "chunked":
            self._handler.wfile.write(b"0\r\n\r\n")

    def _framing(self, response: Response) -> str:
        """Return how the end of the body is told, as far as the length and the client's version allow it."""
        is_old = self._handler.request_version == "HTTP/1.0"
        impossible = is_old if response.framing == "chunked" else response.length is None
        return "close" if impossible else response.framing

    def _send_head(self, response: Response, framing: str | None) -> None:
        handler = self._handler
        self._entry.status = response.status
        handler.send_response(response.status, reason_phrase(response.status))
        if response.content_type is not None:
            handler.send_header("Content-Type", response.content_type)
        for name, value in response.headers.items():
            handler.send_header(name, value)
        match framing:
            case "length":
                handler.send_header("Content-Length", str(response.length))
            case "chunked":
                handler.send_header("Transfer-Encoding", "chunked")
            case "close":
                # send_header() also makes the handler close the connection afterwards.
                handler.send_header("Connection", "close")
        handler.end_headers()

    def _pieces(self, response: Response, position: int | None) -> Iterator[memoryview]:
        """Yield the body so that one piece ends at the position, and that dripping pieces are small."""
        sent = 0
        for content in response.content():
            rest = memoryview(content)
            while rest:
                size = min(len(rest), _LARGEST_WRITE_BYTES)
                if position is not None and sent < position:
                    size = min(size, position - sent)
                elif self._what == "drip":
                    size = min(size, max(1, int(self._bytes_per_second * _DRIP_SECONDS)))
                yield rest[:size]
                sent += size
                rest = rest[size:]

    def _write(self, piece: memoryview, framing: str) -> None:
        if self._stopping.is_set():
            raise CutError
        self._entry.bytes_sent += len(piece)
        try:
            self._handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)) if framing == "chunked" else piece)
        except OSError:
            self._entry.bytes_sent -= len(piece)
            raise

    def _act(self, drain_seconds: float = _DRAIN_SECONDS) -> None:
        if self._what == "truncate":
            raise CutError
        if self._what == "reset":
            self._wait(drain_seconds)
            self._reset()
        if self._what == "stall" and self._fault is not None:
            self._wait(self._fault.seconds)

    def _wait(self, seconds: float | None) -> None:
        if self._stopping.wait(seconds):
            raise CutError

    def _reset(self) -> None:
        connection = self._handler.connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The handler's files keep a closed socket open, so the server would send a FIN; without its descriptor
        # it cannot.
        socket.close(connection.detach())
        raise CutError
