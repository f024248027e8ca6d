"""
The vendor's contract, without any I/O: from a reply of the useapi.net Riffusion API v1 to a value or an error.

This is the only file that knows a status word or an error body; ``api_requests`` and ``creation`` know the requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from airflow_provider_riffusion.audio import formats as audio
from airflow_provider_riffusion.exceptions import (
    RiffusionApiError,
    RiffusionBadRequestError,
    RiffusionModerationError,
    RiffusionNotFoundError,
    RiffusionNotReadyError,
    RiffusionPendingError,
    RiffusionRateLimitError,
    RiffusionServerError,
    RiffusionSubscriptionError,
    RiffusionUnauthorizedError,
)
from airflow_provider_riffusion.safe_text import printable
from airflow_provider_riffusion.useapi.riffusion.requests import Request, accounts_request

DEFAULT_BASE_URL = "https://api.useapi.net"
ACCOUNTS_PAGE = "https://useapi.net/docs/api-riffusion-v1/post-riffusion-accounts"

PENDING_STATUS = 596
TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
COMPLETED_STATUSES = frozenset({"completed", "complete"})
#: Parts of the words for a song that will never be finished; every other unknown word means that it still runs.
_FAILED_WORDS = ("fail", "error", "moderated", "cancel")

AudioFormatName = Literal["mp3", "wav"]
AUDIO_FORMATS: Mapping[str, audio.AudioFormat] = {"mp3": audio.MP3, "wav": audio.WAV}
STEMS = "stems"
DOWNLOAD_FORMATS = (*AUDIO_FORMATS, STEMS)

_MAX_MESSAGE_LENGTH = 500
_ERROR_KEYS = frozenset({"error", "message", "code"})
#: JSON can hold them; UTF-8 has no lone surrogates, which cutting an emoji in half makes, and PostgreSQL takes no NUL.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_SONG_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_song_id(value: object) -> bool:
    """Tell whether a value can be a song id: it becomes part of a query and of a file name."""
    return isinstance(value, str) and _SONG_ID.fullmatch(value) is not None


@dataclass(frozen=True)
class Song:
    """
    A song of the library. Fields that the reply lacks, or has with another type, are None.

    :param id: song id
    :param status: the vendor's status word, such as ``completed``
    :param title: title
    :param created_at: time of creation, ISO 8601
    :param duration_s: length in seconds
    :param share_url: page of the song
    :param download_url: the vendor's own link to an m4a file
    :param group_id: shared by songs that belong together
    :param sound: what it sounds like, in the words of the prompt
    :param topic: what it is about
    :param lyrics: its words
    """

    id: str
    status: str | None = None
    title: str | None = None
    created_at: str | None = None
    duration_s: float | None = None
    share_url: str | None = None
    download_url: str | None = None
    group_id: str | None = None
    sound: str | None = None
    topic: str | None = None
    lyrics: str | None = None

    @property
    def is_completed(self) -> bool:
        """Whether the song can be downloaded."""
        return self._status_word in COMPLETED_STATUSES

    @property
    def is_failed(self) -> bool:
        """Whether the song will never be finished."""
        return any(word in self._status_word for word in _FAILED_WORDS)

    @property
    def _status_word(self) -> str:
        return (self.status or "").strip().lower()


@dataclass(frozen=True)
class Job:
    """
    A job of the scheduler.

    :param id: job id
    :param user_id: account that it runs for
    :param started: when, ISO 8601
    :param reply_ref: the reference that was sent with the create
    """

    id: str
    user_id: str | None = None
    started: str | None = None
    reply_ref: str | None = None


@dataclass(frozen=True)
class Slots:
    """
    The slots of an account for generations.

    :param user_id: the account
    :param max_jobs: how many it has
    :param executing: how many are in use
    :param available: how many are free
    """

    user_id: str
    max_jobs: int | None = None
    executing: int | None = None
    available: int | None = None


@dataclass(frozen=True)
class Account:
    """
    A Riffusion account configured at the vendor.

    :param user_id: the account's id
    :param max_jobs: how many songs it may generate at once
    :param error: why the account is broken; None for a healthy one
    """

    user_id: str
    max_jobs: int | None = None
    error: str | None = None


def broken_accounts_error(accounts: Sequence[Account]) -> RiffusionPendingError:
    """Build the error for accounts of which every request would be answered with HTTP 596."""
    api_message = _line("; ".join(f"{account.user_id}: {account.error}" for account in accounts))
    return RiffusionPendingError(
        _pending_message(api_message, _line(", ".join(account.user_id for account in accounts))),
        api_message=api_message,
        request=str(accounts_request()),
    )


def _pending_message(api_message: str, user_id: object) -> str:
    """Say what a human must do about a broken account."""
    account = f"account {user_id}" if user_id else "account"
    return (
        f"The Riffusion {account} is broken (HTTP {PENDING_STATUS}, pending error): useapi.net could not refresh its "
        f"cookie. No request will succeed, so none is repeated. Post a fresh cookie for this account as described at "
        f"{ACCOUNTS_PAGE} and clear the failed tasks afterwards. The API said: {api_message or 'nothing'}"
    )


def parse_time(value: datetime | str | None) -> datetime | None:
    """Read a time such as ``created_at``; without a zone it is UTC. None when it is absent or no ISO 8601."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value or "")
    except (ValueError, TypeError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(value: object) -> str | None:
    return _UNSTORABLE.sub("\ufffd", value) if isinstance(value, str) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        return None
    return float(value)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def parse_songs(payload: object, request: Request) -> list[Song]:
    """
    Read the reply of GET music. Entries without a usable id cannot be asked for and are left out.

    :raises RiffusionApiError: the reply is no list of songs
    """
    entries = [payload] if isinstance(payload, dict) and "id" in payload else payload
    if not isinstance(entries, list):
        raise_if_error(payload, request)
        raise _unexpected_shape("a list of songs", payload, request)
    return [
        Song(
            id=entry["id"],
            status=_text(entry.get("status")),
            title=_text(entry.get("title")),
            created_at=_text(entry.get("created_at")),
            duration_s=_number(entry.get("duration_s")),
            share_url=_text(entry.get("share_url")),
            download_url=_text(entry.get("download_url")),
            group_id=_text(entry.get("group_id")),
            sound=_text(entry.get("sound")),
            topic=_text(entry.get("topic")),
            lyrics=_text(entry.get("lyrics")),
        )
        for entry in entries
        if isinstance(entry, dict) and is_song_id(entry.get("id"))
    ]


def parse_accounts(payload: object, request: Request) -> list[Account]:
    """
    Read the reply of GET accounts, an object by user id.

    :raises RiffusionApiError: the reply is no such object
    """
    if isinstance(payload, dict) and payload.keys() <= _ERROR_KEYS:
        raise_if_error(payload, request)
    if not isinstance(payload, dict) or not all(isinstance(entry, dict) for entry in payload.values()):
        raise_if_error(payload, request)
        raise _unexpected_shape("an object of accounts", payload, request)
    accounts = []
    for user_id, entry in payload.items():
        error = entry.get("error")
        accounts.append(
            Account(
                user_id=user_id,
                max_jobs=_whole(entry.get("maxJobs")),
                error=None if error is None else _error_text(error) or "unknown error",
            )
        )
    return accounts


def parse_account(payload: object, request: Request) -> Account:
    """
    Read the reply of GET accounts/{user_id} or POST accounts: one account, or an object that holds it by its id.

    :raises RiffusionApiError: the reply is no account
    """
    if isinstance(payload, dict) and isinstance(user_id := payload.get("user_id"), str):
        payload = {user_id: payload}
    accounts = parse_accounts(payload, request)
    if not accounts:
        raise _unexpected_shape("an account", payload, request)
    return accounts[0]


def parse_jobs(payload: object, request: Request) -> list[Job]:
    """
    Read the reply of GET scheduler.

    :raises RiffusionApiError: the reply is no list of jobs
    """
    if not isinstance(payload, list):
        raise_if_error(payload, request)
        raise _unexpected_shape("a list of jobs", payload, request)
    return [
        Job(
            id=entry["job_id"],
            user_id=_text(entry.get("user_id")),
            started=_text(entry.get("started")),
            reply_ref=_text(entry.get("replyRef")),
        )
        for entry in payload
        if isinstance(entry, dict) and is_song_id(entry.get("job_id"))
    ]


def parse_available(payload: object, request: Request) -> list[Slots]:
    """
    Read the reply of GET scheduler/available.

    :raises RiffusionApiError: the reply has no list of slots
    """
    entries = payload.get("available") if isinstance(payload, dict) else None
    if not isinstance(entries, list):
        raise_if_error(payload, request)
        raise _unexpected_shape("an object of slots", payload, request)
    return [
        Slots(
            user_id=entry["user_id"],
            max_jobs=_whole(entry.get("maxJobs")),
            executing=_whole(entry.get("executing")),
            available=_whole(entry.get("available")),
        )
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("user_id"), str)
    ]


