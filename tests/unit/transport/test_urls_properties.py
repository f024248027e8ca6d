"""Wherever a response leads: a URL with one meaning, or a documented error without a secret."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import urllib3
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion.exceptions import (
    RiffusionConnectionError,
    RiffusionDownloadError,
)
from airflow_provider_riffusion.hooks.connection import ConnectionSettings
from airflow_provider_riffusion.transport import urls as targets
from airflow_provider_riffusion.transport.client import Client
from airflow_provider_riffusion.transport.request import Request
from tests.support.strategies import TOKEN, any_text, check_error, outcome
from tests.unit.hooks.test_connection_properties import names, paths, ports, schemes

SIGNATURE = "s3cr3t-signature"


@pytest.fixture(autouse=True, scope="module")
def no_network() -> Iterator[None]:
    """Nothing is resolved and so nothing is connected to; the name is encoded as the real function does it."""

    def getaddrinfo(host: str, *_: object, **__: object) -> list[Any]:
        host.encode("idna")
        raise socket.gaierror("no network in this test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


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
