"""Decide what a poll means for a wait; operators, sensors and triggers share the decision."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_riffusion.exceptions import (
    RiffusionConnectionError,
    RiffusionDownloadError,
    RiffusionError,
    RiffusionSongFailedError,
    RiffusionTimeoutError,
)
from airflow_provider_riffusion.useapi.models import Song, SongSummary, summary_of

if TYPE_CHECKING:
    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

#: Polls that may fail one after another before the task does.
MAX_FAILURES = 5
_MAX_NAMES_CHARS = 500
_MAX_SEEN_CHARS = 1000


class Outcome(enum.Enum):
    """What a poll means for the wait."""

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
    Decide what a poll means, from the arguments alone.

    :param songs_by_id: for each handle that is waited for, the songs that the API shows; none while it shows none
    :param now: time, seconds
    :param deadline: time, seconds, after which the wait ends
    :param failures: polls that have failed in a row
    :param max_failures: how many failed polls in a row end the wait
    """
    songs = [song for found in songs_by_id for song in found]
    # Songs of one wait were paid for together, so a failed song does not end the wait while others still run.
    if songs_by_id and all(songs_by_id) and all(song.is_completed or song.is_failed for song in songs):
        return Outcome.FAILED if any(song.is_failed for song in songs) else Outcome.DONE
    if failures >= max_failures:
        return Outcome.UNREACHABLE
    return Outcome.TIMED_OUT if now >= deadline else Outcome.WAIT


def is_passing(error: RiffusionError) -> bool:
    """Return whether to keep polling after this error."""
    if isinstance(error, AirflowFailException):
        return False
    return error.transient or isinstance(error, RiffusionConnectionError | RiffusionDownloadError)


@dataclass
class Waiter:
    """
    Turns polls into a result; does no I/O, so that every mode of waiting can share it.

    :param ids: handles that are waited for, song or job ids
    :param deadline: time, seconds since the epoch
    :param max_failures: how many polls in a row may fail; infinite for Airflow's ``silent_fail``
    :param failures: how many polls in a row have failed
    """

    ids: Sequence[str]
    deadline: float = math.inf
    max_failures: float = MAX_FAILURES
    failures: int = 0

    def result(self, polled: Sequence[Sequence[Song]] | RiffusionError, *, now: float) -> list[SongSummary] | None:
        """
        Return what one poll means for the wait.

        :param polled: the songs of each handle, or why the poll failed
        :param now: seconds since the epoch
        :return: the songs when all are finished, None to wait on
        :raises RiffusionSongFailedError: a song ended failed
        :raises RiffusionTimeoutError: the deadline has passed
        :raises RiffusionError: the poll's failure, when it cannot pass or too many polls have failed
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
        # Two jobs may show the same song, and two mapped tasks must not download it at once, so each id counts once.
        return [summary_of(song) for song in {song.id: song for found in songs_by_id for song in found}.values()]

    @property
    def _names(self) -> str:
        return ", ".join(self.ids)[:_MAX_NAMES_CHARS]

    def _is_final(self, error: RiffusionError) -> bool:
        # An unlimited budget means silent_fail, which lets only AirflowFailException through.
        return isinstance(error, AirflowFailException) if self.max_failures == math.inf else not is_passing(error)


def poll(hook: RiffusionHook, ids: Sequence[str], user_id: str | None) -> list[list[Song]] | RiffusionError:
    """Look once at songs; a failure is returned, because :class:`Waiter` decides what it means."""
    try:
        return hook.poll_songs(ids, user_id=user_id)
    except RiffusionError as error:
        return error


def _seen(songs_by_id: Sequence[Sequence[Song]], error: RiffusionError | None) -> str:
    songs = ", ".join(f"song {song.id} is {str(song.status)[:40]!r}" for found in songs_by_id for song in found)
    return (str(error) if error else songs or "no song")[:_MAX_SEEN_CHARS]
