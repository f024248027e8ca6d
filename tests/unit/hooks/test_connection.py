from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError
from airflow_provider_riffusion.get_provider_info import EXTRAS
from airflow_provider_riffusion.hooks.connection import ConnectionSettings

TOKEN = "user:1234-abcdef"


def settings(extra: dict[str, Any] | None = None, **fields: Any) -> ConnectionSettings:
    fields = {"password": TOKEN, **fields}
    extra_text = None if extra is None else json.dumps(extra)
    return ConnectionSettings.of(Connection(conn_id="c", conn_type="riffusion", extra=extra_text, **fields))


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({}, "https://api.useapi.net"),
        ({"host": "https://gateway.example/prefix/"}, "https://gateway.example/prefix"),
        ({"host": "gateway.example"}, "https://gateway.example"),
        ({"host": "gateway.example/prefix"}, "https://gateway.example/prefix"),
        ({"host": "gateway.example", "port": 8443}, "https://gateway.example:8443"),
        ({"host": "gateway.example:8443"}, "https://gateway.example:8443"),
        ({"host": "gateway.example:8443", "port": 8443}, "https://gateway.example:8443"),
        ({"host": "https://gateway.example", "port": 443}, "https://gateway.example"),
        ({"host": "http://127.0.0.1:8596"}, "http://127.0.0.1:8596"),
        ({"host": "localhost", "schema": "http", "port": 8596}, "http://localhost:8596"),
        ({"host": "::1", "schema": "http", "port": 8596}, "http://[::1]:8596"),
        ({"host": "http://[::1]:8596"}, "http://[::1]:8596"),
        ({"host": "HTTPS://Gateway.example", "schema": "https"}, "https://gateway.example"),
        ({"schema": "https"}, "https://api.useapi.net"),
    ],
)
def test_base_url(fields: dict[str, Any], base_url: str) -> None:
    assert settings(**fields).base_url == base_url


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"password": ""}, "password"),
        ({"password": "a b"}, "password"),
        ({"password": "a\nb"}, "password"),
        ({"password": "tökén"}, "password"),
        ({"host": "ftp://x.example"}, "host"),
        ({"host": "https://"}, "host"),
        ({"host": "https://x.example:port"}, "host"),
        ({"host": "https://x.example/?a=1"}, "host"),
        ({"host": "https://user@x.example"}, "host"),
        ({"host": "https://x y.example"}, "host"),
        ({"host": "x.example", "schema": "ftp"}, "schema"),
        ({"host": "https://x.example", "schema": "http"}, "schema"),
        ({"host": "https://x.example:1", "port": 2}, "port"),
        ({"host": "http://x.example"}, "allow_http"),
        ({"extra": {"allow_http": "maybe"}, "host": "http://x.example"}, "allow_http"),
        ({"extra": {"timeout": 0}}, "timeout"),
        ({"extra": {"timeout": -1}}, "timeout"),
        ({"extra": {"timeout": "soon"}}, "timeout"),
        ({"extra": {"timeout": "nan"}}, "timeout"),
        ({"extra": {"timeout": "inf"}}, "timeout"),
        ({"extra": {"timeout": True}}, "timeout"),
        ({"extra": {"timeout": [1]}}, "timeout"),
        ({"extra": {"low_speed_limit": "x"}}, "low_speed_limit"),
        ({"extra": {"low_speed_time": "x"}}, "low_speed_time"),
        ({"extra": {"verify": "/no/such/bundle"}}, "verify"),
        ({"extra": {"verify": 7}}, "verify"),
        ({"extra": {"user_id": ["x"]}}, "user_id"),
        ({"extra": {"proxies": 7}}, "proxies"),
        ({"extra": {"proxies": "proxy.example:3128"}}, "proxies"),
        ({"extra": {"proxies": "ftp://proxy.example"}}, "proxies"),
        ({"extra": {"proxies": "http://"}}, "proxies"),
        ({"extra": {"proxies": "http://proxy.example:port"}}, "proxies"),
        ({"extra": {"proxies": {"htps": "http://proxy.example"}}}, "proxies"),
        ({"extra": {"proxies": {"https": None}}}, "proxies"),
        ({"extra": {"proxies": '{"https"'}}, "proxies"),
        ({"extra": {"cert": "/no/such/certificate"}}, "cert"),
        ({"extra": {"cert": ["/", "/", "/"]}}, "cert"),
        ({"extra": {"cert": ["/", "/no/such/key"]}}, "cert"),
        ({"extra": {"cert": 7}}, "cert"),
        ({"extra": {"headers": "X-Key: secret-key"}}, "headers"),
        ({"extra": {"headers": {"X Key": "secret-key"}}}, "headers"),
        ({"extra": {"headers": {"X-Key": "secret-key\r\nX: y"}}}, "headers"),
        ({"extra": {"headers": {"X-Key": "schlüssel"}}}, "headers"),
        ({"extra": {"headers": {"X-Key": None}}}, "headers"),
        ({"extra": {"headers": {"": "secret-key"}}}, "headers"),
        ({"extra": {"headers": {"aUTHORIZATION": "Bearer secret-key"}}}, "Authorization"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], names: str) -> None:
    with pytest.raises(RiffusionConfigurationError, match=names) as caught:
        settings(**fields)
    assert "'c'" in str(caught.value)
    password = fields.get("password")
    assert not password or password not in str(caught.value)
    assert "secret-key" not in str(caught.value)


