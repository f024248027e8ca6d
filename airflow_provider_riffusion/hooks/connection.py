"""Read an Airflow connection of type ``riffusion`` into checked settings."""

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

from airflow.sdk import Connection

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError
from airflow_provider_riffusion.get_provider_info import EXTRAS
from airflow_provider_riffusion.parameters import Rule, boolean, is_line, positive, rule, text, wrong
from airflow_provider_riffusion.safe_text import printable, shown_value
from airflow_provider_riffusion.transport.settings import TransportSettings
from airflow_provider_riffusion.transport.urls import is_this_machine

log = logging.getLogger(__name__)

DEFAULT_BASE_URL = "https://api.useapi.net"

_DEFAULT_PORTS = {"https": 443, "http": 80}
_TOKEN = re.compile(r"[\x21-\x7e]+")
_PROXIED = re.compile(r"(https?|all)(://[^/]+)?")
_PROXY = re.compile(r"(https?|socks4a?|socks5h?)://([^\s/@]+@)?(\[[\da-fA-F:.]+\]|[^\s/@:\[\]]+)(:\d{1,5})?/?")
_HEADER_NAME = re.compile(r"(?!authorization$)[!#$%&'*+.^_`|~\w-]+", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings(TransportSettings):
    """
    The settings of a connection.

    :param user_id: account for requests that name none
    :param storage_path: default folder for downloads
    :param warning: what is odd about the connection, and empty when nothing is
    """

    user_id: str | None = None
    storage_path: str | None = None
    warning: str = ""

    @classmethod
    def of(cls, connection: Connection) -> Self:
        """
        Read an Airflow connection, written as URI, as JSON or in the form.

        :param connection: the connection
        :raises RiffusionConfigurationError: a field is wrong; the message names it
        """
        password = connection.password or ""
        # A token holds a colon, where a connection URI splits it into login and password.
        token = (f"{connection.login}:{password}" if connection.login else password).strip()
        # Airflow 3.1: extra_dejson also tells Airflow's masker what it read, and from a thread, which triggers use,
        # that message ends the whole triggerer. No extra is a secret, so that the masker need not know them.
        try:
            extras = json.loads(connection.extra or "{}")
        except (ValueError, RecursionError):
            extras = None
        reader = _Reader(connection, extras, token)
        if not isinstance(extras, dict):
            raise reader.wrong("extra", extras, "it must be a JSON object")
        if not _TOKEN.fullmatch(token):
            remedy = "put the useapi.net API token there, without spaces or line breaks"
            raise reader.wrong("password", token, remedy, shown="(hidden)" if token else "(empty)")
        base_url = _base_url(reader)
        names = (name for name in _RULES if name != "allow_http")
        found = {name: value for name in names if (value := reader.checked(name)) is not None}
        settings = cls(base_url=base_url, token=token, **found)
        # The names are shown, and a user may have written a secret there, too.
        unknown = settings.hide_token(", ".join(sorted(extras.keys() - EXTRAS)))
        if unknown:
            unknown = f"extras that are unknown and have no effect: {printable(unknown, 200)}"
            log.warning("Connection %r: %s", connection.conn_id, unknown)
        return replace(settings, warning=unknown)


@dataclass(frozen=True)
class _Reader:
    """Reads extras, which are strings when they come from a URI, and null or empty when the form left them empty."""

    connection: Connection = field(repr=False)
    extras: Mapping[str, Any]
    token: str = field(repr=False)

    def checked(self, name: str) -> Any:
        value = self.extras.get(name)
        value = value.strip() if isinstance(value, str) else value
        if value is None or value == "":
            return None
        shown = (lambda _: "(hidden)") if name in ("proxies", "headers") else self._shown
        return _RULES[name].check(f"Connection {self.connection.conn_id!r}: extra {name}", value, shown)

    def wrong(self, name: str, value: object, remedy: str, *, shown: str | None = None) -> RiffusionConfigurationError:
        return wrong(f"Connection {self.connection.conn_id!r}: {name}", shown or self._shown(value), remedy)

    def _shown(self, value: object) -> str:
        # A user who writes the token into the wrong field must not read it in a log.
        settings = TransportSettings(base_url="", token=self.token)
        return "(hidden)" if settings.holds_secret(str(value)) else shown_value(value)


def _boolean(value: Any) -> bool:
    # People write 1 and 0 in JSON and in a URI, where every value is text.
    return boolean({"1": True, "0": False}.get(str(value), value))


def _boolean_or_path(value: Any) -> bool | str:
    if not isinstance(value, str) or value.lower() in ("true", "1", "false", "0"):
        return _boolean(value)
    return _path(value)


def _parsed(value: Any, opening: str) -> Any:
    """Parse JSON that is written as text, in a URI or in the form."""
    return json.loads(value) if isinstance(value, str) and value.startswith(opening) else value


def _path(value: Any) -> str:
    # Path.exists() raises for a name that is too long.
    if not isinstance(value, str) or not os.path.exists(value):  # noqa: PTH110  # see above
        raise ValueError
    return value


def _certificate(value: Any) -> str | tuple[str, str]:
    parts = _parsed(value, "[")
    if isinstance(parts, str):
        return _path(parts)
    certificate, key = parts
    return _path(certificate), _path(key)


def _proxies(value: Any) -> dict[str, str]:
    proxies = _parsed(value, "{")
    proxies = {"all": proxies} if isinstance(proxies, str) else dict(proxies)
    if not all(_PROXIED.fullmatch(scheme) and _PROXY.fullmatch(url) for scheme, url in proxies.items()):
        raise ValueError
    return proxies


def _headers(value: Any) -> dict[str, str]:
    headers = {name: _LINE.convert(text(content).strip()) for name, content in dict(_parsed(value, "{")).items()}
    if not all(_HEADER_NAME.fullmatch(name) and content.isascii() for name, content in headers.items()):
        raise ValueError
    return headers


_LINE = rule(is_line, "it must be one line of text")
_POSITIVE = Rule(positive, "it must be a number above 0")
#: By the name of the extra, which is that of the setting.
_RULES = {
    "user_id": _LINE,
    "storage_path": Rule(text, "it must be text"),
    **dict.fromkeys(("timeout", "low_speed_limit", "low_speed_time"), _POSITIVE),
    "verify": Rule(_boolean_or_path, "it must be true, false or the path of a CA bundle that exists"),
    "allow_http": Rule(_boolean, "it must be true or false"),
    "proxies": Rule(_proxies, 'it must be a URL, or an object of URLs such as {"https": "socks5h://127.0.0.1:1080"}'),
    "cert": Rule(_certificate, "it must be the path of a client certificate, or the list of its path and its key's"),
    "headers": Rule(_headers, "it must be an object of names and values, without Authorization, which the token takes"),
}


def _base_url(reader: _Reader) -> str:
    connection = reader.connection
    schema = (connection.schema or "").strip().lower()
    if schema not in ("", *_DEFAULT_PORTS):
        raise reader.wrong("schema", connection.schema, "it must be http, https or empty")
    url = _host_url(reader, schema)
    if schema and schema != url.scheme:
        raise reader.wrong("schema", connection.schema, f"the host says {url.scheme}; leave one of them out")
    host = url.hostname or ""
    if url.scheme == "http" and not is_this_machine(host) and not reader.checked("allow_http"):
        remedy = 'plain http would send the token unencrypted; use https, or set the extra "allow_http"'
        raise reader.wrong("host", connection.host, remedy)
    port = _port(reader, url)
    bracketed = f"[{host}]" if ":" in host else host
    authority = bracketed if port in (None, _DEFAULT_PORTS[url.scheme]) else f"{bracketed}:{port}"
    return f"{url.scheme}://{authority}{url.path.rstrip('/')}"


def _host_url(reader: _Reader, schema: str) -> SplitResult:
    written = (reader.connection.host or "").strip() or DEFAULT_BASE_URL
    if "://" not in written:
        is_bare_ipv6 = written.count(":") > 1 and not written.startswith("[")
        written = f"{schema or 'https'}://{f'[{written}]' if is_bare_ipv6 else written}"
    if re.search("[@?#]", written):
        remedy = "it must hold no user, query or fragment; the token is the password"
        raise reader.wrong("host", written, remedy, shown="(hidden)")
    try:
        url = urlsplit(written)
        # Reading a port that is no number raises ValueError.
        host, _ = url.hostname, url.port
    except ValueError:
        raise reader.wrong("host", reader.connection.host, "it must be a URL such as https://api.useapi.net") from None
    if url.scheme not in _DEFAULT_PORTS or not host or re.search(r"[\s\\]", written) or not written.isprintable():
        raise reader.wrong("host", reader.connection.host, "it must be a host name or an http(s) URL")
    return url


def _port(reader: _Reader, url: SplitResult) -> int | None:
    # Airflow's form stores 0 for an empty port.
    stored = int(reader.connection.port or 0)
    if url.port and stored not in (0, url.port):
        raise reader.wrong("port", stored, f"the host names port {url.port}; leave one of them out")
    if not 0 <= stored < 65536:
        raise reader.wrong("port", stored, "it must be a number from 1 to 65535")
    return url.port or stored or None
