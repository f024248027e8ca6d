"""A request as the server reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote


@dataclass(frozen=True)
class Request:
    """
    A request that was read.

    :param client: the client's IP address
    :param method: HTTP method
    :param path: path of the URL
    :param query: query parameters, decoded
    :param authorization: the ``Authorization`` header; None: none came
    :param body: the body as parsed JSON; None when there is none or it is no JSON
    :param base_url: scheme, host and port by which the client reached this server
    :param song_id: the song or job that the request is about; None: none
    :param wrong_format: whether a fault wants audio of another format than the one that was asked for, under
        the Content-Type of the right one
    :param other_version: whether a fault wants another version of a file, of the same length
    :param range: the ``Range`` header; None: none came
    :param if_range: the ``If-Range`` header; None: none came
    """

    client: str
    method: str
    path: str
    query: dict[str, str]
    authorization: str | None
    body: Any
    base_url: str
    song_id: str | None
    wrong_format: bool = False
    other_version: bool = False
    range: str | None = None
    if_range: str | None = None

    @property
    def token(self) -> str | None:
        """The token of the ``Authorization`` header; None when there is none."""
        scheme, _, token = (self.authorization or "").strip().partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None

    def segments(self, prefix: str) -> list[str]:
        """Return the parts of the path behind a prefix, decoded; a trailing slash does not count."""
        return [unquote(part) for part in self.path.removeprefix(prefix).strip("/").split("/")]


def path_matches(path: str, wanted: str | None) -> bool:
    """
    Return whether a request's path is the one that a fault or a count wants.

    :param wanted: a part of the path; with a leading slash all of it but its trailing slash; None: any
    """
    if wanted is None:
        return True
    if wanted.startswith("/"):
        return path.rstrip("/") == wanted.rstrip("/")
    return wanted in path
