"""
One HTTP exchange done well: timeouts, retries, minimum speed, redirects, and bodies that are whole or an error.

Knows HTTP, and nothing of the API that is spoken with it.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, TypeVar
from urllib.parse import unquote

import requests
import urllib3.exceptions
from requests.auth import AuthBase

from airflow_provider_riffusion import __version__
from airflow_provider_riffusion.exceptions import (
    RiffusionConnectionError,
    RiffusionDownloadError,
    RiffusionError,
    RiffusionTooLargeError,
)
from airflow_provider_riffusion.hooks.connection import ConnectionSettings
from airflow_provider_riffusion.safe_text import printable
from airflow_provider_riffusion.transport.retry import ATTEMPTS, parse_retry_after, retrying
from airflow_provider_riffusion.transport.urls import check_address, check_url, joined, origin_of, shown
from airflow_provider_riffusion.transport.watchdog import CURRENT, Watchdog, WatchedAdapter

log = logging.getLogger(__name__)

#: Seconds.
PROGRESS_INTERVAL = 5.0

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

#: 1 MiB reads are as fast as libcurl; 64 KiB cost half as much again.
_READ_BYTES = 2**20
_ERROR_BODY_BYTES = 2**16
#: Characters. Generous, because the token is taken out after this cut, and must not be cut in two.
_MAX_CAUSE_LENGTH = 2**17

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
    Sends requests to one origin with its token, and to any other without.

    Safe to share between threads.

    :param settings: where to, with which token, and how patiently
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings
        self._session = _session()
        self._bearer = _BearerAuth(settings.token)
        self._origin = origin_of(settings.base_url)
        self._aborted = threading.Event()
        self._watchdogs: set[Watchdog] = set()

    def get(
        self,
        url: str,
        use: Callable[[Reply], T],
        *,
        params: Mapping[str, str | int | None] | None = None,
        authenticated: bool = True,
        attempts: int = ATTEMPTS,
    ) -> T:
        """
        Send a GET, follow its redirects, and hand the reply over; again, while the failure is transient.

        :param url: absolute URL, or with ``authenticated`` a path below the connection's base URL
        :param use: makes the result from the reply; whatever it raises with ``transient`` set is tried again
        :param params: query parameters
        :param authenticated: whether the token goes along, to the connection's own origin only
        :param attempts: how often it is sent at most
        :raises RiffusionConnectionError: no reply came
        :raises RiffusionDownloadError: the body is not whole, or a redirect was refused
        :raises RiffusionRateLimitError: Retry-After asks for a pause longer than MAX_RETRY_AFTER
        """

        absolute = f"{self.settings.base_url}{url}" if authenticated and url.startswith("/") else url

        def attempt() -> T:
            try:
                with self._reply(absolute, params, authenticated=authenticated) as reply:
                    return use(reply)
            except RiffusionError as error:
                self.settings.hide_token_in(error)
                raise

        return retrying(attempts, self._aborted)(attempt)

    def send(
        self,
        method: str,
        path: str,
        use: Callable[[Reply], T],
        *,
        params: Mapping[str, str | int | None] | None = None,
        json: Mapping[str, object] | None = None,
        timeout: float | None = None,
        unless: Callable[[], bool] | None = None,
    ) -> T:
        """
        Send a request that changes something: once, over a connection of its own, and without following redirects.

        A connection of its own, because a server may close an idle one just when a request is sent over it, and
        because this may run in a signal handler while the session waits for something else.

        :param method: HTTP method
        :param path: path below the connection's base URL
        :param use: makes the result from the reply
        :param params: query parameters
        :param json: body
        :param timeout: seconds; by default the connection's
        :param unless: is asked when the connection stands; when it says True, nothing is sent
        :raises RiffusionConnectionError: no reply came; its ``may_have_arrived`` tells whether the request got out
        :raises RiffusionDownloadError: the reply is not whole
        """
        url = f"{self.settings.base_url}{path}"
        try:
            with _session() as session:
                plain = requests.Request(method, url, params=params, json=json, auth=self._bearer)
                with _errors_of(shown(url)):
                    request = session.prepare_request(plain)
                with self._exchange(request, session, timeout, unless) as (response, watchdog):
                    return use(Reply(response, self.settings, watchdog, is_foreign=False))
        except RiffusionError as error:
            self.settings.hide_token_in(error)
            raise

    def abort(self) -> None:
        """Break off all exchanges, from another thread; the client cannot be used any more."""
        self._aborted.set()
        for watchdog in list(self._watchdogs):
            watchdog.bite()

    @contextmanager
    def _reply(
        self, url: str, params: Mapping[str, str | int | None] | None, *, authenticated: bool
    ) -> Iterator[Reply]:
        is_trusted = authenticated
        for _ in range(MAX_REDIRECTS + 1):
            if not is_trusted:
                self._check_secrecy(url)
                check_url(url, self._origin)
            with _errors_of(shown(url)):
                request = self._session.prepare_request(requests.Request("GET", url, params=params, auth=_NoAuth()))
            # From here on the URL is judged in the form in which it is connected to.
            url = request.url or ""
            if not is_trusted:
                check_address(url, self._origin)
            is_own_origin = authenticated and origin_of(url) == self._origin
            authorized = self._bearer(request) if is_own_origin else request
            with self._exchange(authorized, self._session) as (response, watchdog):
                if response.status_code not in _REDIRECTS or "Location" not in response.headers:
                    yield Reply(response, self.settings, watchdog, is_foreign=not is_own_origin)
                    return
                url, params, is_trusted = joined(url, response.headers["Location"]), None, False
        raise RiffusionDownloadError(f"{shown(url)}: more than {MAX_REDIRECTS} redirects")

    def _check_secrecy(self, url: str) -> None:
        """Refuse a URL that quotes the token: it would go to a host, and to its log and ours, in the clear."""
        if self.settings.hide_token(unquote(url)) != unquote(url):
            raise RiffusionDownloadError("Refused to fetch a URL, which came from a reply: it holds the API token")

    @contextmanager
    def _exchange(
        self,
        request: requests.PreparedRequest,
        session: requests.Session,
        timeout: float | None = None,
        unless: Callable[[], bool] | None = None,
    ) -> Iterator[tuple[requests.Response, Watchdog]]:
        """Send a request, and watch over it until its reply is used up."""
        url = request.url or ""
        watchdog = Watchdog(timeout or self.settings.timeout + self.settings.low_speed_time, unless)
        self._watchdogs.add(watchdog)
        try:
            with _errors_of(shown(url), watchdog=watchdog):
                # Per request: on a session, REQUESTS_CA_BUNDLE of the environment would win over False.
                options = session.merge_environment_settings(url, {}, True, self.settings.verify, None)
                CURRENT.set(watchdog)
                # Past Session.send, which reads the whole body of a redirect into memory, however long it is.
                response = session.get_adapter(url).send(
                    request,
                    stream=True,
                    timeout=timeout or self.settings.timeout,
                    verify=options["verify"] or False,
                    proxies=options["proxies"],
                )
            with response:
                yield response, watchdog
        finally:
            watchdog.stop()
            self._watchdogs.discard(watchdog)


def _session() -> requests.Session:
    session = requests.Session()
    session.headers["User-Agent"] = f"airflow-provider-riffusion/{__version__}"
    # Audio does not compress, and a length that counts what arrives is worth more than a smaller song list.
    session.headers["Accept-Encoding"] = "identity"
    for scheme in ("http://", "https://"):
        session.mount(scheme, WatchedAdapter(max_retries=0))
    return session


class Reply:
    """
    The reply to a request, its body still unread.

    :param response: the reply, opened with ``stream=True``
    :param settings: minimum speed, and the token that must not show in a text
    :param watchdog: is fed with every byte of the body that arrives
    :param is_foreign: whether another host than the connection's own answered, or one without the token
    """

    def __init__(
        self, response: requests.Response, settings: ConnectionSettings, watchdog: Watchdog, *, is_foreign: bool
    ) -> None:
        self._response = response
        self._watchdog = watchdog
        self._settings = settings
        self.url = shown(response.url)
        self.status = response.status_code
        self.is_foreign = is_foreign
        self._head = b""
        encoding = settings.hide_token(response.headers.get("Content-Encoding", ""))
        self._rest = _decoded(self._wire_chunks(), encoding, self.url)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, from the Retry-After header."""
        return parse_retry_after(self._response.headers.get("Retry-After"))

    def head(self, size: int) -> bytes:
        """Read the first bytes of the body; fewer than ``size`` when it has no more. They are not used up."""
        for chunk in self._rest:
            self._head += chunk
            if len(self._head) >= size:
                break
        return self._head[:size]

    def error_body(self) -> bytes:
        """Read the start of an error's body; what cannot be read does not matter, the status says enough."""
        try:
            self.head(_ERROR_BODY_BYTES)
        except RiffusionError as error:
            log.debug("The body of the error was cut: %s", error)
        return self._settings.hide_token(self._head[:_ERROR_BODY_BYTES])

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
        return (
            int(text)
            if text.isdecimal() and len(text) < 19 and "Content-Encoding" not in self._response.headers
            else None
        )

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
            with _errors_of(self.url, RiffusionDownloadError, self._watchdog):
                chunk = self._response.raw.read1(_READ_BYTES, decode_content=False)
                self._watchdog.feed()
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
def _errors_of(
    url: str, error_class: type[RiffusionError] = RiffusionConnectionError, watchdog: Watchdog | None = None
) -> Iterator[None]:
    """
    Turn the errors of requests and urllib3 into ours.

    Without the original as cause: its text holds the whole URL, and a signed URL is a secret.
    """
    try:
        yield
        is_cut = watchdog is not None and watchdog.has_bitten
    # requests' exceptions are OSErrors; a socket that was shut down under a reader raises this and that.
    except (OSError, urllib3.exceptions.HTTPError) as error:
        is_cut = watchdog is not None and watchdog.has_bitten
        if not is_cut:
            may_have_arrived = watchdog is not None and watchdog.has_connected
            raise _translated(error, url, error_class, may_have_arrived=may_have_arrived) from None
    # A body without a length looks whole when the watchdog cuts it.
    if watchdog is not None and is_cut:
        raise error_class(f"{url}: nothing of use arrived for {watchdog.limit:g} s, or it was aborted", transient=True)


def _translated(
    error: Exception, url: str, error_class: type[RiffusionError], *, may_have_arrived: bool
) -> RiffusionError:
    cause = _innermost(error)
    is_certificate = isinstance(cause, ssl.SSLCertVerificationError)
    # The ValueErrors of both libraries are about the URL, and hold it.
    is_url = isinstance(cause, ValueError) and not is_certificate
    # A plain OSError is about a file, such as a CA bundle of the environment that is not there.
    is_file = type(error) is OSError
    hint = "; if this authority is yours, name its CA bundle in the extra verify" if is_certificate else ""
    translated = error_class(
        f"{url}: {type(error).__name__}{'' if is_url else f': {printable(str(cause), _MAX_CAUSE_LENGTH)}'}{hint}",
        transient=not (is_url or is_certificate or is_file),
    )
    if isinstance(translated, RiffusionConnectionError):
        translated.may_have_arrived = may_have_arrived
    return translated


def _innermost(error: BaseException) -> BaseException:
    """Find what went wrong below the wrappers, whose texts hold the whole URL."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, Exception):
            inner = next((arg for arg in error.args if isinstance(arg, Exception)), None)
        if inner is None:
            return error
        error = inner
