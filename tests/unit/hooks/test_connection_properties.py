"""Whatever a connection says: checked settings or a named field, and no secret in a text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from airflow.sdk import Connection
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion.exceptions import (
    RiffusionConfigurationError,
    RiffusionError,
)
from airflow_provider_riffusion.hooks.connection import ConnectionSettings
from airflow_provider_riffusion.transport import urls as targets
from tests.support.strategies import TOKEN, any_text, json_values, mutated, outcome

FIELDS = re.compile(
    r"Connection 'c': (password|host|schema|port|extra|"
    r"extra (user_id|storage_path|timeout|low_speed_limit|low_speed_time|verify|allow_http|proxies|cert|headers)) is "
)


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
        "proxies": st.sampled_from(
            [{"https": "http://x:y@proxy.example:1"}, "socks5://[::1]:1", "{}", "http://[", None]
        ),
        "cert": st.sampled_from(["/", ["/", "/"], '["/", "/"]', None, "x" * 5000, "\0"]),
        "headers": st.sampled_from([{"X-Key": "y"}, '{"X-Key": 1}', {"Authorization": TOKEN}, TOKEN, None]),
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
    assert scheme == "https" or (scheme == "http" and (targets.is_this_machine(own_host) or extra.get("allow_http")))
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
