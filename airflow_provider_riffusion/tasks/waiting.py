"""Decide what a poll means for a wait; operators, sensors and triggers share the decision."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_riffusion import exceptions
from airflow_provider_riffusion.exceptions import RiffusionError, RiffusionRateLimitError, RiffusionSongFailedError
from airflow_provider_riffusion.tasks.metrics import count_poll
from airflow_provider_riffusion.useapi.models import Song, SongState, SongSummary, summary_of

if TYPE_CHECKING:
    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

log = logging.getLogger(__name__)

#: Longest pause after failed polls, unless the response asks for a longer one.
MAX_PAUSE_SECONDS = 60.0
#: A trigger that does not report back, because no triggerer runs, is given up this long after the deadline.
TRIGGERER_GRACE_SECONDS = 60.0
#: Longest that the poll at the deadline may take.
_LAST_POLL_SECONDS = 3.0
#: A wait says at least this often that it still waits.
LOG_INTERVAL_SECONDS = 60.0
_MAX_SEEN_CHARS = 1000


def growing_pause(interval: float, elapsed: float, most: float, retry_after: float | None) -> float:
    """Return the seconds until a request is repeated: half of those that it has failed for, or as the response asks."""
    return max(interval, min(most, elapsed / 2), retry_after or 0.0)


def is_passing(error: RiffusionError) -> bool:
    """Return whether the same request may succeed later, without anybody's help."""
    kinds = exceptions.RiffusionConnectionError | exceptions.RiffusionDownloadError | RiffusionRateLimitError
    is_final = isinstance(error, AirflowFailException)
    return not is_final and (error.transient or isinstance(error, kinds))


def seconds_until(deadline: float) -> float:
    """Return how long a poll may take; the one at the deadline gets a few seconds."""
    return max(0.0, deadline - time.time()) + _LAST_POLL_SECONDS


@dataclass(frozen=True)
class Poll:
    """
    What one look at the API has shown.

    :param songs: for each handle its songs
    :param is_listed: whether the vendor's job list still names a job that is waited for, or nobody can tell
    """

    songs: Sequence[Sequence[Song]]
    is_listed: bool = False

    @property
    def shown(self) -> list[SongSummary]:
        """The songs that were shown, finished or not."""
        return [summary_of(song) for found in self.songs for song in found]


def poll(
    hook: RiffusionHook, handles: Sequence[str], user_id: str | None, seconds: float = math.inf
) -> Poll | RiffusionError:
    """
    Look once at songs; a failure is returned, because :class:`Wait` decides what it means.

    :param hook: the hook; a poll that is aborted leaves it unusable
    :param handles: song or job ids
    :param user_id: account; by default the connection's
    :param seconds: the poll is aborted after so long
    """
    polled: Poll | RiffusionError
    try:
        with hook.aborted_after(seconds):
            songs = hook.poll_songs(handles, user_id=user_id)
            jobs = _jobs_of(handles, songs)
            # The job list costs a request, and matters only when a job could be complete.
            is_asked = bool(jobs) and _have_ended(songs)
            polled = Poll(songs, is_asked and any(job.id in jobs for job in hook.get_scheduler(attempts=1)))
    except RiffusionError as error:
        polled = error
    count_poll(polled)
    return polled


