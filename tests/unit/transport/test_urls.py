from __future__ import annotations

import socket
from typing import Any

import pytest

from airflow_provider_riffusion.exceptions import (
    RiffusionDownloadError,
)
from airflow_provider_riffusion.transport import urls as targets


def judge(target: str, base_url: str, address: str | None) -> None:
    own = targets.origin_of(base_url)
    targets.check_url(target, own)
    targets.check_address(target, own)
    targets.check_address(target, own, address)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Names and the addresses that they resolve to."""
    names: dict[str, str] = {}

    real = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, flags: int = 0, **options: Any) -> list[Any]:
        if flags & socket.AI_NUMERICHOST:
            return real(host, None, flags=flags)
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
        ("https://api.example", "https://files.example/x", "fd00:ec2::254", "metadata service"),
        ("https://api.example", "https://files.example/x", "fd00:ec2::23", "metadata service"),
        ("https://api.example", "https://files.example/x", "168.63.129.16", "metadata service"),
        ("https://api.example", "https://files.example/x", "::ffff:168.63.129.16", "metadata service"),
        ("https://api.example", "https://files.example/x", "100.100.100.200", "metadata service"),
        ("https://api.example", "https://files.example/x", "192.0.0.192", "metadata service"),
        ("https://api.example", "https://[fd00:ec2::254]/x", None, "metadata service"),
        ("https://api.example", "https://[::ffff:100.100.100.200]/x", None, "metadata service"),
        ("https://api.example", "https://1684301000/x", None, "metadata service"),
        ("https://api.example", "https://0x7f.1/x", None, "address of this machine"),
        ("https://api.example", "https://localhost/x", "127.0.0.1", "address of this machine"),
        ("https://api.example", "http://files.example/x", "203.0.113.5", "must not go on as http"),
        ("http://localhost:1", "http://files.example/x", "127.0.0.1", None),
        ("http://localhost:1", "http://files.example/x", "169.254.169.254", "link-local"),
    ],
)
def test_targets_are_judged_by_what_they_spell_and_by_what_was_connected_to(
    resolver: dict[str, str], base_url: str, target: str, address: str | None, refused: str | None
) -> None:
    resolver.update({"api.example": "203.0.113.1", "localhost": "127.0.0.1"})
    if refused is None:
        judge(target, base_url, address)
    else:
        with pytest.raises(RiffusionDownloadError, match=refused):
            judge(target, base_url, address)
