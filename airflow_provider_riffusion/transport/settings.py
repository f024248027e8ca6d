"""Where an HTTP client sends requests, with which token, and how patiently."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import AnyStr
from urllib.parse import quote

from airflow_provider_riffusion.exceptions import RiffusionError

#: A shorter token, which only a test server takes, would also be found in innocent words.
_SHORTEST_SECRET_CHARS = 8
_MAX_ERROR_CHARS = 1500


@dataclass(frozen=True, kw_only=True)
class TransportSettings:
    """
    The settings of an HTTP client.

    :param base_url: scheme, host, port and path prefix, without a slash at the end
    :param token: API token; shown nowhere
    :param timeout: seconds, for connecting and for each read
    :param low_speed_limit: bytes per second, as in curl
    :param low_speed_time: seconds below ``low_speed_limit`` after which a transfer is aborted, as in curl
    :param verify: whether TLS certificates are checked, or the path of a CA bundle to check them with
    """

    base_url: str
    token: str = field(repr=False)
    timeout: float = 60.0
    low_speed_limit: float = 1024.0
    low_speed_time: float = 60.0
    verify: bool | str = True

    def holds_token(self, text: str) -> bool:
        """Return whether a text quotes the token."""
        return self.hide_token(text) != text

    def hide_token(self, content: AnyStr) -> AnyStr:
        """Replace the token in what a server sent; one that echoes requests must not get it into an error or XCom."""
        if len(self.token) < _SHORTEST_SECRET_CHARS:
            return content
        quoted = quote(self.token, safe="")
        # Escapes may be upper or lower case. Replace the plain token last, and repeat: removing one match can join two
        # halves into another.
        for form in (quoted, re.sub("%..", lambda escape: escape[0].lower(), quoted), self.token):
            if isinstance(content, bytes):
                while form.encode() in content:
                    content = content.replace(form.encode(), b"***")
            else:
                while form in content:
                    content = content.replace(form, "***")
        return content

    def hide_token_in(self, error: RiffusionError) -> None:
        """Replace the token in an error's message and fields, and cut long texts afterwards."""
        error.args = tuple(self._clean(arg) for arg in error.args)
        vars(error).update({name: self._clean(value) for name, value in vars(error).items()})

    def _clean(self, value: object) -> object:
        return self.hide_token(value)[:_MAX_ERROR_CHARS] if isinstance(value, str) else value
