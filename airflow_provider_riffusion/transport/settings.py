"""Where an HTTP client sends requests, with which token, and how patiently."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, AnyStr
from urllib.parse import quote, unquote, urlsplit

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
    :param proxies: proxy by scheme, as requests takes them; without one those of the environment are used
    :param cert: path of a client certificate, or of a certificate and of its key, for the own origin
    :param headers: more headers for the own origin; their values are shown nowhere
    """

    base_url: str
    token: str = field(repr=False)
    timeout: float = 60.0
    low_speed_limit: float = 1024.0
    low_speed_time: float = 60.0
    verify: bool | str = True
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    cert: str | tuple[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)

    @cached_property
    def secrets(self) -> list[str]:
        """The token, the values of the headers, and the passwords of the proxies."""
        passwords = [unquote(urlsplit(proxy).password or "") for proxy in self.proxies.values()]
        return [secret for secret in (self.token, *self.headers.values(), *passwords) if secret]

    @cached_property
    def _hidden(self) -> list[str]:
        plain = [secret for secret in self.secrets if len(secret) >= _SHORTEST_SECRET_CHARS]
        quoted = [quote(secret, safe="") for secret in plain]
        # Escapes may be upper or lower case.
        lower = [re.sub("%..", lambda escape: escape[0].lower(), form) for form in quoted]
        # The longest first, because one secret may be a part of another.
        return sorted({*quoted, *lower, *plain}, key=len, reverse=True)

    def holds_secret(self, text: str) -> bool:
        """Return whether a text quotes the token or another secret."""
        return self.hide_token(text) != text

    def hide_token(self, content: AnyStr) -> AnyStr:
        """Replace secrets in what a server sent; one that echoes requests must not get them into an error or XCom."""
        forms: list[Any] = [form.encode() for form in self._hidden] if isinstance(content, bytes) else self._hidden
        # Until none is left, because removing one match can join two halves into another.
        while found := next((form for form in forms if form in content), None):
            content = content.replace(found, b"***" if isinstance(content, bytes) else "***")
        return content

    def hide_token_in(self, error: RiffusionError) -> None:
        """Replace the token in an error's message and fields, and cut long texts afterwards."""
        error.args = tuple(self._clean(arg) for arg in error.args)
        vars(error).update({name: self._clean(value) for name, value in vars(error).items()})

    def _clean(self, value: object) -> object:
        return self.hide_token(value)[:_MAX_ERROR_CHARS] if isinstance(value, str) else value
