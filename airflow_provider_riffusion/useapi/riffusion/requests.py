"""The requests of the useapi.net Riffusion API v1, without I/O."""

from collections.abc import Mapping
from urllib.parse import quote

from airflow_provider_riffusion.transport.request import Request
from airflow_provider_riffusion.useapi.prompts import COMPOSE_RULES, PROMPT_RULES, SONG_ID, checked

_PREFIX = "/v1/riffusion"
#: Path of the library; lineage names a song by it and its id, although a request has the id in its query.
SONGS_PATH = f"{_PREFIX}/music/"

#: Names of the API where they differ from the names of this provider.
_JSON_KEYS = {"max_jobs": "maxJobs", "reply_url": "replyUrl", "reply_ref": "replyRef"}


def create_request(parameters: Mapping[str, object]) -> Request:
    """
    Return a POST music/create-prompt, or music/create-compose when there are ``prompts``.

    :param parameters: by the names of :data:`PROMPT_RULES` or :data:`COMPOSE_RULES`
    :raises RiffusionConfigurationError: a parameter is wrong; the message names it
    """
    is_compose = "prompts" in parameters
    given = parameters if is_compose else {"instrumental": False, **parameters}
    body = checked(COMPOSE_RULES if is_compose else PROMPT_RULES, given)
    for number, prompt in enumerate(body.pop("prompts", ()), start=1):
        body[f"prompt_{number}"] = prompt.pop("text")
        body |= {f"prompt_{number}_{key}": value for key, value in prompt.items() if value is not None}
    body = {_JSON_KEYS.get(name, name): value for name, value in body.items()}
    return Request("POST", f"{_PREFIX}/music/create-{'compose' if is_compose else 'prompt'}", json=body)


def download_request(song_id: str, download_format: str, user_id: str | None) -> Request:
    """Return the request for a song's audio or stems."""
    params = {"id": SONG_ID.check("song_id", song_id), "download_format": download_format, "user_id": user_id}
    return Request("GET", f"{_PREFIX}/music/download/", params)


def songs_request(song_or_job_id: str, user_id: str | None) -> Request:
    """Return the request for a song, or for the songs of a job."""
    return Request("GET", SONGS_PATH, {"id": SONG_ID.check("song_id", song_or_job_id), "user_id": user_id})


def page_request(offset: int, limit: int, user_id: str | None) -> Request:
    """Return the request for one page of the library."""
    return Request("GET", SONGS_PATH, {"offset": offset, "limit": limit, "user_id": user_id})


def delete_song_request(song_id: str, user_id: str | None) -> Request:
    """Return the request that deletes a song."""
    return Request("DELETE", SONGS_PATH, {"id": SONG_ID.check("song_id", song_id), "user_id": user_id})


def lyrics_request(prompt: str, lyrics: str | None, user_id: str | None) -> Request:
    """Return the request that writes lyrics."""
    parameters = {"prompt": prompt, "lyrics": lyrics, "user_id": user_id}
    body = {name: value for name, value in parameters.items() if value is not None}
    return Request("POST", f"{_PREFIX}/music/generate-lyrics", json=body)


def accounts_request(user_id: str | None = None) -> Request:
    """Return the request for all configured accounts, or for one."""
    return Request("GET", f"{_PREFIX}/accounts" + (f"/{quote(user_id, safe='')}" if user_id else ""))


def post_account_request(cookie: str, max_jobs: int) -> Request:
    """Return the request that configures an account, or gives a fresh cookie to a broken one."""
    return Request("POST", f"{_PREFIX}/accounts", json={"cookie": cookie, "maxJobs": max_jobs})


def scheduler_request() -> Request:
    """Return the request for the vendor's job list."""
    return Request("GET", f"{_PREFIX}/scheduler")


def available_request() -> Request:
    """Return the request for the free slots of all accounts."""
    return Request("GET", f"{_PREFIX}/scheduler/available")


def delete_job_request(job_id: str) -> Request:
    """Return the request that takes a job off the vendor's job list."""
    return Request("DELETE", f"{_PREFIX}/scheduler/{quote(job_id, safe='')}")
