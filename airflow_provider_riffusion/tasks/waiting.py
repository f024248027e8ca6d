"""Wait for songs: one decision for operators, sensors and triggers, and how it travels in a trigger's event."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_riffusion import exceptions
from airflow_provider_riffusion.exceptions import (
    RiffusionConnectionError,
    RiffusionDownloadError,
    RiffusionError,
    RiffusionSongFailedError,
    RiffusionTimeoutError,
)
from airflow_provider_riffusion.safe_text import printable, shown_value
from airflow_provider_riffusion.useapi.riffusion.responses import Song, is_song_id

if TYPE_CHECKING:
    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

#: Polls that may fail one after another before the task does.
MAX_FAILURES = 5
_TITLE_LENGTH = 200
_NAMES_LENGTH = 500
_SEEN_LENGTH = 1000
_MESSAGE_LENGTH = 4000


class SongSummary(TypedDict):
    """The small part of a song that fits into an XCom."""

    id: str
    status: str | None
    title: str | None
    duration_s: float | None
    share_url: str | None


class SongEvent(TypedDict, total=False):
    """The payload of a :class:`RiffusionSongTrigger`'s only event."""

    status: Literal["done", "error"]
    songs: list[SongSummary]
    error: dict[str, Any]


class Outcome(enum.Enum):
    """What a poll means."""

    WAIT = enum.auto()
    DONE = enum.auto()
    FAILED = enum.auto()
    TIMED_OUT = enum.auto()
    UNREACHABLE = enum.auto()


def decide(
    songs_by_id: Sequence[Sequence[Song]],
    *,
    now: float,
    deadline: float = math.inf,
    failures: int = 0,
    max_failures: float = MAX_FAILURES,
) -> Outcome:
    """
    Decide what a poll means. Looks at nothing but its arguments.

    :param songs_by_id: for each id that is waited for, the songs that the API shows; none while it shows none
    :param now: time, seconds
    :param deadline: time, seconds, after which waiting ends
    :param failures: polls that failed one after another up to now
    :param max_failures: how many failed polls end the waiting
    """
    songs = [song for found in songs_by_id for song in found]
    # Songs that belong together were paid for together: one failure waits until the others have ended.
    if songs_by_id and all(songs_by_id) and all(song.is_completed or song.is_failed for song in songs):
        return Outcome.FAILED if any(song.is_failed for song in songs) else Outcome.DONE
    if failures >= max_failures:
        return Outcome.UNREACHABLE
    return Outcome.TIMED_OUT if now >= deadline else Outcome.WAIT


def is_passing(error: RiffusionError) -> bool:
    """Whether a poll's failure may be gone at the next poll."""
    if isinstance(error, AirflowFailException):
        return False
    return error.transient or isinstance(error, RiffusionConnectionError | RiffusionDownloadError)


@dataclass
class Waiter:
    """
    Turns polls into a result. Holds no connection and does no I/O, so that every mode can share it.

    :param ids: song or job ids that are waited for
    :param deadline: time, seconds since the epoch
    :param max_failures: how many polls may fail one after another; infinite for Airflow's ``silent_fail``
    :param failures: how many have
    """

    ids: Sequence[str]
    deadline: float = math.inf
    max_failures: float = MAX_FAILURES
    failures: int = 0

    def result(self, polled: Sequence[Sequence[Song]] | RiffusionError, *, now: float) -> list[SongSummary] | None:
        """
        Take in one poll.

        :param polled: the songs of each id, or why the poll failed
        :param now: seconds since the epoch
        :return: the songs when all are finished, None to wait on
        :raises RiffusionSongFailedError: a song ended failed
        :raises RiffusionTimeoutError: the deadline has passed
        :raises RiffusionError: what ``polled`` is, when it cannot pass or was the last of too many
        """
        error = polled if isinstance(polled, RiffusionError) else None
        songs_by_id = [] if isinstance(polled, RiffusionError) else polled
        if error is not None and self._is_final(error):
            raise error
        self.failures = self.failures + 1 if error is not None else 0
        outcome = decide(
            songs_by_id, now=now, deadline=self.deadline, failures=self.failures, max_failures=self.max_failures
        )
        if outcome is Outcome.UNREACHABLE and error is not None:
            raise error
        if outcome is Outcome.TIMED_OUT:
            raise RiffusionTimeoutError(
                f"The deadline has passed and {self._names} is not finished; the last that was seen: "
                f"{_seen(songs_by_id, error)}"
            )
        if outcome is Outcome.FAILED:
            raise RiffusionSongFailedError(f"Of {self._names} a song failed: {_seen(songs_by_id, None)}")
        if outcome is not Outcome.DONE:
            return None
        # By id: two jobs may show the same song, and a mapped task must not download it twice at once.
        return [summary_of(song) for song in {song.id: song for found in songs_by_id for song in found}.values()]

    @property
    def _names(self) -> str:
        return ", ".join(self.ids)[:_NAMES_LENGTH]

    def _is_final(self, error: RiffusionError) -> bool:
        # Any number of failures is Airflow's silent_fail, which lets only errors through that end a task at once.
        return isinstance(error, AirflowFailException) if self.max_failures == math.inf else not is_passing(error)


