"""Decide which URLs that came from a response may be fetched, and which origin gets the token."""

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urljoin, urlsplit

from airflow_provider_riffusion.exceptions import RiffusionDownloadError
from airflow_provider_riffusion.safe_text import printable

_PORTS = {"https": 443, "http": 80}
#: Metadata services of AWS (for EC2, for EKS), Azure, Alibaba and Oracle that are not link-local.
_CLOUDS = ("fd00:ec2::254", "fd00:ec2::23", "168.63.129.16", "100.100.100.200", "192.0.0.192")
#: Parsers disagree about where the host of a URL ends that holds one of these characters.
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")

Origin = tuple[str, str, int | None]


def origin_of(url: str) -> Origin:
    """Return scheme, host and port of a valid URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)


def shown(url: str) -> str:
    """Name a URL in a message without its user and query: passwords and signatures in them are secrets."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an invalid URL"
    # Without "//", urlsplit takes user, password and host for the path.
    host, path = (parts.netloc, parts.path) if parts.netloc else (parts.path, "")
    return printable(f"{parts.scheme}://{host.rpartition('@')[2]}{path}", 200)


def joined(url: str, location: str) -> str:
    """Resolve a Location header, which may be relative; an invalid one is returned as it is."""
    try:
        return urljoin(url, location)
    except ValueError:
        return location


def check_url(url: str, own: Origin) -> None:
    """
    Refuse a URL that came from a response and is not plain http(s), or in which two parsers could see two hosts.

    :param url: the URL as it came
    :param own: the API's origin
    :raises RiffusionDownloadError: the URL is refused
    """
    try:
        scheme, host, _ = origin_of(url)
    except ValueError:
        raise RiffusionDownloadError(f"{_refused(url)}: it is no valid URL") from None
    if scheme not in _PORTS or not host:
        raise RiffusionDownloadError(f"{_refused(url)}: only http and https are allowed")
    if own[0] == "https" and scheme == "http":
        raise RiffusionDownloadError(f"{_refused(url)}: https must not go on as http")
    if _AMBIGUOUS.search(url):
        raise RiffusionDownloadError(f"{_refused(url)}: it holds a backslash, a space or a control character")


def check_address(url: str, own: Origin, address: str | None = None) -> None:
    """
    Refuse a URL that came from a response and leads to a link-local address, a metadata service or this machine.

    :param url: the URL as it is connected to
    :param own: the API's origin; when the API is on this machine, other servers on it may be fetched
    :param address: the address that was connected to; without it only an address that the URL spells out is judged
    :raises RiffusionDownloadError: the URL is refused
    """
    for found in _addresses(address or origin_of(url)[1], socket.AI_NUMERICHOST):
        if found.is_link_local or str(found) in _CLOUDS:
            raise RiffusionDownloadError(f"{_refused(url)}: it is a link-local address or a cloud's metadata service")
        if is_this_machine(str(found)) and not is_this_machine(own[1], 0):
            raise RiffusionDownloadError(f"{_refused(url)}: it is an address of this machine")


def _refused(url: str) -> str:
    return f"Refused to fetch {shown(url)!r}, which came from a response"


def _addresses(host: str, flags: int = 0) -> list[IPv4Address | IPv6Address]:
    try:
        entries = socket.getaddrinfo(host.partition("%")[0], None, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError):
        return []
    addresses = [ip_address(entry[4][0]) for entry in entries]
    return [getattr(address, "ipv4_mapped", None) or address for address in addresses]


def is_this_machine(host: str, flags: int = socket.AI_NUMERICHOST) -> bool:
    """Return whether a host is this machine itself; no name server is asked, unless ``flags`` are 0."""
    # A connection to 0.0.0.0 or :: reaches this machine.
    return host == "localhost" or any(found.is_loopback or found.is_unspecified for found in _addresses(host, flags))