def parse_lyrics(payload: object, request: Request) -> str:
    """
    Read the reply of POST generate-lyrics.

    :raises RiffusionApiError: the reply holds no lyrics
    """
    if isinstance(payload, dict) and isinstance(lyrics := payload.get("lyrics"), str):
        return lyrics
    raise_if_error(payload, request)
    raise _unexpected_shape("an object with lyrics", payload, request)


def _unexpected_shape(expected: str, payload: object, request: Request) -> RiffusionApiError:
    return RiffusionApiError(
        f"{request} answered 200 with JSON that is not {expected} but {type(payload).__name__}",
        http_status=200,
        request=str(request),
    )


_ERRORS_BY_STATUS: Mapping[int, tuple[type[RiffusionApiError], str]] = {
    400: (RiffusionBadRequestError, "Check the parameters of the task."),
    401: (
        RiffusionUnauthorizedError,
        "Check the API token, the password of the Airflow connection, and clear the failed tasks afterwards.",
    ),
    402: (RiffusionSubscriptionError, "Renew the useapi.net subscription and clear the failed tasks afterwards."),
    403: (RiffusionUnauthorizedError, "The API token may not do this: check the password of the Airflow connection."),
    404: (RiffusionNotFoundError, "Check the song or job id, and that the user_id is the account that owns it."),
    409: (RiffusionNotReadyError, "The song is not finished yet: wait for it before it is downloaded."),
    410: (RiffusionNotFoundError, "The song has expired."),
    412: (RiffusionSubscriptionError, "The account has no credits left: top it up and clear the failed tasks."),
    422: (RiffusionModerationError, "The prompt was moderated: change its text."),
    429: (RiffusionRateLimitError, "All slots are in use: lower the parallelism with an Airflow pool."),
}