def poll(hook: RiffusionHook, ids: Sequence[str], user_id: str | None) -> list[list[Song]] | RiffusionError:
    """Look once at songs; a failure is a result, which :class:`Waiter` judges."""
    try:
        return hook.poll_songs(ids, user_id=user_id)
    except RiffusionError as error:
        return error


def cancel_jobs(hook: RiffusionHook, ids: Sequence[str], *, seconds: float = 3.0) -> None:
    """
    Have the scheduler forget jobs, as well as it can be done in a short time.

    :param hook: with its connection at hand
    :param ids: job ids
    :param seconds: for all of them together
    """
    # Half for connecting and half for the reply, each of which the timeout bounds alone.
    timeout = seconds / len(ids) / 2
    for job_id in ids:
        try:
            found = hook.delete_job(job_id, timeout=timeout)
        except RiffusionError as error:
            hook.log.warning("Could not cancel job %s: %s", job_id, error)
        else:
            hook.log.info("Job %s was %s", job_id, "cancelled" if found else "not in the scheduler any more")


def summary_of(song: Song) -> SongSummary:
    """Return the small part of a song."""
    return SongSummary(
        id=song.id,
        status=song.status and song.status[:_TITLE_LENGTH],
        title=song.title and song.title[:_TITLE_LENGTH],
        duration_s=song.duration_s,
        share_url=song.share_url and song.share_url[:1024],
    )


def _seen(songs_by_id: Sequence[Sequence[Song]], error: RiffusionError | None) -> str:
    songs = ", ".join(f"song {song.id} is {str(song.status)[:40]!r}" for found in songs_by_id for song in found)
    return (str(error) if error else songs or "no song")[:_SEEN_LENGTH]


def event_of(songs: list[SongSummary]) -> SongEvent:
    """Pack the songs that are finished."""
    return SongEvent(status="done", songs=songs)


def event_of_error(error: Exception) -> SongEvent:
    """Pack an error: a trigger must not raise, because Airflow would retry what must fail at once."""
    if not isinstance(error, RiffusionError):
        error = RiffusionError(f"{type(error).__name__}: {printable(str(error), _SEEN_LENGTH)}")
    return SongEvent(status="error", error={"type": type(error).__name__, "message": str(error), "fields": vars(error)})


def songs_of_event(event: object) -> list[SongSummary]:
    """
    Unpack an event, exactly as the waiting itself would have ended.

    :raises RiffusionError: the packed error, of its own class; or the event is missing or none of ours
    """
    if not isinstance(event, dict):
        raise RiffusionError(f"The trigger resumed the task with {shown_value(event)} instead of an event.")
    songs, packed = event.get("songs"), event.get("error")
    if event.get("status") == "done" and isinstance(songs, list) and songs and all(_is_summary(song) for song in songs):
        return songs
    if event.get("status") == "error" and isinstance(packed, dict):
        error_class = getattr(exceptions, str(packed.get("type")), RiffusionError)
        if isinstance(error_class, type) and issubclass(error_class, RiffusionError):
            error = error_class(printable(str(packed.get("message")), _MESSAGE_LENGTH))
            fields = packed.get("fields")
            vars(error).update(fields if isinstance(fields, dict) else {})
            raise error
    raise RiffusionError(f"The trigger resumed the task with an event of no known form: {shown_value(event)}")


def _is_summary(song: object) -> bool:
    return (
        isinstance(song, dict)
        and song.keys() >= SongSummary.__annotations__.keys()
        and is_song_id(song["id"])
        and isinstance(song["share_url"], str | None)
    )
