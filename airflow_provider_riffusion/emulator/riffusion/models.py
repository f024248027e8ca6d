"""
The values that the emulator works with: songs, accounts, settings, and one line of its request log.

Marks: **[D]** stated by the vendor's documentation, **[C]** seen in public code, **[?]** inferred,
confirmed by nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_riffusion.emulator.audio import STEM_NAMES

DONE_STATUSES = frozenset({"complete", "completed"})
JOB_REPLIES = ("job_id", "jobs")
AUDIO_REPLIES = ("bytes", "chunked", "close", "url", "redirect")
STEMS_REPLIES = (
    "base64",
    "top-level",
    "list",
    "list-base64",
    "data-uri",
    "urls",
    "objects",
    "unknown",
)
MISSING_STEMS = ("absent", "null", "empty")


@dataclass(frozen=True)
class Song:
    """
    A song in the library.

    :param id: the song's id, a UUID in the real service [D]
    :param title: the title; it is also in the mp3's ID3 tag
    :param duration_s: duration of the wav in seconds (176,400 bytes each). The mp3 always lasts two seconds
    :param user_id: the account that the song belongs to; None: the first account
    :param status: a word of the API: ``complete``, ``completed`` [D], ``queued``, ``generating_audio``,
        ``failed`` [C], or any other. A song that is not done has no audio
    :param created_at: when it was created; the newest song is listed first [?]
    :param lyrics: the lyrics; None: instrumental
    :param sound: the description of the sound
    :param stems: the stems that the song has, out of ``vocals``, ``drums``, ``bass`` and ``other`` [C]
    :param stem_padding: bytes to add to each stem, to bring it to the size of a real one
    """

    id: str
    title: str = "Untitled"
    duration_s: float = 3.0
    user_id: str | None = None
    status: str = "complete"
    created_at: datetime = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)
    lyrics: str | None = None
    sound: str = "warm analog synth, slow drums"
    stems: tuple[str, ...] = STEM_NAMES
    stem_padding: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.duration_s < float("inf") or self.stem_padding < 0:
            raise ValueError("duration_s and stem_padding are numbers from 0")


@dataclass(frozen=True)
class Account:
    """
    A configured account of the service.

    :param user_id: the account's name [D]
    :param max_jobs: how many generations may run at once, 1 to 10 [D]
    :param error: why the account is broken (``GET accounts`` shows it [D]); None: it works
    """

    user_id: str
    max_jobs: int = 3
    error: str | None = None


@dataclass(frozen=True)
class Settings:
    """
    How the emulated service behaves where several ways are known.

    :param generation_seconds: seconds that a generation takes; 30 to 240 in the real service [C]
    :param job_reply: how a create answers: ``job_id`` is ``{"job_id", "user_id"}`` [D], ``jobs`` is
        ``{"jobs": [{"id"}, ...]}`` [C]
    :param songs_per_job: how many songs one create yields; two were seen [C]
    :param song_seconds: duration in seconds of a generated song's wav
    :param final_status: the status word that a generation ends with: ``complete`` [C], ``completed`` [D],
        ``failed`` ...
    :param moderated_word: a prompt that contains this word is refused as moderated; empty: none is
    :param failing_word: a prompt that contains this word ends with status ``failed``; empty: none does
    :param retry_after: ``Retry-After`` header of a 429 for full slots; None: no such header [?]
    :param audio_reply: how mp3 and wav are answered: ``bytes`` (with a Content-Length), ``chunked``,
        ``close`` (neither a length nor chunks), ``url`` (``{"url": ...}`` [C]), ``redirect`` (302)
    :param stems_reply: shape of the stems JSON, undocumented: ``base64`` mapping under ``stems`` [C]; [?] for
        the rest: ``top-level`` mapping, ``list`` of ``{"name", "url"}``, ``list-base64`` of ``{"name",
        "data"}`` under ``stems``, ``data-uri``, ``urls``, ``objects`` with ``url``, ``audio_url`` or
        ``download_url``, ``unknown``
    :param missing_stems: how a mapping shows a stem that the song does not have: ``absent``, ``null``,
        ``empty`` [C]
    :param content_type: Content-Type of mp3 and wav replies, undocumented; None: ``audio/mpeg`` or
        ``audio/wav``
    :param files_url: base of the URLs that replies contain, to give them another origin; None: this server
    """

    generation_seconds: float = 3.0
    job_reply: str = "job_id"
    songs_per_job: int = 2
    song_seconds: float = 3.0
    final_status: str = "complete"
    moderated_word: str = "moderated"
    failing_word: str = "failing"
    retry_after: str | None = None
    audio_reply: str = "bytes"
    stems_reply: str = "base64"
    missing_stems: str = "absent"
    content_type: str | None = None
    files_url: str | None = None

    def __post_init__(self) -> None:
        for name in ("generation_seconds", "song_seconds", "songs_per_job"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ValueError(f"{name} is a number from 0, not {value!r}")
        if not isinstance(self.songs_per_job, int) or self.songs_per_job < 1:
            raise ValueError(f"songs_per_job is a whole number from 1, not {self.songs_per_job!r}")
        for name in ("final_status", "moderated_word", "failing_word"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is a text, not {getattr(self, name)!r}")
        for name in ("retry_after", "content_type", "files_url"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or "\r" in value or "\n" in value):
                raise ValueError(f"{name} is a text without line breaks, not {value!r}")
        for name, allowed in (
            ("job_reply", JOB_REPLIES),
            ("audio_reply", AUDIO_REPLIES),
            ("stems_reply", STEMS_REPLIES),
            ("missing_stems", MISSING_STEMS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(allowed)}, not {getattr(self, name)!r}")


@dataclass(frozen=True)
class LoggedRequest:
    """
    One request that the emulator received. The token is never kept, nor is a cookie.

    :param time: wall clock when the request came, in UTC
    :param monotonic: ``time.monotonic()`` at the same moment, in seconds
    :param method: HTTP method
    :param path: path of the URL, as sent
    :param query: query parameters, decoded
    :param token_sent: whether an ``Authorization`` header came, right or wrong
    :param song_id: the song (or job) that the request is about, if any
    :param body: the request's body as parsed JSON; None when there was none
    :param status: status answered; None while there is no answer, and when the connection was cut before one
    :param bytes_sent: bytes of body handed to the connection, after any transfer coding is taken off
    """

    time: datetime
    monotonic: float
    method: str
    path: str
    query: dict[str, str]
    token_sent: bool
    song_id: str | None = None
    body: Any = None
    status: int | None = None
    bytes_sent: int = 0


def path_matches(path: str, wanted: str | None) -> bool:
    """
    Tell whether a request's path is meant by a path given to a fault or to a count.

    :param path: the request's path
    :param wanted: a part of the path (``music/download``); with a leading slash the whole path, whose
        trailing slash does not count; None: any path
    """
    if wanted is None:
        return True
    if wanted.startswith("/"):
        return path.rstrip("/") == wanted.rstrip("/")
    return wanted in path


def iso_time(moment: datetime) -> str:
    """
    Write a time as the API does: ISO 8601, UTC, milliseconds.

    :param moment: an aware time
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
