"""What an Airflow connection of type ``riffusion`` says, checked and with its defaults filled in."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, AnyStr
from urllib.parse import quote, urlsplit

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError, RiffusionError
from airflow_provider_riffusion.safe_text import shown_value
from airflow_provider_riffusion.useapi.riffusion.responses import DEFAULT_BASE_URL

if TYPE_CHECKING:
    from airflow.sdk import Connection

_TOKEN = re.compile(r"[\x21-\x7e]+")
#: A shorter one, which only a stand-in server takes, would also be found in innocent words.
_SHORTEST_SECRET = 8
#: Characters of an error.
_MAX_TEXT = 1500
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class ConnectionSettings:
    """
    The settings of a connection.

    :param base_url: scheme, host, port and path prefix, without a slash at the end
    :param token: API token; shown nowhere
    :param user_id: account for requests that name none
    :param storage_path: default folder for downloads
    :param timeout: seconds, for connecting and for each read
    :param low_speed_limit: bytes per second, as in curl
    :param low_speed_time: seconds below ``low_speed_limit`` after which a transfer is broken off, as in curl
    :param verify: whether TLS certificates are checked, or the path of a CA bundle to check them with
    """

    base_url: str
    token: str = field(repr=False)
    user_id: str | None = None
    storage_path: str | None = None
    timeout: float = 60.0
    low_speed_limit: float = 1024.0
    low_speed_time: float = 60.0
    verify: bool | str = True

    @classmethod
    def of(cls, connection: Connection) -> ConnectionSettings:
        """
        Read an Airflow connection, written as URI, as JSON or in the form.

        :param connection: the connection
        :raises RiffusionConfigurationError: a field is wrong; the message names it
        """
        password = connection.password or ""
        # A token holds a colon, so that a connection URI takes it apart.
        token = f"{connection.login}:{password}" if connection.login else password
        token = token.strip()
        reader = _Reader(connection.conn_id, _extras_of(connection), token)
        if not isinstance(reader.extras, dict):
            raise reader.error("extra", reader.extras, "it must be a JSON object")
        if not _TOKEN.fullmatch(token):
            raise reader.error(
                "password",
                token,
                "put the useapi.net API token there, without spaces or line breaks",
                shown="(hidden)" if token else "(empty)",
            )
        defaults = cls(base_url="", token="")
        return cls(
            base_url=_base_url(connection, reader),
            token=token,
            user_id=reader.line("user_id"),
            storage_path=reader.text("storage_path"),
            timeout=reader.positive("timeout", defaults.timeout),
            low_speed_limit=reader.positive("low_speed_limit", defaults.low_speed_limit),
            low_speed_time=reader.positive("low_speed_time", defaults.low_speed_time),
            verify=reader.boolean_or_path("verify", default=defaults.verify),
        )

    def hide_token(self, content: AnyStr) -> AnyStr:
        """Take the token out of what a server sent: one that echoes requests must not get it into an error or XCom."""
        if len(self.token) < _SHORTEST_SECRET:
            return content
        quoted = quote(self.token, safe="")
        # Escapes come in either case. The token itself last, and again where "***" has closed a gap in one.
        for form in (quoted, re.sub("%..", lambda escape: escape[0].lower(), quoted), self.token):
            if isinstance(content, bytes):
                while form.encode() in content:
                    content = content.replace(form.encode(), b"***")
            else:
                while form in content:
                    content = content.replace(form, "***")
        return content

    def hide_token_in(self, error: RiffusionError) -> None:
        """Take the token out of an error's message and fields, and cut what is long then."""
        error.args = tuple(self.hide_token(arg)[:_MAX_TEXT] if isinstance(arg, str) else arg for arg in error.args)
        for name, value in vars(error).items():
            if isinstance(value, str):
                setattr(error, name, self.hide_token(value)[:_MAX_TEXT])


