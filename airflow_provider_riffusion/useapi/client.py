"""Speak with the vendor: the one place that raises for a status, so that readers see good responses only."""

import json
from collections.abc import Callable
from typing import TypeVar

from airflow_provider_riffusion.exceptions import RiffusionDownloadError, RiffusionNotFoundError
from airflow_provider_riffusion.transport.client import Client
from airflow_provider_riffusion.transport.request import Request
from airflow_provider_riffusion.transport.response import Response
from airflow_provider_riffusion.transport.retry import ATTEMPTS
from airflow_provider_riffusion.useapi.errors import TRANSIENT_STATUSES, error_of

#: Far above any list of songs; stems have a limit of their own.
MAX_JSON_BYTES = 32 * 2**20

T = TypeVar("T")
#: From a parsed payload, and the request that it answers, to a value or an error.
Parse = Callable[[object, Request], T]


class UseapiClient(Client):
    """
    Sends requests to the vendor's API, and turns error responses into errors.

    Safe to share between threads.

    :param settings: base URL, token and patience
    """

    def check(self, response: Response, request: Request) -> None:
        """Raise for a status that is no success."""
        # 202 and 204 have no body to read, and 206 is a part that is good only where it continues what is stored.
        is_good = response.status == 200 or response.is_continuation
        if is_good or (request.method != "GET" and 200 <= response.status < 300):
            return
        if response.is_foreign:
            raise RiffusionDownloadError(
                f"{request}: {response.url}, to which the response sent us, answered HTTP {response.status}",
                retry_after=response.retry_after,
                transient=response.status in TRANSIENT_STATUSES,
            )
        raise error_of(response.status, response.error_body(), request, response.url, response.retry_after)

    def get_json(self, request: Request, parse: Parse[T], *, attempts: int = ATTEMPTS) -> T:
        """Send a GET whose response is JSON; see :meth:`get`."""
        return parse(self.get(request, _reader_of_json(request), attempts=attempts), request)

    def send_json(self, request: Request, parse: Parse[T]) -> T:
        """Send a request whose response is JSON; see :meth:`send`."""
        return parse(self.send(request, _reader_of_json(request)), request)

    def delete(self, request: Request, *, timeout: float | None = None) -> bool:
        """
        Send a DELETE, once.

        :param request: the request
        :param timeout: seconds; by default the connection's
        :return: False when there was nothing to delete
        """
        try:
            return self.send(request, lambda _: True, timeout=timeout)
        except RiffusionNotFoundError:
            return False


def parse_json(text: str | bytes, request: Request) -> object:
    """
    Parse JSON.

    :raises RiffusionDownloadError: the text is no JSON
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        # A document that starts well was probably cut; another one was never JSON.
        is_cut = isinstance(error, ValueError) and text[:1] in ("", b"", "{", "[", b"{", b"[")
        raise RiffusionDownloadError(
            f"{request} was answered with something that is no JSON: {str(error)[:120]}", transient=is_cut
        ) from None


def _reader_of_json(request: Request) -> Callable[[Response], object]:
    return lambda response: parse_json(response.read(max_bytes=MAX_JSON_BYTES), request)
