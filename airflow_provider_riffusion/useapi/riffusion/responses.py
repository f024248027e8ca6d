"""Read the responses of the useapi.net Riffusion API v1, without I/O: from parsed JSON to a value or an error."""

import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from airflow_provider_riffusion.transport.request import Request
from airflow_provider_riffusion.useapi.errors import ERROR_KEYS, error_in, error_of_payload, text_of_error, unexpected
from airflow_provider_riffusion.useapi.models import Account, Job, Slots, Song, SongState
from airflow_provider_riffusion.useapi.prompts import is_song_id

_COMPLETED_STATUSES = frozenset({"completed", "complete"})
#: Parts of the words for a song that will never be finished; every other unknown word means that it still runs.
_FAILED_WORDS = ("fail", "error", "moderated", "cancel")

#: JSON can hold both, but UTF-8 has no lone surrogates (half an emoji is one), and PostgreSQL stores no NUL.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
#: The fields of a song bear the API's own names.
_SONG_TEXTS = {field.name for field in fields(Song)} - {"id", "state", "duration_s"}


def parse_songs(payload: object, request: Request) -> list[Song]:
    """
    Read the response to GET music; entries without a usable id are left out, because nobody can ask for them.

    :raises RiffusionApiError: the payload is no list of songs
    """
    entries = [payload] if isinstance(payload, dict) and "id" in payload else payload
    if not isinstance(entries, list):
        raise unexpected("a list of songs", payload, request)
    return [
        Song(
            id=entry["id"],
            state=state_of(entry.get("status")),
            duration_s=_number(entry.get("duration_s")),
            **{name: _text(entry.get(name)) for name in _SONG_TEXTS},
        )
        for entry in _with_id(entries, "id")
    ]


def parse_accounts(payload: object, request: Request) -> list[Account]:
    """
    Read the response to GET accounts, an object by user id.

    :raises RiffusionApiError: the payload is no such object
    """
    is_error = isinstance(payload, dict) and payload.keys() <= ERROR_KEYS and error_in(payload, request) is not None
    if is_error or not isinstance(payload, dict) or not all(isinstance(entry, dict) for entry in payload.values()):
        raise unexpected("an object of accounts", payload, request)
    return [
        Account(
            user_id=user_id,
            max_jobs=_whole(entry.get("maxJobs")),
            error=None if entry.get("error") is None else text_of_error(entry["error"]) or "unknown error",
        )
        for user_id, entry in payload.items()
    ]


def parse_account(payload: object, request: Request) -> Account:
    """
    Read the response to GET accounts/{user_id} or POST accounts: an account, or an object that holds it by its id.

    :raises RiffusionApiError: the payload is no account
    """
    if isinstance(payload, dict) and isinstance(user_id := payload.get("user_id"), str):
        payload = {user_id: payload}
    accounts = parse_accounts(payload, request)
    if not accounts:
        raise unexpected("an account", payload, request)
    return accounts[0]


def parse_jobs(payload: object, request: Request) -> list[Job]:
    """
    Read the response to GET scheduler, the vendor's job list.

    :raises RiffusionApiError: the payload is no list of jobs
    """
    if not isinstance(payload, list):
        raise unexpected("a list of jobs", payload, request)
    return [
        Job(entry["job_id"], _text(entry.get("user_id")), _text(entry.get("started")), _text(entry.get("replyRef")))
        for entry in _with_id(payload, "job_id")
    ]


def parse_available(payload: object, request: Request) -> list[Slots]:
    """
    Read the response to GET scheduler/available.

    :raises RiffusionApiError: the payload has no list of slots
    """
    entries = payload.get("available") if isinstance(payload, dict) else None
    if not isinstance(entries, list):
        raise unexpected("an object of slots", payload, request)
    slots = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("user_id"), str)]
    counts = ("maxJobs", "executing", "available")
    return [Slots(entry["user_id"], *(_whole(entry.get(name)) for name in counts)) for entry in slots]


def parse_lyrics(payload: object, request: Request) -> str:
    """
    Read the response to POST generate-lyrics.

    :raises RiffusionApiError: the payload holds no lyrics
    """
    if isinstance(payload, dict) and isinstance(lyrics := payload.get("lyrics"), str):
        return lyrics
    raise unexpected("an object with lyrics", payload, request)


def parse_created(payload: object, request: Request) -> list[str]:
    """
    Read the handles, of songs or of a job, from the response to a create request; none when its shape is unknown.

    :raises RiffusionApiError: the payload is an error
    :raises RiffusionModerationError: the prompt was moderated
    """
    lists = [payload.get("jobs"), payload.get("songs")] if isinstance(payload, dict) else [payload]
    entries: list[object] = next((entries for entries in lists if isinstance(entries, list)), [])
    found = [_handle_of(entry, "id", "job_id") for entry in entries]
    if not any(found):
        found = [_handle_of(payload, "job_id", "id")]
    handles = list(dict.fromkeys(handle for handle in found if handle))
    # A response that names handles has created them, whatever else it says.
    if not handles and (error := error_in(payload, request)):
        raise error
    return handles


def parse_download_url(payload: object, request: Request) -> str:
    """
    Read the URL of the audio from JSON that came, with status 200, in place of the audio.

    :raises RiffusionApiError: the payload is an error, or anything else
    """
    if isinstance(payload, dict) and isinstance(url := payload.get("url"), str) and url:
        return url
    if not isinstance(payload, dict):
        # The error does not quote the payload, which may hold signed URLs.
        raise unexpected("an object with a URL", payload, request)
    raise error_of_payload(200, payload, request)


def state_of(status: object) -> SongState:
    """Return what a status word means."""
    word = status.strip().lower() if isinstance(status, str) else ""
    if word in _COMPLETED_STATUSES:
        return SongState.COMPLETED
    return SongState.FAILED if any(failed in word for failed in _FAILED_WORDS) else SongState.RUNNING


def _with_id(entries: Iterable[object], key: str) -> list[dict[str, Any]]:
    return [entry for entry in entries if isinstance(entry, dict) and is_song_id(entry.get(key))]


def _handle_of(entry: object, *keys: str) -> str | None:
    return next((entry[key] for key in keys if is_song_id(entry.get(key))), None) if isinstance(entry, dict) else None


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    # Most texts are plain, and a page of a thousand songs, which waits read every few seconds, has thousands of them.
    is_plain = value.isascii() and "\0" not in value
    return value if is_plain else _UNSTORABLE.sub("\ufffd", value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        return None
    return float(value)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
