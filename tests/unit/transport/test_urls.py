from __future__ import annotations

import socket

import pytest

from airflow_provider_riffusion.exceptions import (
    RiffusionDownloadError,
)
from airflow_provider_riffusion.transport import urls as targets


def judge(target: str, base_url: str) -> None:
    own = targets.origin_of(base_url)
    targets.check_url(target, own)
    targets.check_address(target, own)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Names and the addresses that they resolve to."""
    names: dict[str, str] = {}

    def getaddrinfo(host: str, *_: object, **__: object) -> list[object]:
        if host not in names:
            raise socket.gaierror(-2, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (names[host], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return names


@pytest.mark.parametrize(
    ("base_url", "target", "address", "refused"),
    [
        ("https://api.example", "https://files.example/x", "203.0.113.5", None),
        ("https://api.example", "https://files.example/x", "10.0.0.5", None),
        ("https://api.example", "https://unknown.example/x", None, None),
        ("https://api.example", "https://files.example/x", "127.0.0.1", "address of this machine"),
        ("https://api.example", "https://files.example/x", "0.0.0.0", "address of this machine"),
        ("https://api.example", "https://files.example/x", "::1", "address of this machine"),
        ("https://api.example", "https://files.example/x", "169.254.169.254", "link-local"),
        ("https://api.example", "https://files.example/x", "fe80::1%eth0", "link-local"),
        ("https://api.example", "https://files.example/x", "::ffff:169.254.169.254", "link-local"),
        ("https://api.example", "http://files.example/x", "203.0.113.5", "must not go on as http"),
        ("http://localhost:1", "http://files.example/x", "127.0.0.1", None),
        ("http://localhost:1", "http://files.example/x", "169.254.169.254", "link-local"),
    ],
)
def test_targets_are_judged_by_what_they_resolve_to(
    resolver: dict[str, str], base_url: str, target: str, address: str | None, refused: str | None
) -> None:
    resolver.update({"api.example": "203.0.113.1", "localhost": "127.0.0.1"})
    if address:
        resolver["files.example"] = address
    if refused is None:
        judge(target, base_url)
    else:
        with pytest.raises(RiffusionDownloadError, match=refused):
            judge(target, base_url)