def error_of(http_status: int, body: bytes, request: Request, *, retry_after: float | None = None) -> RiffusionApiError:
    """
    Turn a reply that is an error into the exception that says so.

    :param http_status: HTTP status of the reply
    :param body: its body, or the first part of it; may be JSON of any known shape, HTML or empty
    :param request: the request that was answered
    :param retry_after: seconds, from the Retry-After header
    """
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        payload = body.decode("utf-8", "replace")[:_MAX_MESSAGE_LENGTH]
    return _error(http_status, payload, request, retry_after)


def _error(http_status: int, payload: object, request: Request, retry_after: float | None = None) -> RiffusionApiError:
    code, api_message = _code_and_message(payload)
    # An error that comes with status 200 has its real status in the body, if anywhere.
    status = code if http_status == 200 and isinstance(code, int) else http_status
    is_flagged = isinstance(payload, dict) and payload.get("is_flagged") is True

    error_class: type[RiffusionApiError]
    if status == PENDING_STATUS or "pending error" in api_message.lower():
        error_class, remedy = RiffusionPendingError, ""
        message = f"{request}: {_pending_message(api_message, request.params.get('user_id'))}"
    else:
        if is_flagged:
            error_class, remedy = _ERRORS_BY_STATUS[422]
        elif status in _ERRORS_BY_STATUS:
            error_class, remedy = _ERRORS_BY_STATUS[status]
        else:
            error_class, remedy = (RiffusionApiError if 200 <= status < 500 else RiffusionServerError), ""
        message = f"{request} was answered with HTTP {http_status}: {api_message or '(no message)'} {remedy}".rstrip()
    return error_class(
        message,
        http_status=http_status,
        code=code,
        api_message=api_message,
        request=str(request),
        retry_after=retry_after,
        transient=status in TRANSIENT_STATUSES and error_class not in (RiffusionPendingError, RiffusionModerationError),
    )


def raise_if_error(payload: object, request: Request) -> None:
    """Raise the error that stands in JSON which came with status 200."""
    if isinstance(payload, dict) and (
        payload.get("error") or payload.get("is_flagged") is True or (payload.keys() and payload.keys() <= _ERROR_KEYS)
    ):
        raise _error(200, payload, request)


def _code_and_message(payload: object) -> tuple[int | str | None, str]:
    """Read every error envelope that was seen: ``error`` or ``message``, text or object, ``code`` number or text."""
    if not isinstance(payload, dict):
        return None, _error_text(payload)
    error = payload.get("error")
    code = payload.get("code")
    if isinstance(error, dict):
        code = error.get("code", code)
    message = next((text for key in ("error", "message", "reason") if (text := _error_text(payload.get(key)))), "")
    if isinstance(code, str) and code.isdecimal() and len(code) <= 3:
        code = int(code)
    if isinstance(code, str):
        code = _line(code)
    return (code if isinstance(code, int | str) else None), message


def _error_text(error: object) -> str:
    if isinstance(error, dict):
        error = next((error[key] for key in ("message", "error", "code") if error.get(key)), error)
    try:
        return _line(error if isinstance(error, str) else "" if error is None else json.dumps(error))
    except RecursionError:
        return "(deeply nested JSON)"


def _line(text: str) -> str:
    """Make one short line of what a server says, so that it can neither break a log's lines nor steer a terminal."""
    return printable(" ".join(text[:_MAX_MESSAGE_LENGTH].split()), _MAX_MESSAGE_LENGTH)


def parse_download_url(payload: object, request: Request) -> str:
    """
    Read the JSON that came, with status 200, where audio was asked for.

    :return: the URL that holds the audio
    :raises RiffusionApiError: the JSON is an error, or anything else
    """
    if isinstance(payload, dict) and isinstance(url := payload.get("url"), str) and url:
        return url
    if not isinstance(payload, dict):
        # Its content is not shown: it may hold signed URLs.
        raise _unexpected_shape("an object with a URL", payload, request)
    raise _error(200, payload, request)
