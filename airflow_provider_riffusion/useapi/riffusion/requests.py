"""The requests of the useapi.net Riffusion API v1, without any I/O; those that start songs stand in ``creation``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

PREFIX = "/v1/riffusion"


@dataclass(frozen=True)
class Request:
    """
    A request to the API.

    :param method: HTTP method
    :param path: path below the connection's base URL
    :param params: query parameters; None values are left out
    :param json: body
    """

    method: str
    path: str
    params: Mapping[str, str | int | None] = field(default_factory=dict)
    json: Mapping[str, object] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def download_request(song_id: str, download_format: str, user_id: str | None) -> Request:
    """Build the request for a song's audio or stems."""
    params = {"id": song_id, "download_format": download_format, "user_id": user_id}
    return Request("GET", f"{PREFIX}/music/download/", params)


def songs_request(
    *, song_or_job_id: str | None = None, offset: int | None = None, limit: int | None = None, user_id: str | None
) -> Request:
    """Build the request for the songs of one id, or for one page of the library."""
    params = {"id": song_or_job_id, "offset": offset, "limit": limit, "user_id": user_id}
    return Request("GET", f"{PREFIX}/music/", params)


def delete_song_request(song_id: str, user_id: str | None) -> Request:
    """Build the request that deletes a song."""
    return Request("DELETE", f"{PREFIX}/music/", {"id": song_id, "user_id": user_id})


def lyrics_request(prompt: str, lyrics: str | None, user_id: str | None) -> Request:
    """Build the request that writes lyrics."""
    body = {"prompt": prompt, "lyrics": lyrics, "user_id": user_id}
    return Request("POST", f"{PREFIX}/music/generate-lyrics", json=_without_none(body))


def accounts_request(user_id: str | None = None) -> Request:
    """Build the request for all configured accounts, or for one."""
    return Request("GET", f"{PREFIX}/accounts" + (f"/{quote(user_id, safe='')}" if user_id else ""))


def post_account_request(cookie: str, max_jobs: int) -> Request:
    """Build the request that configures an account, or gives a fresh cookie to a broken one."""
    return Request("POST", f"{PREFIX}/accounts", json={"cookie": cookie, "maxJobs": max_jobs})


def scheduler_request() -> Request:
    """Build the request for the jobs that run."""
    return Request("GET", f"{PREFIX}/scheduler")


def available_request() -> Request:
    """Build the request for the free slots of all accounts."""
    return Request("GET", f"{PREFIX}/scheduler/available")


def delete_job_request(job_id: str) -> Request:
    """Build the request that stops tracking a job."""
    return Request("DELETE", f"{PREFIX}/scheduler/{quote(job_id, safe='')}")


def _without_none(body: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in body.items() if value is not None}
