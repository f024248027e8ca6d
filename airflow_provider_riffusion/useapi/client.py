"""From a reply of the transfer to JSON, or to the error that its status stands for."""

from __future__ import annotations

import json

from airflow_provider_riffusion.exceptions import RiffusionDownloadError
from airflow_provider_riffusion.transport.client import Reply
from airflow_provider_riffusion.useapi.riffusion import responses as api
from airflow_provider_riffusion.useapi.riffusion.requests import Request

#: Far above any list of songs; stems have a limit of their own.
MAX_JSON_BYTES = 32 * 2**20


def raise_for_status(reply: Reply, request: Request) -> None:
    if reply.status == 200:
        return
    if reply.is_foreign:
        raise RiffusionDownloadError(
            f"{request}: {reply.url}, where the reply sent us, answered HTTP {reply.status}",
            retry_after=reply.retry_after,
            transient=reply.status in api.TRANSIENT_STATUSES,
        )
    raise api.error_of(reply.status, reply.error_body(), request, retry_after=reply.retry_after)


def parse_json(text: str | bytes, request: Request) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        # A document that starts well was probably cut; another one was never JSON.
        is_cut = isinstance(error, ValueError) and text[:1] in ("", b"", "{", "[", b"{", b"[")
        raise RiffusionDownloadError(
            f"{request} was answered with something that is no JSON: {str(error)[:120]}", transient=is_cut
        ) from None
