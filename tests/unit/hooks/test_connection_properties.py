"""Whatever a connection says and wherever a reply leads: checked settings or a named field, and no secret in a text."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import urllib3
from airflow.sdk import Connection
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion import exceptions
from airflow_provider_riffusion.exceptions import (
    RiffusionApiError,
    RiffusionConfigurationError,
    RiffusionConnectionError,
    RiffusionDownloadError,
    RiffusionError,
)
from airflow_provider_riffusion.hooks.connection import ConnectionSettings, is_loopback
from airflow_provider_riffusion.transport import urls as targets
from airflow_provider_riffusion.transport.client import Client
from airflow_provider_riffusion.transport.request import Request
from tests.support.strategies import TOKEN, any_text, check_error, json_values, mutated, outcome

SIGNATURE = "s3cr3t-signature"
FIELDS = re.compile(
    r"Connection 'c': (password|host|schema|port|extra|"
    r"extra (user_id|storage_path|timeout|low_speed_limit|low_speed_time|verify|allow_http)) is "
)


@pytest.fixture(autouse=True, scope="module")
def no_network() -> Iterator[None]:
    """Nothing is resolved and so nothing is connected to; the name is encoded as the real function does it."""

    def getaddrinfo(host: str, *_: object, **__: object) -> list[Any]:
        host.encode("idna")
        raise socket.gaierror("no network in this test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


# --- connections

extras = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.sampled_from(["user-1", 17, "", None]),
        "storage_path": st.sampled_from(["/data/songs", "s3://bucket/songs", None]),
        "timeout": st.sampled_from([5, "5", 0.5, None]),
        "low_speed_limit": st.sampled_from([1024, "1", None]),
        "low_speed_time": st.sampled_from([60, "1e3", None]),
        "verify": st.sampled_from([True, "false", 1, "/", None, "x" * 5000]),
        "allow_http": st.sampled_from([True, "true", 0, None]),
    },
)
names = st.sampled_from(
    [
        "api.useapi.net",
        "Gateway.example",
        "localhost",
        "127.0.0.1",
        "::1",
        "[::1]",
        "ä.example",
        "x" * 300,
        "0",
        "a:b:c",
    ]
)
ports = st.sampled_from(["", ":8443", ":443", ":80", ":0", ":65536", ":port", ":"])
user_infos = st.sampled_from(["", "", "", f"{TOKEN}@", "user@", "@"])
paths = st.sampled_from(
    ["", "/", "/prefix/", "//", "/a b", "/?key=1", f"/?{TOKEN}", "#f", "\\", "/\0", "/\x1b[2J", "/é", "(/"]
)
schemes = st.sampled_from(["", "https://", "http://", "HTTP://", "ftp://", "(x)://", "://"])
hosts = st.builds("".join, st.tuples(schemes, user_infos, names, ports, paths)) | any_text | st.none()


def connection(extra: Any, **fields: Any) -> Connection:
    return Connection(conn_id="c", conn_type="riffusion", extra=json.dumps(extra), **{"password": TOKEN, **fields})


@given(
    extra=mutated(extras) | json_values,
    host=hosts,
    schema=st.sampled_from([None, "", "http", "https", " HTTPS ", "ftp"]) | any_text,
    port=st.sampled_from([None, 0, 80, 443, 8443, 65535, 65536, -1]),
)
@example(extra={}, host="x.example", schema=None, port=99_999)
@example(extra={}, host=f"https://{TOKEN}@x:port", schema=None, port=None)
@example(extra={}, host=f"ftp://x/?{TOKEN}", schema=None, port=None)
@example(extra={}, host="x.ex\0ample", schema=None, port=None)
@example(extra={"timeout": TOKEN}, host=None, schema=None, port=None)
@example(extra={"timeout": "(" + "x" * 5000}, host=None, schema=None, port=None)
@example(extra={"verify": "x" * 5000}, host=None, schema=None, port=None)
@example(extra={"user_id": "a\nb"}, host=None, schema=None, port=None)
def test_a_connection_is_read_or_its_wrong_field_is_named(
    extra: Any, host: str | None, schema: str | None, port: int | None
) -> None:
    found = outcome(lambda: ConnectionSettings.of(connection(extra, host=host, schema=schema, port=port)))
    assert TOKEN not in str(found)
    assert TOKEN not in repr(found)
    if isinstance(found, RiffusionError):
        assert type(found) is RiffusionConfigurationError
        assert FIELDS.match(str(found))
        return
    assert not set(host or "") & set("@?#"), "dropped without a word"
    scheme, own_host, own_port = targets.origin_of(found.base_url)
    assert scheme == "https" or (scheme == "http" and (is_loopback(own_host) or extra.get("allow_http")))
    assert own_host
    assert own_port is not None
    assert 0 < own_port < 65536
    assert found.base_url.isprintable()
    assert not found.base_url.endswith("/")
    assert found.user_id is None or (found.user_id.isprintable() and 0 < len(found.user_id) <= 1024)
    for number in (found.timeout, found.low_speed_limit, found.low_speed_time):
        assert 0 < number < 1e9
    assert isinstance(found.verify, bool) or Path(found.verify).exists()
    again = ConnectionSettings.of(connection(extra, host=found.base_url))
    assert again == found


@given(login=any_text | st.none(), password=any_text | st.none() | st.just(f" {TOKEN} "))
def test_a_token_is_read_or_its_field_is_named_and_never_shown(login: str | None, password: str | None) -> None:
    found = outcome(lambda: ConnectionSettings.of(connection({}, login=login, password=password)))
    if isinstance(found, ConnectionSettings):
        assert found.token == (f"{login}:{password or ''}" if login else password or "").strip()
        assert re.fullmatch(r"[\x21-\x7e]+", found.token)
    else:
        assert str(found).startswith("Connection 'c': password is (")


# --- the token in texts

tokens = (
    st.just(TOKEN)
    | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=12)
    | st.text("*ab%:", min_size=8, max_size=12)
)


def forms_of(token: str) -> list[str]:
    quoted = quote(token, safe="")
    return [token, quoted, re.sub("%..", lambda match: match[0].lower(), quoted)]


@st.composite
def echoes(draw: st.DrawFn) -> tuple[str, str]:
    """A token, and a text that holds it or parts of it, one behind the other."""
    token = draw(tokens)
    forms = forms_of(token)
    parts = st.sampled_from([*forms, token[:4], token[4:], forms[1][:5], forms[1][5:], "***", "*", "%"])
    text = "".join(draw(st.lists(parts | st.text(st.characters(codec="utf-8"), max_size=5), max_size=6)))
    return token, text


@given(echo=echoes())
@example(echo=("ab***cde", "ab" + "ab***cde" + "cde"))
@example(echo=(TOKEN, "cookie=user%3a1234-abcdef"))
@example(echo=("abababab", "ababababababab"))
def test_a_hidden_token_is_in_no_text(echo: tuple[str, str]) -> None:
    token, text = echo
    settings = ConnectionSettings(base_url="https://api.useapi.net", token=token)
    hidden = settings.hide_token(text)
    for form in forms_of(token):
        assert form not in hidden
    assert settings.hide_token(hidden) == hidden
    assert settings.hide_token(text.encode()).decode() == hidden
    if not any(form in text for form in forms_of(token)):
        assert hidden == text


@given(echo=echoes(), error_class=st.sampled_from([RiffusionApiError, exceptions.RiffusionPendingError]))
def test_a_hidden_token_is_in_no_part_of_an_error(echo: tuple[str, str], error_class: type[RiffusionApiError]) -> None:
    token, text = echo
    error = error_class(text, http_status=400, code=text, api_message=text, request=text, retry_after=1.0)
    ConnectionSettings(base_url="https://api.useapi.net", token=token).hide_token_in(error)
    for part in (str(error), *map(str, vars(error).values())):
        assert not any(form in part for form in forms_of(token))
    assert (error.http_status, error.retry_after) == (400, 1.0)


# --- URLs that came from a reply

url_hosts = names | st.sampled_from(
    ["", ".x", "%00", "a%2Fb", "[::1", "[v1.x]", "x\\@y", "ⓧ.example", "\ud800", "1.2.3.4.5"]
)
queries = st.sampled_from(["", f"?sig={SIGNATURE}", f"?a=1#{SIGNATURE}", f";a?sig={SIGNATURE}", "?"])
secret_users = st.sampled_from(["", "", f"{SIGNATURE}@", f"user:{SIGNATURE}@", f"a@b:{SIGNATURE}@"])
urls = (
    st.builds(
        "".join,
        st.tuples(
            schemes, secret_users, url_hosts, ports, paths.filter(lambda path: TOKEN not in path) | any_text, queries
        ),
    )
    | any_text
)
OWN = ("https", "api.useapi.net", 443)
OWN_LOCAL = ("http", "127.0.0.1", 8596)


def prepared(url: str) -> str | None:
    """The URL as it is connected to; None when requests refuses it."""
    try:
        return requests.Request("GET", url).prepare().url
    except requests.RequestException:
        return None


@given(url=urls, own=st.sampled_from([OWN, OWN_LOCAL]))
@example(url="https://a\\@b/", own=OWN)
@example(url="https://a%2FbA", own=OWN)
def test_a_url_is_refused_or_has_one_meaning(url: str, own: targets.Origin) -> None:
    found = outcome(lambda: targets.check_url(url, own))
    if found is not None:
        assert type(found) is RiffusionDownloadError
        assert SIGNATURE not in str(found)
        return
    scheme, host, port = targets.origin_of(url)
    assert scheme in ("http", "https")
    assert (own[0], scheme) != ("https", "http")
    if (real := prepared(url)) is not None:
        if host.isascii():
            # Escapes come in either case.
            real_scheme, real_host, real_port = targets.origin_of(real)
            assert (real_scheme, real_host.lower(), real_port) == (scheme, host.lower(), port)
            assert str(urllib3.util.parse_url(real).host).strip("[]").lower() == host.lower()
        refused = outcome(lambda: targets.check_address(real, own))
        assert refused is None or type(refused) is RiffusionDownloadError


@given(url=urls)
@example(url=f"https://x/\x1b[2J?sig={SIGNATURE}")
@example(url=f"https://x/\ud800?sig={SIGNATURE}")
def test_a_shown_url_fits_into_a_log_and_holds_no_secret(url: str) -> None:
    text = targets.shown(url)
    assert SIGNATURE not in text
    assert text.isprintable()
    assert len(text) <= 200


@given(url=urls, location=urls)
def test_any_location_is_joined(url: str, location: str) -> None:
    found = outcome(lambda: targets.check_url(targets.joined(url, location), OWN))
    assert found is None or type(found) is RiffusionDownloadError
    assert targets.origin_of(targets.joined("https://files.example:8443/a/b?c", "/d")) == (
        "https",
        "files.example",
        8443,
    )


@given(url=urls)
@example(url="https://h:99999/")
@example(url=f"https://\ud800/{SIGNATURE[:0]}")
def test_any_url_is_fetched_or_is_a_documented_error(url: str) -> None:
    client = Client(ConnectionSettings(base_url="https://api.useapi.net", token=TOKEN))
    with pytest.raises((RiffusionDownloadError, RiffusionConnectionError)) as caught:
        client.get(Request("GET", "/", location=url), lambda response: None, attempts=1)
    check_error(caught.value)
    assert SIGNATURE not in str(caught.value)
