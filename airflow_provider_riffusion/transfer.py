"""
One HTTP exchange done well: timeouts, retries, minimum speed, redirects, and bodies that are whole or an error.

Knows HTTP, and nothing of the API that is spoken with it.
"""

from __future__ import annotations

import hashlib
import logging
import math
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import chain
from typing import BinaryIO, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import tenacity
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from airflow_provider_riffusion import __version__
from airflow_provider_riffusion.connection import ConnectionSettings
from airflow_provider_riffusion.exceptions import (
    RiffusionApiError,
    RiffusionConnectionError,
    RiffusionDownloadError,
    RiffusionError,
    RiffusionRateLimitError,
    RiffusionTooLargeError,
)

log = logging.getLogger(__name__)

ATTEMPTS = 5
#: Seconds.
MAX_BACKOFF = 30.0
MAX_RETRY_AFTER = 120.0
MAX_WAITING = 300.0
PROGRESS_INTERVAL = 5.0

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

#: 1 MiB reads are as fast as libcurl; 64 KiB cost half as much again.
_READ_BYTES = 2**20
_ERROR_BODY_BYTES = 2**16

T = TypeVar("T")


class _BearerAuth(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _NoAuth(AuthBase):
    """Keeps requests from looking for credentials in ~/.netrc and in the URL."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


@dataclass(frozen=True)
class SavedBody:
    """
    A body that was written to a file as a whole.

    :param size: bytes
    :param sha256: hexadecimal digest
    """

    size: int
    sha256: str


class Client:
    """
    Sends GETs to one origin with its token, and to any other without.

    Safe to share between threads.

    :param settings: where to, with which token, and how patiently
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"airflow-provider-riffusion/{__version__}"
        # Audio does not compress, and a length that counts what arrives is worth more than a smaller song list.
        self._session.headers["Accept-Encoding"] = "identity"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=0))
        self._bearer = _BearerAuth(settings.token)
        self._origin = _origin(urlsplit(settings.base_url))

    def get(
        self,
        url: str,
        use: Callable[[Reply], T],
        *,
        params: Mapping[str, str | int | None] | None = None,
        authenticated: bool = True,
    ) -> T:
        """
        Send a GET, follow its redirects, and hand the reply over; again, while the failure is transient.

        :param url: absolute URL
        :param use: makes the result from the reply; whatever it raises with ``transient`` set is tried again
        :param params: query parameters
        :param authenticated: whether the token goes along, to the connection's own origin only
        :raises RiffusionConnectionError: no reply came
        :raises RiffusionDownloadError: the body is not whole, or a redirect was refused
        :raises RiffusionRateLimitError: Retry-After asks for a pause longer than MAX_RETRY_AFTER
        """

        def attempt() -> T:
            with self._reply(url, params, authenticated=authenticated) as reply:
                return use(reply)

        return _retrying(_shown(url))(attempt)

    @contextmanager
    def _reply(
        self, url: str, params: Mapping[str, str | int | None] | None, *, authenticated: bool
    ) -> Iterator[Reply]:
        is_trusted = authenticated
        for _ in range(MAX_REDIRECTS + 1):
            if not is_trusted:
                self._check_target(url)
            is_own_origin = authenticated and _origin(urlsplit(url)) == self._origin
            response = self._send(url, params, self._bearer if is_own_origin else _NoAuth())
            with response:
                if response.status_code not in _REDIRECTS or "Location" not in response.headers:
                    yield Reply(response, self._settings, is_foreign=not is_own_origin)
                    return
                url, params, is_trusted = _joined(url, response.headers["Location"]), None, False
        raise RiffusionDownloadError(f"{_shown(url)}: more than {MAX_REDIRECTS} redirects")

    def _send(self, url: str, params: Mapping[str, str | int | None] | None, auth: AuthBase) -> requests.Response:
        with _errors_of(_shown(url)):
            request = self._session.prepare_request(requests.Request("GET", url, params=params, auth=auth))
            # Per request: on a session, REQUESTS_CA_BUNDLE of the environment would win over False.
            options = self._session.merge_environment_settings(url, {}, True, self._settings.verify, None)
            # Past Session.send, which reads the whole body of a redirect into memory, however long it is.
            return self._session.get_adapter(url).send(
                request,
                stream=True,
                timeout=self._settings.timeout,
                verify=options["verify"] or False,
                proxies=options["proxies"],
            )

    def _check_target(self, url: str) -> None:
        """Refuse a URL that came from a reply and leads where only this machine may go."""
        refused = f"Refused to fetch {_shown(url)}, which came from a reply"
        try:
            target = urlsplit(url)
            host, _ = target.hostname, target.port
        except ValueError:
            raise RiffusionDownloadError(f"{refused}: it is no valid URL") from None
        own_scheme, own_host, _ = self._origin
        if target.scheme not in ("http", "https") or not host:
            raise RiffusionDownloadError(f"{refused}: only http and https are allowed")
        if own_scheme == "https" and target.scheme == "http":
            raise RiffusionDownloadError(f"{refused}: https must not go on as http")
        addresses = _addresses(host)
        if any(address.is_link_local for address in addresses):
            raise RiffusionDownloadError(f"{refused}: it is a link-local address")
        if any(_is_this_machine(address) for address in addresses) and not any(
            _is_this_machine(address) for address in _addresses(own_host)
        ):
            raise RiffusionDownloadError(f"{refused}: it is an address of this machine")