@dataclass(frozen=True)
class _Reader:
    """Reads the extras, which are strings when they come from a URI and null when the form left them empty."""

    conn_id: str
    extras: Mapping[str, Any]
    token: str = field(repr=False)

    def error(self, name: str, value: object, remedy: str, *, shown: str | None = None) -> RiffusionConfigurationError:
        if shown is None:
            # Whoever writes the token into the wrong field must not read it in a log.
            has_token = len(self.token) >= _SHORTEST_SECRET and self.token in str(value)
            shown = "(hidden)" if has_token else shown_value(value)
        return RiffusionConfigurationError(f"Connection {self.conn_id!r}: {name} is {shown}; {remedy}.")

    def text(self, name: str) -> str | None:
        value = self.extras.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.error(f"extra {name}", value, "it must be text")
        return str(value).strip() or None

    def line(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and (len(value) > 1024 or not value.isprintable()):
            raise self.error(f"extra {name}", value, "it must be one line of text")
        return value

    def positive(self, name: str, default: float) -> float:
        value = self.extras.get(name)
        if value is None or value == "":
            return default
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not 0 < number < 1e9:
            raise self.error(f"extra {name}", value, "it must be a number above 0")
        return number

    def boolean(self, name: str) -> bool:
        value = self._boolean_or_other(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.error(f"extra {name}", value, "it must be true or false")
        return value

    def boolean_or_path(self, name: str, *, default: bool | str) -> bool | str:
        value = self._boolean_or_other(name)
        if value is None:
            return default
        if isinstance(value, bool) or (isinstance(value, str) and _exists(value)):
            return value
        raise self.error(f"extra {name}", value, "it must be true, false or the path of a CA bundle that exists")

    def _boolean_or_other(self, name: str) -> object:
        value = self.extras.get(name)
        if isinstance(value, int) and value in (0, 1):
            return bool(value)
        if isinstance(value, str):
            return {"": None, "true": True, "1": True, "false": False, "0": False}.get(value.strip().lower(), value)
        return value


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        # Such as a name that is too long.
        return False


def _extras_of(connection: Connection) -> Any:
    # Not extra_dejson: that also tells Airflow's masker what it read, and from a thread, as triggers have them, such a
    # message kills the triggerer of Airflow 3.1. No extra of ours is a secret.
    try:
        return json.loads(connection.extra or "{}")
    except (ValueError, RecursionError):
        return None


def is_loopback(host: str) -> bool:
    """Tell whether a host name or literal address is this machine itself, without asking a name server."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _base_url(connection: Connection, reader: _Reader) -> str:
    written = (connection.host or "").strip() or DEFAULT_BASE_URL
    schema = (connection.schema or "").strip().lower()
    if schema not in ("", *_DEFAULT_PORTS):
        raise reader.error("schema", connection.schema, "it must be http, https or empty")
    if "://" not in written:
        is_bare_ipv6 = written.count(":") > 1 and not written.startswith("[")
        written = f"{schema or 'https'}://{f'[{written}]' if is_bare_ipv6 else written}"
    if re.search("[@?#]", written):
        remedy = "it must hold no user, query or fragment; the token is the password"
        raise reader.error("host", connection.host, remedy, shown="(hidden)")
    try:
        url = urlsplit(written)
        host, port = url.hostname, url.port
    except ValueError:
        raise reader.error("host", connection.host, "it must be a URL such as https://api.useapi.net") from None
    if url.scheme not in _DEFAULT_PORTS or not host or re.search(r"[\s\\]", written) or not written.isprintable():
        raise reader.error("host", connection.host, "it must be a host name or an http(s) URL")
    if schema and schema != url.scheme:
        raise reader.error("schema", connection.schema, f"the host says {url.scheme}; leave one of them out")
    if port is not None and connection.port and int(connection.port) != port:
        raise reader.error("port", connection.port, f"the host names port {port}; leave one of them out")
    if url.scheme == "http" and not is_loopback(host) and not reader.boolean("allow_http"):
        raise reader.error(
            "host",
            connection.host,
            'plain http would send the token unencrypted; use https, or set the extra "allow_http"',
        )
    port = port or connection.port
    if port and not 0 < int(port) < 65536:
        raise reader.error("port", port, "it must be a number from 1 to 65535")
    bracketed = f"[{host}]" if ":" in host else host
    authority = f"{bracketed}:{port}" if port and int(port) != _DEFAULT_PORTS[url.scheme] else bracketed
    return f"{url.scheme}://{authority}{url.path.rstrip('/')}"
