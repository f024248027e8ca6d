"""Speak with the vendor: the one place that raises for a status, so that readers see good responses only."""

from __future__ import annotations

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

    def get(self, request: Request, use: Callable[[Response], T], *, attempts: int = ATTEMPTS) -> T:
        """
        Send a GET, and repeat it while the failure is transient.

        :param request: the request
        :param use: makes the result from a response with status 200
        :param attempts: how often the request is sent at most
        """
        return super().get(request, _of_good_response(request, use), attempts=attempts)

    def send(self, request: Request, use: Callable[[Response], T], *, timeout: float | None = None) -> T:
        """
        Send a request that changes something, once.

        :param request: the request
        :param use: makes the result from a response with a 2xx status
        :param timeout: seconds; by default the connection's
        """
        return super().send(request, _of_good_response(request, use), timeout=timeout)

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


def _of_good_response(request: Request, use: Callable[[Response], T]) -> Callable[[Response], T]:
    def read_good(response: Response) -> T:
        # A GET is answered with 200 alone: 206 would be a part, and 202 and 204 have no body to read.
        if response.status == 200 or (request.method != "GET" and 200 <= response.status < 300):
            return use(response)
        if response.is_foreign:
            raise RiffusionDownloadError(
                f"{request}: {response.url}, to which the response sent us, answered HTTP {response.status}",
                retry_after=response.retry_after,
                transient=response.status in TRANSIENT_STATUSES,
            )
        raise error_of(response.status, response.error_body(), request, response.url, response.retry_after)

    return read_good


def _reader_of_json(request: Request) -> Callable[[Response], object]:
    return lambda response: parse_json(response.read(max_bytes=MAX_JSON_BYTES), request)