@dataclass
class Wait:
    """
    A wait for songs: turns polls into a result or an error, and logs what changes; it does no I/O.

    :param handles: what is waited for, song or job ids
    :param interval: seconds between two polls
    :param deadline: seconds since the epoch
    :param is_tolerant: wait on after any error that is no AirflowFailException: the songs are paid for, or Airflow's
        ``silent_fail`` asks for it
    """

    handles: Sequence[str]
    interval: float
    deadline: float = math.inf
    is_tolerant: bool = False
    #: Ids of a job's songs that the next poll must show again, because another song could still appear.
    unconfirmed: Collection[str] = ()
    #: Why the last poll failed; None after a good one.
    failure: RiffusionError | None = None
    _songs: Sequence[Song] = ()
    _seen: str = "no song yet"
    _failing_since: float = 0.0
    _logged_at: float = -math.inf
    _is_late: bool = False
    #: Whether a job that is listed has shown no song yet.
    _is_unseen: bool = False

    def result(self, polled: Poll | RiffusionError, now: float) -> list[SongSummary] | None:
        """
        Return what one poll means for the wait.

        :param polled: what the poll has shown, or why it failed
        :param now: seconds since the epoch
        :return: the songs that can be used when all have ended, None to wait on
        :raises RiffusionSongFailedError: all have ended, and none can be used
        :raises RiffusionTimeoutError: the deadline has passed
        :raises RiffusionError: the poll's failure, when it cannot pass
        """
        if isinstance(polled, RiffusionError):
            self.fail(polled, now)
        elif self._is_complete(polled, now):
            return usable(self._songs)
        is_late, self._is_late = self._is_late, now >= self.deadline
        # A set that is complete at the deadline is confirmed by one more poll.
        if self._is_late and (is_late or not self.unconfirmed):
            names = ", ".join(self.handles)[:500]
            raise exceptions.RiffusionTimeoutError(
                f"{names} was not finished in time.\nLet a retry wait on, or raise the timeout.\n{self.last_seen}",
                usable=_summaries(self._songs),
                is_running=self._is_unseen or any(song.state is SongState.RUNNING for song in self._songs),
            )
        return None

    def fail(self, error: RiffusionError, now: float) -> None:
        """
        Wait on after a failed poll.

        :param error: why it failed
        :param now: seconds since the epoch
        :raises RiffusionError: the error itself, when it cannot pass
        """
        if not is_passing(error) and (isinstance(error, AirflowFailException) or not self.is_tolerant):
            raise error
        if self.failure is None:
            self._failing_since = now
        self.failure = error
        log.warning("A poll failed, which is tolerated until the deadline: %s", error)

    def pause(self, now: float) -> float:
        """Return the seconds until the next poll; the last poll is at the deadline."""
        pause = self.interval
        if self.failure is not None:
            pause = growing_pause(pause, now - self._failing_since, MAX_PAUSE_SECONDS, self.failure.retry_after)
        least = min(self.interval, _LAST_POLL_SECONDS) if self._is_late else 0.0
        return max(least, min(pause, self.deadline - now))

    @property
    def last_seen(self) -> str:
        """The last status of each song, and why the last poll failed."""
        failure = f" The last poll failed: {' '.join(str(self.failure).split())}" if self.failure else ""
        return f"Last seen: {self._seen}.{failure}"

    def _is_complete(self, polled: Poll, now: float) -> bool:
        self.failure = None
        self._songs = [song for found in polled.songs for song in found]
        self._is_unseen = polled.is_listed and not all(polled.songs)
        seen = ", ".join(f"song {song.id} is {str(song.status)[:40]!r}" for song in self._songs)
        # The triggerer asks for a job's songs only once the job list names the job no more.
        unseen = "is still in the job list" if polled.is_listed else "has shown no song yet"
        seen = seen or f"{', '.join(self.handles)[:500]} {unseen}"
        if seen != self._seen or now - self._logged_at >= LOG_INTERVAL_SECONDS:
            left = "" if self.deadline == math.inf else f", {max(0.0, self.deadline - now):.0f} s left"
            # Airflow's log view shows about 85 characters of a line, so what changes comes before a list of ids.
            log.info("Waiting%s: %s", left, seen[:_MAX_SEEN_CHARS])
            self._seen, self._logged_at = seen[:_MAX_SEEN_CHARS], now
        before, self.unconfirmed = self.unconfirmed, ()
        if polled.is_listed or not _have_ended(polled.songs):
            return False
        ids = {song.id for song in self._songs}
        if _jobs_of(self.handles, polled.songs) and before != ids:
            self.unconfirmed = ids
            return False
        return True


def usable(songs: Sequence[Song]) -> list[SongSummary]:
    """
    Return the songs of a complete set that can be used, and warn about the others.

    :raises RiffusionSongFailedError: none can be used
    """
    found = _summaries(songs)
    names = ", ".join(f"{song.id} ({str(song.status)[:40]!r})" for song in songs if not song.is_completed)
    if not found:
        raise RiffusionSongFailedError(f"No song was made: {names[:_MAX_SEEN_CHARS]}.\nClear the task to create anew.")
    if names:
        log.warning("Some songs failed and are left out of the result: %s", names[:_MAX_SEEN_CHARS])
    return found


def _summaries(songs: Sequence[Song]) -> list[SongSummary]:
    # Two jobs may show the same song, and two tasks must not download it at once, so each id counts once.
    return [summary_of(song) for song in {song.id: song for song in songs if song.is_completed}.values()]


def _have_ended(songs: Sequence[Sequence[Song]]) -> bool:
    return bool(songs) and all(songs) and all(song.state is not SongState.RUNNING for found in songs for song in found)


def _jobs_of(handles: Sequence[str], songs: Sequence[Sequence[Song]]) -> set[str]:
    """Return the handles that are ids of jobs: the API shows songs with other ids for them."""
    return {handle for handle, found in zip(handles, songs, strict=True) if handle not in {song.id for song in found}}
