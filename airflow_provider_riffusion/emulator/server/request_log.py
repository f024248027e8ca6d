"""The log of requests, which never holds a token or a cookie."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from airflow_provider_riffusion.emulator.server.request import Request

_HIDDEN = "***"


@dataclass
class LoggedRequest:
    """
    One request that the emulator received. The token is never kept, nor is a cookie.

    :param time: wall clock when the request came, in UTC
    :param monotonic: ``time.monotonic()`` at the same moment, in seconds
    :param method: HTTP method
    :param path: path of the URL, as sent
    :param query: query parameters, decoded
    :param token_sent: whether an ``Authorization`` header came, right or wrong
    :param song_id: the song (or job) that the request is about, if any
    :param body: the request's body as parsed JSON; None when there was none
    :param status: status of the response; None until its head is sent, and for ever when the connection was
        cut before
    :param bytes_sent: bytes of body handed to the connection, after any transfer coding is taken off
    """

    time: datetime
    monotonic: float
    method: str
    path: str
    query: dict[str, str]
    token_sent: bool
    song_id: str | None = None
    body: Any = None
    status: int | None = None
    bytes_sent: int = 0

    def __str__(self) -> str:
        status = self.status or "no response"
        return f"{self.method} {self.path} {self.query} -> {status}, {self.bytes_sent} bytes"


def log_entry(request: Request, token: str) -> LoggedRequest:
    """
    Return the log's entry for a request that has just come.

    :param request: the request
    :param token: the token that requests must carry; hidden, as is the one that this request carries
    """
    secrets = [secret for secret in (token, request.token) if secret]
    return LoggedRequest(
        time=datetime.now(UTC),
        monotonic=time.monotonic(),
        method=request.method,
        path=_hide(request.path, secrets),
        query=_hide(request.query, secrets),
        token_sent=request.authorization is not None,
        song_id=_hide(request.song_id, secrets),
        body=_hide(request.body, secrets),
    )


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


class RequestLog(list[LoggedRequest]):
    """Requests in the order in which they came; the thread that sends a response goes on to change its entry."""

    def snapshot(self) -> list[LoggedRequest]:
        """Return copies of all requests as they are now."""
        return [replace(entry) for entry in self.copy()]