def test_extras_that_are_no_object() -> None:
    connection = Connection(conn_id="c", conn_type="riffusion", password=TOKEN, extra="[1]")
    with pytest.raises(RiffusionConfigurationError, match="extra"):
        ConnectionSettings.of(connection)


def test_a_secret_in_the_host_is_not_shown() -> None:
    with pytest.raises(RiffusionConfigurationError) as caught:
        settings(host="https://user:hunter2@x.example")
    assert "hunter2" not in str(caught.value)


def test_extras_that_are_no_json() -> None:
    connection = Connection(conn_id="c", conn_type="riffusion", password=TOKEN, extra="{timeout")
    with pytest.raises(RiffusionConfigurationError, match="extra"):
        ConnectionSettings.of(connection)


def test_reading_a_connection_sends_airflow_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    # Triggers read it in a thread, and the triggerer of Airflow 3.1 dies of a message that comes from one.
    told: list[object] = []
    monkeypatch.setattr("airflow.sdk.log.mask_secret", told.append)
    settings({"user_id": "user-1"})
    assert told == []


def test_extras_have_defaults_also_when_the_form_leaves_them_null() -> None:
    names = tuple(EXTRAS)
    assert settings(dict.fromkeys(names)) == settings(dict.fromkeys(names, "")) == settings()
    found = settings()
    assert (found.timeout, found.low_speed_limit, found.low_speed_time, found.verify) == (60, 1024, 60, True)
    assert found.user_id is found.storage_path is found.cert is None
    assert found.headers == found.proxies == {}


@pytest.mark.parametrize("write", [lambda value: value, json.dumps], ids=["JSON", "text of a form or URI"])
def test_what_a_gateway_needs(write: Callable[[Any], Any], tmp_path: Any) -> None:
    paths = [str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")]
    for path in paths:
        Path(path).touch()
    proxies = {"http": "http://someone:secret@proxy.example:3128", "all": "socks5h://127.0.0.1:1080"}
    extra = {"headers": {"X-Key": "secret", "X-Tenant": 7}, "cert": paths, "proxies": proxies}
    found = settings({name: write(value) for name, value in extra.items()})
    assert found.headers == {"X-Key": "secret", "X-Tenant": "7"}
    assert (found.cert, found.proxies) == (tuple(paths), proxies)
    assert found.secrets == [TOKEN, "secret", "7", "secret"]
    assert hash(found) == hash(settings({name: write(value) for name, value in extra.items()}))
    assert settings({"cert": paths[0]}).cert == paths[0]
    assert settings({"proxies": "socks5://127.0.0.1:1080"}).proxies == {"all": "socks5://127.0.0.1:1080"}


def test_extras_are_read_as_json_and_as_the_strings_of_a_uri(tmp_path: Any) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    typed = settings({"timeout": 5, "verify": False, "allow_http": True, "user_id": 17}, host="http://x.example")
    text = settings({"timeout": "5", "verify": "False", "allow_http": "1", "user_id": "17"}, host="http://x.example")
    assert typed == text
    assert (typed.timeout, typed.verify, typed.user_id) == (5.0, False, "17")
    assert settings({"verify": str(bundle)}).verify == str(bundle)
    assert settings({"verify": "true"}).verify is settings({"verify": 1}).verify is True


@pytest.mark.parametrize(
    "uri",
    [
        "riffusion://user:1234-abcdef@localhost:8596/http",
        "riffusion://:user%3A1234-abcdef@localhost:8596/http",
        "riffusion://user:1234-abcdef@http%3A%2F%2Flocalhost%3A8596",
        "riffusion://user:1234-abcdef@/?host=ignored",
    ],
)
def test_uris(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_C", uri)
    found = ConnectionSettings.of(Connection.get("c"))
    assert found.token == TOKEN
    assert found.base_url in ("http://localhost:8596", "https://api.useapi.net")


def test_spaces_around_a_pasted_token_do_not_count() -> None:
    assert settings(password=f" {TOKEN}\n").token == TOKEN


def test_the_token_shows_nowhere() -> None:
    found = settings()
    assert TOKEN not in repr(found)
    assert TOKEN not in str(found)
    assert pickle.loads(pickle.dumps(found)) == found
