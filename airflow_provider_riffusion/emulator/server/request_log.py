"""The emulator's log of requests."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace

from airflow_provider_riffusion.emulator.riffusion.models import LoggedRequest


class RequestLog:
    """Requests in the order in which they came; safe to use from any thread."""

    def __init__(self) -> None:
        self._entries: dict[int, LoggedRequest] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def open(self, request: LoggedRequest) -> int:
        """
        Add a request and return the number to update it by.

        :param request: the request, not answered yet
        """
        with self._lock:
            number = next(self._numbers)
            self._entries[number] = request
            return number

    def set_status(self, number: int, status: int) -> None:
        """
        Note the status that is about to be sent: whoever reads the reply finds it in the log.

        :param number: what :meth:`open` returned
        :param status: HTTP status
        """
        with self._lock:
            if number in self._entries:
                self._entries[number] = replace(self._entries[number], status=status)

    def add_bytes(self, number: int, count: int) -> None:
        """
        Note bytes of body that are about to be sent.

        :param number: what :meth:`open` returned
        :param count: bytes, negative to take back what could not be sent
        """
        with self._lock:
            entry = self._entries.get(number)
            if entry is not None:
                self._entries[number] = replace(entry, bytes_sent=entry.bytes_sent + count)

    def get(self, number: int) -> LoggedRequest | None:
        """
        Return one request as it stands; None when it was cleared.

        :param number: what :meth:`open` returned
        """
        with self._lock:
            return self._entries.get(number)

    def snapshot(self) -> list[LoggedRequest]:
        """Return all requests as they stand."""
        with self._lock:
            return list(self._entries.values())

    def clear(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._entries.clear()
