"""
The values that the emulator works with: songs, accounts and settings.

Marks: **[D]** stated by the vendor's documentation, **[C]** seen in public code, **[?]** inferred,
confirmed by nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args, get_origin, get_type_hints

from airflow_provider_riffusion.emulator.audio import STEM_NAMES

DONE_STATUSES = frozenset({"complete", "completed"})


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

    @property
    def done(self) -> bool:
        """Whether the song has audio."""
        return self.status in DONE_STATUSES


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
class AcceptedCreate:
    """
    A create request that was accepted, and so is paid for; it is kept also when its songs are gone.

    :param body: the body of the request
    :param job_ids: the ids of its jobs
    :param song_ids: the ids of its songs, in the order in which they appear
    """

    body: Mapping[str, Any]
    job_ids: tuple[str, ...]
    song_ids: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """
    How the emulated service behaves where several ways are known. A field's type says which values it takes;
    the command line has an option for each field and shows its description.

    :param generation_seconds: seconds that a generation takes; 30 to 240 in the real service [C]
    :param job_reply: how a create request is answered: ``job_id`` is ``{"job_id", "user_id"}`` [D], ``jobs``
        is ``{"jobs": [{"id"}, ...]}`` with a job for each song [C]; [?] for the rest: ``song-jobs`` is the same
        with jobs that have their songs' ids, ``songs`` is ``{"songs": [{"id"}, ...]}``, ``both`` is ``job_id``
        with these songs
    :param job_id_known: whether ``GET music`` takes a job's id; ``no``: 404 [?]
    :param songs_shown: when ``GET music`` shows a generated song: ``at-once``, once it is ``finished``, or until
        then only by its job's id (``job-id``) [?]
    :param stagger_seconds: the songs of one create request appear one after another, each so much later [?]
    :param appearance_delay_seconds: a song appears so much later, also when its job has ended before [?]
    :param cancelled_jobs: whether the songs of a cancelled job are ``made`` all the same [D] or ``dropped`` [?]
    :param library_order: what the library is sorted by [?]
    :param library_times: whether songs created within a minute show their ``exact`` times in the library,
        ``equal`` ones, or ``inverted`` ones, a millisecond apart [?]
    :param library_changes: after each page of the library that is read, its newest song is deleted (``deletes``),
        a newer one is added (``adds``), or ``both``
    :param page_limit: how many songs a page has at most, whatever the request's ``limit`` says [?]
    :param not_found_body: whether a 404 is the API's ``json`` or a proxy's ``html`` [?]
    :param songs_per_job: how many songs one create request yields; two were seen [C]
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
    :param ranges: whether files, and what ``GET music/download`` gives, have a strong ETag and come in ranges [?]
    :param content_type: Content-Type of mp3 and wav, undocumented; None: ``audio/mpeg`` or ``audio/wav``
    :param files_url: base of the URLs that responses contain, to give them another origin; None: this server
    """

    generation_seconds: float = 3.0
    job_reply: Literal["job_id", "jobs", "song-jobs", "songs", "both"] = "job_id"
    job_id_known: Literal["yes", "no"] = "yes"
    songs_shown: Literal["at-once", "finished", "job-id"] = "at-once"
    stagger_seconds: float = 0
    appearance_delay_seconds: float = 0
    cancelled_jobs: Literal["made", "dropped"] = "made"
    library_order: Literal["newest-first", "oldest-first", "by-id", "by-title"] = "newest-first"
    library_times: Literal["exact", "equal", "inverted"] = "exact"
    library_changes: Literal["none", "deletes", "adds", "both"] = "none"
    page_limit: int = 1000
    not_found_body: Literal["json", "html"] = "json"
    songs_per_job: int = 2
    song_seconds: float = 3.0
    final_status: str = "complete"
    moderated_word: str = "moderated"
    failing_word: str = "failing"
    retry_after: str | float | None = None
    audio_reply: Literal["bytes", "chunked", "close", "url", "redirect"] = "bytes"
    stems_reply: Literal["base64", "top-level", "list", "list-base64", "data-uri", "urls", "objects", "unknown"] = (
        "base64"
    )
    missing_stems: Literal["absent", "null", "empty"] = "absent"
    ranges: Literal["no", "yes"] = "no"
    content_type: str | None = None
    files_url: str | None = None

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(Settings).items():
            value = getattr(self, name)
            if get_origin(kind) is Literal:
                fits, description = value in get_args(kind), f"one of {', '.join(get_args(kind))}"
            else:
                check, description = _CHECKS[kind]
                fits = check(value)
            if not fits:
                raise ValueError(f"{name} is {description}, not {value!r}")


# The type() of a value tells a number from True and False, which are integers for isinstance().
def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and value >= 0


def _is_line(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not re.search(r"[\r\n]", value))


_CHECKS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    float: (_is_number, "a number from 0"),
    int: (lambda value: type(value) is int and value >= 1, "a whole number from 1"),
    str: (lambda value: isinstance(value, str), "a text"),
    str | None: (_is_line, "a text without line breaks"),
    str | float | None: (lambda value: _is_line(value) or _is_number(value), "a number, or a text without line breaks"),
}
