"""One HTTP exchange done well: timeouts, retries, minimum speed, redirects, and secrets for one origin alone."""

import io
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import unquote

import requests
from requests.utils import select_proxy

from airflow_provider_riffusion import __version__
from airflow_provider_riffusion.exceptions import RiffusionDownloadError, RiffusionError
from airflow_provider_riffusion.transport.errors import translated_errors
from airflow_provider_riffusion.transport.request import Request
from airflow_provider_riffusion.transport.response import Response
from airflow_provider_riffusion.transport.resume import StoredBody
from airflow_provider_riffusion.transport.retry import ATTEMPTS, retrying
from airflow_provider_riffusion.transport.settings import TransportSettings
from airflow_provider_riffusion.transport.urls import check_address, check_url, joined, origin_of, shown
from airflow_provider_riffusion.transport.watchdog import Watchdog, WatchedAdapter

MAX_REDIRECTS = 5
#: Connections that are kept open: more threads than a client is ever shared by.
_POOL_CONNECTIONS = 32
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

T = TypeVar("T")


class Client:
    """
    Sends requests to one origin with its token, headers and certificate, and to any other without.

    Safe to share between threads.

    :param settings: base URL, token and patience
    """

    def __init__(self, settings: TransportSettings) -> None:
        self.settings = settings
        self._session = _session()
        self._origin = origin_of(settings.base_url)
        self._aborted = threading.Event()
        self._watchdogs: set[Watchdog] = set()
        self._parts: set[Client] = set()

    def get(
        self,
        request: Request,
        use: Callable[[Response], T],
        *,
        into: BinaryIO | None = None,
        attempts: int = ATTEMPTS,
    ) -> T:
        """
        Send a GET, follow its redirects, and hand the response over; repeat all of this while the failure is transient.

        A body that breaks while it is saved goes on where it broke, if the server allows that; ``use`` is then called
        with a response that looks like one that brings all of the body.

        :param request: the request
        :param use: makes the result from the response; an error that it raises with ``transient`` set is repeated, too
        :param into: where :meth:`Response.save` puts the body, opened for reading and writing; by default memory
        :param attempts: how often the request is sent at most, not counting attempts that bring enough of a body that
            goes on
        :raises RiffusionConnectionError: no response came
        :raises RiffusionDownloadError: the body is not whole, or a redirect was refused
        :raises RiffusionRateLimitError: Retry-After asks for a pause longer than MAX_RETRY_AFTER_SECONDS
        """
        stored = self._stored(into)

        def attempt() -> T:
            with self._hidden_token(), self._followed(request, stored) as response:
                self.check(response, request)
                return use(response)

        return retrying(attempts, self._aborted, stored.note_progress)(attempt)

    def send(self, request: Request, use: Callable[[Response], T], *, timeout: float | None = None) -> T:
        """
        Send a request that changes something: once, over a new connection, and without following redirects.

        The connection is new, because a server may close an idle one just when a request is sent over it, and because
        this may run in a signal handler while the session waits for another response.

        :param request: the request
        :param use: makes the result from the response
        :param timeout: seconds; by default the connection's
        :raises RiffusionConnectionError: no response came; its ``may_have_arrived`` tells whether the request got out
        :raises RiffusionDownloadError: the body is not whole
        """
        with self._hidden_token(), _session() as session:
            prepared = self._prepared(request, session)
            self._authorize(prepared)
            with self._exchange(prepared, session, timeout) as (response, watchdog):
                found = Response(response, self.settings, watchdog, self._stored(None), is_foreign=False)
                self.check(found, request)
                return use(found)

    def check(self, response: Response, request: Request) -> None:
        """Raise for a response that is no success; here none is."""

    def abort(self) -> None:
        """Abort all exchanges, from another thread; the client cannot be used any more."""
        self._aborted.set()
        for watchdog in list(self._watchdogs):
            watchdog.abort()
        for part in list(self._parts):
            part.abort()

    @contextmanager
    def part(self) -> Iterator[Self]:
        """Hand out a client that can be aborted without this one; aborting this one aborts it, too."""
        client = type(self)(self.settings)
        self._parts.add(client)
        if self._aborted.is_set():
            client.abort()
        try:
            yield client
        finally:
            self._parts.discard(client)

    def close(self) -> None:
        """Abort all exchanges, and close the connections that are kept for later ones."""
        self.abort()
        self._session.close()

    @contextmanager
    def _hidden_token(self) -> Iterator[None]:
        try:
            yield
        except RiffusionError as error:
            self.settings.hide_token_in(error)
            raise

    def _stored(self, file: BinaryIO | None) -> StoredBody:
        return StoredBody(io.BytesIO() if file is None else file, self.settings)

    @contextmanager
    def _followed(self, request: Request, stored: StoredBody) -> Iterator[Response]:
        is_foreign = request.location is not None
        headers = stored.range_headers()
        for _ in range(MAX_REDIRECTS + 1):
            if request.location is not None:
                # A URL that quotes a secret would tell it to the logs of another host and to ours.
                if self.settings.holds_secret(unquote(request.location)):
                    said = "Refused to fetch a URL that came from a response: it holds a secret of ours"
                    raise RiffusionDownloadError(said)
                check_url(request.location, self._origin)
            prepared = self._prepared(request, self._session, headers)
            # From here on the URL is judged in the form in which it is connected to.
            url = prepared.url or ""
            is_own = origin_of(url) == self._origin
            if is_own:
                self._authorize(prepared, with_token=not is_foreign)
            else:
                check_address(url, self._origin)
            with self._exchange(prepared, self._session) as (response, watchdog):
                if response.status_code not in _REDIRECTS or "Location" not in response.headers:
                    yield Response(response, self.settings, watchdog, stored, is_foreign=is_foreign or not is_own)
                    return
                request = replace(request, location=joined(url, response.headers["Location"]))
        raise RiffusionDownloadError(f"{shown(str(request.location))}: more than {MAX_REDIRECTS} redirects")

    def _authorize(self, prepared: requests.PreparedRequest, *, with_token: bool = True) -> None:
        prepared.headers.update(self.settings.headers)
        if with_token:
            prepared.headers["Authorization"] = f"Bearer {self.settings.token}"

    def _prepared(
        self, request: Request, session: requests.Session, headers: Mapping[str, str] | None = None
    ) -> requests.PreparedRequest:
        url = request.location or f"{self.settings.base_url}{request.path}"
        params = request.params if request.location is None else {}
        # An auth that does nothing keeps requests from using credentials in ~/.netrc and in the URL.
        plain = requests.Request(request.method, url, headers, params=params, json=request.json, auth=lambda same: same)
        with translated_errors(shown(url)):
            return session.prepare_request(plain)

    @contextmanager
    def _exchange(
        self, prepared: requests.PreparedRequest, session: requests.Session, timeout: float | None = None
    ) -> Iterator[tuple[requests.Response, Watchdog]]:
        """Send a request, and watch over the exchange until the response is used up."""
        url, settings = prepared.url or "", self.settings
        is_own = origin_of(url) == self._origin
        # Given per request, because REQUESTS_CA_BUNDLE in the environment overrides verify=False on a session.
        options: Any = session.merge_environment_settings(
            url, dict(settings.proxies), True, settings.verify, settings.cert if is_own else None
        )
        # The peer is the proxy where there is one, and that may be on this machine.
        is_peer = not is_own and select_proxy(url, options["proxies"]) is None
        check_peer = partial(check_address, url, self._origin) if is_peer else None
        watchdog = Watchdog(timeout or settings.timeout + settings.low_speed_time, check_peer)
        self._watchdogs.add(watchdog)
        if self._aborted.is_set():
            watchdog.abort()
        try:
            with translated_errors(shown(url), watchdog=watchdog):
                # Session.send would read the whole body of a redirect into memory, however long it is.
                send = session.get_adapter(url).send
                response = watchdog.run(send, prepared, timeout=timeout or settings.timeout, **options)
            with response:
                yield response, watchdog
        finally:
            watchdog.stop()
            self._watchdogs.discard(watchdog)


def _session() -> requests.Session:
    session = requests.Session()
    session.headers["User-Agent"] = f"airflow-provider-riffusion/{__version__}"
    # Audio does not compress, and a Content-Length that counts the bytes on the wire is worth more than smaller JSON.
    session.headers["Accept-Encoding"] = "identity"
    for scheme in ("http://", "https://"):
        session.mount(scheme, WatchedAdapter(max_retries=0, pool_maxsize=_POOL_CONNECTIONS))
    return session