class Reply:
    """
    The reply to a request, its body still unread.

    :param response: the reply, opened with ``stream=True``
    :param settings: minimum speed, and the token that must not show in a text
    :param is_foreign: whether another host than the connection's own answered, or one without the token
    """

    def __init__(self, response: requests.Response, settings: ConnectionSettings, *, is_foreign: bool) -> None:
        self._response = response
        self._settings = settings
        self.url = _shown(response.url)
        self.status = response.status_code
        self.is_foreign = is_foreign
        self._head = b""
        self._rest = _decoded(self._wire_chunks(), response.headers.get("Content-Encoding", ""), self.url)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, from the Retry-After header."""
        return _retry_after(self._response.headers.get("Retry-After"))

    def head(self, size: int) -> bytes:
        """Read the first bytes of the body; fewer than ``size`` when it has no more. They are not used up."""
        while len(self._head) < size and (chunk := next(self._rest, b"")):
            self._head += chunk
        return self._head[:size]

    def error_body(self) -> bytes:
        """Read the start of an error's body; what cannot be read does not matter, the status says enough."""
        try:
            return self._settings.hide_token(self.head(_ERROR_BODY_BYTES))
        except RiffusionError as error:
            log.debug("The body of the error was cut: %s", error)
            return self._settings.hide_token(self._head)

    def read(self, *, max_bytes: int) -> bytes:
        """
        Read a small body.

        :param max_bytes: most bytes that it may have, after decompression
        :raises RiffusionDownloadError: it is not whole, or too large
        """
        return self._settings.hide_token(b"".join(self._body(max_bytes)))

    def save(self, file: BinaryIO, *, max_bytes: int) -> SavedBody:
        """
        Write the body to a file.

        :param file: opened for writing; what it holds already is overwritten
        :param max_bytes: most bytes that the body may have, after decompression
        :raises RiffusionDownloadError: the body is not whole, or too large
        """
        file.seek(0)
        file.truncate()
        digest, size = hashlib.sha256(), 0
        progress = _Progress(self.url, self._length)
        for chunk in self._body(max_bytes):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            progress.report(size)
        return SavedBody(size, digest.hexdigest())

    @property
    def _length(self) -> int | None:
        text = self._response.headers.get("Content-Length", "")
        return int(text) if text.isdecimal() and "Content-Encoding" not in self._response.headers else None

    def _body(self, max_bytes: int) -> Iterator[bytes]:
        size = 0
        for chunk in chain((self._head,), self._rest):
            size += len(chunk)
            if max(size, self._length or 0) > max_bytes:
                raise RiffusionTooLargeError(f"{self.url}: the body is larger than the {max_bytes} bytes of max_bytes")
            yield chunk

    def _wire_chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives; read1 returns at every packet, so that a drip cannot hide in one long read."""
        limit, period = self._settings.low_speed_limit, self._settings.low_speed_time
        period_start, period_bytes = time.monotonic(), 0
        while True:
            with _errors_of(self.url, RiffusionDownloadError):
                chunk = self._response.raw.read1(_READ_BYTES, decode_content=False)
            if not chunk:
                return
            yield chunk
            period_bytes += len(chunk)
            elapsed = time.monotonic() - period_start
            if elapsed >= period:
                if period_bytes < limit * elapsed:
                    raise RiffusionDownloadError(
                        f"{self.url}: {period_bytes / elapsed:.0f} bytes/s over {elapsed:.0f} s are below "
                        f"low_speed_limit={limit:g}",
                        transient=True,
                    )
                period_start, period_bytes = time.monotonic(), 0


class _Progress:
    def __init__(self, url: str, length: int | None) -> None:
        self.url, self._length = url, length
        self._start = self._reported = time.monotonic()

    def report(self, size: int) -> None:
        now = time.monotonic()
        if now - self._reported < PROGRESS_INTERVAL:
            return
        self._reported = now
        share = f"{size / self._length:.0%} of {self._length / 1e6:.1f} MB, " if self._length else ""
        rate = size / 1e6 / (now - self._start)
        log.info("Downloading %s: %s%.1f MB, %.2f MB/s", self.url, share, size / 1e6, rate)


def _decoded(chunks: Iterator[bytes], encoding: str, url: str) -> Iterator[bytes]:
    """Undo a Content-Encoding, and raise when the compressed stream stops before its end."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        yield from chunks
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise RiffusionDownloadError(f"{url}: Content-Encoding {encoding[:40]!r} was not asked for")
    # 32: take either header, of gzip or of zlib.
    decoder = zlib.decompressobj(32 + zlib.MAX_WBITS)
    try:
        for chunk in chunks:
            while chunk:
                if decoder.eof:
                    decoder = zlib.decompressobj(32 + zlib.MAX_WBITS)
                # At most so much at once: a few kB can hold gigabytes.
                yield decoder.decompress(chunk, _READ_BYTES)
                chunk = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    except zlib.error as error:
        raise RiffusionDownloadError(f"{url}: damaged {encoding} stream: {error}", transient=True) from None
    if not decoder.eof:
        raise RiffusionDownloadError(f"{url}: the {encoding} stream was cut", transient=True)


