"""A reply before it is sent, and the forms of the API's error bodies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

FRAMINGS = ("length", "chunked", "close")
ERROR_BODIES = ("json", "json-no-code", "json-nested", "json-text-code", "html", "empty", "moderation")

# Flagged prompts are answered without an "error" key [C].
MODERATION = {"is_flagged": True, "reason": "moderation", "musician_replacement_data": None}


class RefusedError(Exception):
    """
    A request is answered with an error.

    :param status: HTTP status
    :param message: text of the error
    :param retry_after: value of a ``Retry-After`` header; None: no such header
    """

    def __init__(self, status: int, message: str, *, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


@dataclass(frozen=True)
class Reply:
    """
    A reply before it is sent.

    :param status: HTTP status
    :param content: returns the pieces of the body; called once for each sending
    :param length: bytes of the body; None: unknown beforehand
    :param framing: how the end of the body is told: ``length`` (Content-Length), ``chunked``, or ``close``
        (neither)
    :param content_type: Content-Type; None: none
    :param headers: further headers
    """

    status: int
    content: Callable[[], Iterable[bytes]]
    length: int | None
    framing: str = "length"
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def to_bytes(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.content())


def bytes_reply(
    content: bytes, content_type: str | None, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> Reply:
    """
    Make a reply of bytes.

    :param content: the body
    :param content_type: Content-Type; None: none
    :param status: HTTP status
    :param headers: further headers
    """
    return Reply(status, lambda: (content,), len(content), content_type=content_type, headers=headers)


def json_reply(value: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """
    Make a reply of JSON.

    :param value: the document
    :param status: HTTP status
    :param headers: further headers
    """
    return bytes_reply(json.dumps(value).encode(), "application/json", status, headers)


def redirect_reply(url: str, status: int = 302) -> Reply:
    """
    Make a redirect.

    :param url: value of the ``Location`` header
    :param status: HTTP status
    """
    return bytes_reply(b"", None, status, (("Location", url),))


def reason_phrase(status: int) -> str:
    """
    Return the reason phrase of a status.

    :param status: HTTP status
    """
    if status == 596:
        return "Pending error"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def html_page(status: int) -> bytes:
    """
    Return an error page as proxies write it.

    :param status: HTTP status
    """
    title = f"{status} {reason_phrase(status)}"
    return (
        f"<!DOCTYPE html>\n<html><head><title>{title}</title></head>"
        f"<body><center><h1>{title}</h1></center><hr><center>gateway</center></body></html>\n"
    ).encode()


def error_reply(status: int, message: str, *, body: str = "json", retry_after: str | None = None) -> Reply:
    """
    Make an error in one of the forms that the API or a proxy before it uses.

    :param status: HTTP status
    :param message: text of the error
    :param body: ``json`` (``{"error", "code"}`` [D], without ``code`` for 596 [D]), ``json-no-code``,
        ``json-nested`` (``{"error": {"code", "message"}}``), ``json-text-code`` (``code`` is a string),
        ``html``, ``empty``, ``moderation`` [C]
    :param retry_after: value of a ``Retry-After`` header; None: no such header
    """
    headers = () if retry_after is None else (("Retry-After", retry_after),)
    if body == "empty":
        return bytes_reply(b"", None, status, headers)
    if body == "html":
        return bytes_reply(html_page(status), "text/html; charset=utf-8", status, headers)
    document: dict[str, Any]
    if body == "moderation":
        document = dict(MODERATION)
    elif body == "json-nested":
        document = {"error": {"code": status, "message": message}}
    elif body == "json-no-code" or status == 596:
        document = {"error": message}
    else:
        document = {"error": message, "code": str(status) if body == "json-text-code" else status}
    return json_reply(document, status, headers)
