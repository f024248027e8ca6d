"""Say what to send, without sending it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """
    A request to the API.

    :param method: HTTP method
    :param path: path below the connection's base URL
    :param params: query parameters; None values are left out
    :param json: body
    :param location: URL that a response gave in place of a body; the request goes there, without token and parameters
    """

    method: str
    path: str
    params: Mapping[str, str | int | None] = field(default_factory=dict)
    json: Mapping[str, object] | None = None
    location: str | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"
