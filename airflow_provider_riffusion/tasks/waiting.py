"""Decide what a poll means for a wait; operators, sensors and triggers share the decision."""

from __future__ import annotations

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
from airflow_provider_riffusion.useapi.models import Song, SongState, SongSummary, summary_of

if TYPE_CHECKING:
    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

#: Polls that may fail one after another before the task does.
MAX_FAILURES = 5
_MAX_NAMES_CHARS = 500
_MAX_SEEN_CHARS = 1000


def is_passing(error: RiffusionError) -> bool:
    """Return whether to keep polling after this error."""
    is_of_network = isinstance(error, RiffusionConnectionError | RiffusionDownloadError)
    return (error.transient or is_of_network) and not isinstance(error, AirflowFailException)


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
        names = ", ".join(self.ids)[:_MAX_NAMES_CHARS]
        if isinstance(polled, RiffusionError):
            self.failures += 1
            # An unlimited budget means silent_fail, which lets only AirflowFailException through.
            may_pass = self.max_failures == math.inf or is_passing(polled)
            if isinstance(polled, AirflowFailException) or not may_pass or self.failures >= self.max_failures:
                raise polled
            seen = str(polled)
        else:
            self.failures = 0
            songs = [song for found in polled for song in found]
            seen = ", ".join(f"song {song.id} is {str(song.status)[:40]!r}" for song in songs) or "no song"
            # Songs of one wait were paid for together, so a failed song does not end the wait while others still run.
            if polled and all(polled) and all(song.state is not SongState.RUNNING for song in songs):
                if any(song.is_failed for song in songs):
                    raise RiffusionSongFailedError(f"Of {names} a song failed: {seen[:_MAX_SEEN_CHARS]}")
                # Two jobs may show the same song, and two tasks must not download it at once, so each id counts once.
                return [summary_of(song) for song in {song.id: song for song in songs}.values()]
        if now < self.deadline:
            return None
        seen = seen[:_MAX_SEEN_CHARS]
        raise RiffusionTimeoutError(f"The deadline has passed and {names} is not finished; last seen: {seen}")


def poll(hook: RiffusionHook, ids: Sequence[str], user_id: str | None) -> list[list[Song]] | RiffusionError:
    """Look once at songs; a failure is returned, because :class:`Waiter` decides what it means."""
    try:
        return hook.poll_songs(ids, user_id=user_id)
    except RiffusionError as error:
        return error
