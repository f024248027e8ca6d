"""A response before it is sent, and the error bodies of useapi.net's APIs and of proxies before them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

FRAMINGS = ("length", "chunked", "close")
ERROR_BODIES = ("json", "json-no-code", "json-nested", "json-text-code", "html", "empty", "moderation")
PENDING_STATUS = 596


@dataclass(eq=False)
class RefusedError(Exception):
    """A request is answered with an error; the parameters are those of :func:`error_response`."""

    status: int
    message: str
    retry_after: str | float | None = None


@dataclass(frozen=True)
class Response:
    """
    A response before it is sent.

    :param status: HTTP status
    :param content: returns the pieces of the body; called once for each sending
    :param length: bytes of the body; None: unknown beforehand
    :param content_type: Content-Type; None: none
    :param headers: further headers
    :param framing: how the end of the body is told: ``length`` (Content-Length), ``chunked``, or ``close``
        (neither)
    """

    status: int = 200
    content: Callable[[], Iterable[bytes]] = lambda: ()
    length: int | None = 0
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    framing: str = "length"

    def to_bytes(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.content())


def bytes_response(
    content: bytes, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response whose body is held in memory; the parameters are those of :class:`Response`."""
    return Response(status, lambda: (content,), len(content), content_type, headers or {})


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response whose body is a JSON document."""
    return bytes_response(json.dumps(value).encode(), "application/json", status, headers)


def error_response(
    status: int, message: str, *, body: str = "json", retry_after: str | float | None = None
) -> Response:
    """
    Return an error in one of the forms that the API or a proxy before it uses.

    :param status: HTTP status
    :param message: text of the error
    :param body: ``json`` (``{"error", "code"}`` [D], without ``code`` for 596 [D]), ``json-no-code``,
        ``json-nested`` (``{"error": {"code", "message"}}``), ``json-text-code`` (``code`` is a string),
        ``html``, ``empty``, ``moderation`` [C], which is a flagged prompt's and has no ``error``
    :param retry_after: value of a ``Retry-After`` header; None: no such header
    """
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    match body:
        case "empty":
            return Response(status, headers=headers)
        case "html":
            return bytes_response(_html_page(status), "text/html; charset=utf-8", status, headers)
        case "moderation":
            document: Any = {"is_flagged": True, "reason": "moderation", "musician_replacement_data": None}
        case "json-nested":
            document = {"error": {"code": status, "message": message}}
        case _:
            document = {"error": message}
            if body != "json-no-code" and status != PENDING_STATUS:
                document["code"] = str(status) if body == "json-text-code" else status
    return json_response(document, status, headers)


def reason_phrase(status: int) -> str:
    """Return the reason phrase of an HTTP status."""
    if status == PENDING_STATUS:
        return "Pending error"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _html_page(status: int) -> bytes:
    title = f"{status} {reason_phrase(status)}"
    return (
        f"<!DOCTYPE html>\n<html><head><title>{title}</title></head>"
        f"<body><center><h1>{title}</h1></center><hr><center>gateway</center></body></html>\n"
    ).encode()


def iso_time(moment: datetime) -> str:
    """Return an aware time as the API writes it: ISO 8601, UTC, milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
