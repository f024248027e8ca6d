"""Sends a reply over a connection, and delivers the faults that happen on the wire."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler

from airflow_provider_riffusion.emulator.server.faults import Fault, cut_position
from airflow_provider_riffusion.emulator.server.response import Reply, reason_phrase

# A reset throws away what the kernel has not sent yet; on a loopback that takes far less than this.
_DRAIN_SECONDS = 0.05
_DRIP_SECONDS = 0.05
# A fault that acts at a position must not wait for a piece of megabytes to drain first.
_LARGEST_WRITE = 64 * 1024


class CutError(Exception):
    """The connection was cut on purpose, or the emulator stops."""


class Delivery:
    """
    One reply on its way.

    :param handler: the handler of the connection
    :param fault: what goes wrong on the wire; None: nothing
    :param stopping: set when the emulator stops; ends every wait
    :param note_status: called with the status before it is sent
    :param note_bytes: called with the number of bytes of body before they are sent, negative when that failed
    """

    def __init__(
        self,
        handler: BaseHTTPRequestHandler,
        fault: Fault | None,
        stopping: threading.Event,
        note_status: Callable[[int], None],
        note_bytes: Callable[[int], None],
    ) -> None:
        self._handler = handler
        self._fault = fault
        self._what = fault.what if fault else None
        self._stopping = stopping
        self._note_status = note_status
        self._note_bytes = note_bytes

    def send(self, reply: Reply) -> None:
        """
        Send a reply; CutError and OSError mean that the connection is of no more use.

        :param reply: the reply
        """
        fault = self._fault
        if self._what == "lost-reply":
            raise CutError
        if fault is not None and fault.after_bytes is None:
            if self._what == "reset":
                self._reset()
            if self._what == "stall":
                self._wait(fault.seconds)
        if self._handler.request_version == "HTTP/1.0" and reply.framing == "chunked":
            reply = replace(reply, framing="close")
        bodiless = self._handler.command == "HEAD" or reply.status in (204, 304)
        self._send_head(reply, bodiless)
        if bodiless:
            return
        position = None if fault is None else cut_position(fault, reply)
        sent = 0
        if position == 0:
            self._act()
        for piece in self._pieces(reply, position):
            self._write(piece, reply.framing)
            sent += len(piece)
            if sent == position:
                self._act()
            if self._what == "drip" and fault is not None and sent >= (position or 0):
                self._wait(len(piece) / (fault.bytes_per_second or 1))
        if reply.framing == "chunked":
            self._handler.wfile.write(b"0\r\n\r\n")

    def _send_head(self, reply: Reply, bodiless: bool) -> None:
        handler = self._handler
        self._note_status(reply.status)
        handler.send_response(reply.status, reason_phrase(reply.status))
        if reply.content_type is not None:
            handler.send_header("Content-Type", reply.content_type)
        for name, value in reply.headers:
            handler.send_header(name, value)
        if bodiless:
            handler.end_headers()
            return
        if reply.framing == "chunked":
            handler.send_header("Transfer-Encoding", "chunked")
        elif reply.framing == "close" or reply.length is None:
            # send_header also makes the handler close the connection afterwards.
            handler.send_header("Connection", "close")
        else:
            handler.send_header("Content-Length", str(reply.length))
        handler.end_headers()

    def _pieces(self, reply: Reply, position: int | None) -> Iterator[memoryview]:
        """Yield the body so that one piece ends at the position, and that dripping pieces are small."""
        sent = 0
        for content in reply.content():
            rest = memoryview(content)
            while rest:
                size = min(len(rest), _LARGEST_WRITE)
                if position is not None and sent < position:
                    size = min(size, position - sent)
                elif self._what == "drip" and self._fault is not None:
                    rate = self._fault.bytes_per_second or 1
                    size = min(size, max(1, int(rate * _DRIP_SECONDS)))
                yield rest[:size]
                sent += size
                rest = rest[size:]

    def _write(self, piece: memoryview, framing: str) -> None:
        if self._stopping.is_set():
            raise CutError
        self._note_bytes(len(piece))
        try:
            if framing == "chunked":
                self._handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)))
            else:
                self._handler.wfile.write(piece)
        except OSError:
            self._note_bytes(-len(piece))
            raise

    def _act(self) -> None:
        if self._what == "truncate":
            raise CutError
        if self._what == "reset":
            self._wait(_DRAIN_SECONDS)
            self._reset()
        if self._what == "stall" and self._fault is not None:
            self._wait(self._fault.seconds)

    def _wait(self, seconds: float | None) -> None:
        if self._stopping.wait(seconds):
            raise CutError

    def _reset(self) -> None:
        connection = self._handler.connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The handler's files keep a closed socket open, and the server would send a FIN: take the descriptor
        # away.
        socket.close(connection.detach())
        raise CutError