@contextmanager
def _errors_of(url: str, error_class: type[RiffusionError] = RiffusionConnectionError) -> Iterator[None]:
    """
    Turn the errors of requests and urllib3 into ours.

    Without the original as cause: its text holds the whole URL, and a signed URL is a secret.
    """
    try:
        yield
    # requests' exceptions are OSErrors.
    except (OSError, urllib3.exceptions.HTTPError) as error:
        cause = _innermost(error)
        is_certificate = isinstance(cause, ssl.SSLCertVerificationError)
        # The ValueErrors of both libraries are about the URL, and hold it.
        is_url = isinstance(cause, ValueError) and not is_certificate
        hint = "" if not is_certificate else "; if this authority is yours, name its CA bundle in the extra verify"
        raise error_class(
            f"{url}: {type(error).__name__}{'' if is_url else f': {str(cause)[:300]}'}{hint}",
            transient=not is_url and not is_certificate,
        ) from None


def _innermost(error: BaseException) -> BaseException:
    """Find what went wrong below the wrappers, whose texts hold the whole URL."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, Exception):
            inner = next((arg for arg in error.args if isinstance(arg, Exception)), None)
        if inner is None:
            return error
        error = inner


def _retrying(url: str) -> tenacity.Retrying:
    def log_pause(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning(
            "Attempt %s of %s failed, next in %.1f s: %s", state.attempt_number, ATTEMPTS, state.upcoming_sleep, error
        )

    def pause(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked: float | None = getattr(error, "retry_after", None)
        # Four hundred tasks that were told the same second must not come back in the same millisecond.
        return backoff(state) if asked is None else asked + spread(state)

    backoff = tenacity.wait_random_exponential(multiplier=1, max=MAX_BACKOFF)
    spread = tenacity.wait_random(0, 1)
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_worth_repeating),
        wait=pause,
        stop=tenacity.stop_any(tenacity.stop_after_attempt(ATTEMPTS), _WaitedEnough()),
        before_sleep=log_pause,
        reraise=True,
    )


class _WaitedEnough(tenacity.stop.stop_base):
    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        return retry_state.idle_for + retry_state.upcoming_sleep > MAX_WAITING


def _is_worth_repeating(error: BaseException) -> bool:
    if not isinstance(error, RiffusionError) or not error.transient:
        return False
    if isinstance(error, RiffusionApiError) and (error.retry_after or 0) > MAX_RETRY_AFTER:
        raise RiffusionRateLimitError(
            f"{error} The server asks to wait {error.retry_after:.0f} s, longer than the {MAX_RETRY_AFTER:.0f} s that "
            "a task should sleep: let it be retried later.",
            http_status=error.http_status,
            code=error.code,
            api_message=error.message,
            request=error.request,
            retry_after=error.retry_after,
        )
    return True


def _retry_after(text: str | None) -> float | None:
    """Read Retry-After, seconds or an HTTP date (RFC 9110, 10.2.3); None when it is absent or makes no sense."""
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
            seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if not math.isnan(seconds) else None


def _origin(url: SplitResult) -> tuple[str, str, int | None]:
    try:
        port = url.port
    except ValueError:
        port = None
    return url.scheme, (url.hostname or ""), port or {"https": 443, "http": 80}.get(url.scheme)


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return location


def _shown(url: str) -> str:
    """Name a URL in a message, without its query: a signature there is a secret."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200]
    except ValueError:
        return "an invalid URL"


def _addresses(host: str) -> list[IPv4Address | IPv6Address]:
    """Resolve a host. A name that does not resolve here (behind a proxy, say) cannot be judged here either."""
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in entries]
    return [getattr(address, "ipv4_mapped", None) or address for address in addresses]


def _is_this_machine(address: IPv4Address | IPv6Address) -> bool:
    # Connecting to 0.0.0.0 or :: reaches this machine.
    return address.is_loopback or address.is_unspecified
