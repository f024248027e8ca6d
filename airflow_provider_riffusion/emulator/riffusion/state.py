"""What the emulated service knows: accounts, songs and jobs. Marks [D], [C] and [?]: see :mod:`.models`."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_riffusion.emulator.riffusion.models import AcceptedCreate, Account, Settings, Song
from airflow_provider_riffusion.emulator.server.response import RefusedError, iso_time


@dataclass
class Job:
    """
    A generation that runs or ran.

    :param id: the job's id
    :param first: how many songs of the same create request come before the first one of this job
    :param started_monotonic: ``time.monotonic()`` at its start, in seconds
    :param seconds: seconds that the generation takes
    :param final_status: the status word that its songs end with
    :param reply: the create request's ``replyUrl`` and ``replyRef``, which only the vendor's job list shows [D]
    :param tracked: whether the vendor's job list shows it while it runs
    """

    id: str
    first: int
    started_monotonic: float
    user_id: str
    seconds: float
    final_status: str
    song_ids: tuple[str, ...]
    reply: Mapping[str, str | None]
    tracked: bool = True
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started_monotonic

    @property
    def status(self) -> str:
        """The status word of the job's songs: queued, generating_audio [C], then the final one."""
        if self.elapsed >= self.seconds:
            return self.final_status
        return "queued" if self.elapsed < self.seconds / 3 else "generating_audio"

    @property
    def executing(self) -> bool:
        """Whether the job takes up a slot."""
        return self.tracked and self.elapsed < self.seconds

    def as_json(self) -> dict[str, Any]:
        """Return the job as the vendor's job list shows it [D]; the form of ``elapsed`` is [?]."""
        minutes, seconds = divmod(int(self.elapsed), 60)
        return {
            "job_id": self.id,
            "user_id": self.user_id,
            "started": iso_time(self.started),
            "elapsed": f"{minutes:02}:{seconds:02}",
            **self.reply,
        }


class State:
    """
    Accounts, songs and jobs behind one lock; every public method may be called from any thread.

    :param settings: how the service behaves, until they are changed
    :param accounts: the configured accounts at the start
    :param songs: the library at the start
    """

    def __init__(self, settings: Settings, accounts: Iterable[Account], songs: Iterable[Song]) -> None:
        self._start = settings, tuple(accounts), tuple(songs)
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Go back to the settings, accounts and songs of the start, without jobs."""
        with self._lock:
            self.settings, accounts, songs = self._start
            self._accounts = {account.user_id: account for account in accounts}
            self._songs: dict[str, Song] = {}
            self._jobs: dict[str, Job] = {}
            self._job_of: dict[str, Job] = {}
            self._creates: list[AcceptedCreate] = []
            self._used_cookies: set[int] = set()
            for song in songs:
                self.add_song(song)

    def configure(self, **changes: Any) -> None:
        """Change fields of the settings; TypeError and ValueError say what is wrong with them."""
        with self._lock:
            self.settings = replace(self.settings, **changes)

    # --- accounts

    def accounts(self) -> list[Account]:
        """Return all accounts."""
        with self._lock:
            return list(self._accounts.values())

    def account(self, user_id: str | None) -> Account:
        """Return the account of a request's ``user_id``, needed with several accounts [D], or refuse the request."""
        with self._lock:
            if not self._accounts:
                raise RefusedError(404, "No accounts configured")
            if not user_id and len(self._accounts) > 1:
                raise RefusedError(400, "Parameter user_id is required when multiple accounts configured")
            user_id = user_id or next(iter(self._accounts))
            if user_id not in self._accounts:
                raise RefusedError(404, f"Account {user_id} not found")
            return self._accounts[user_id]

    def set_account_error(self, user_id: str, error: str | None) -> Account:
        """Break an account with the error that ``GET accounts`` shows, or repair it (None); KeyError without it."""
        with self._lock:
            self._accounts[user_id] = replace(self._accounts[user_id], error=error)
            return self._accounts[user_id]

    def post_account(self, cookie: str, max_jobs: int | None) -> Account:
        """
        Take a cookie: repair an account or configure another one.

        The real service reads the account from the cookie. Here it is the account whose name the cookie
        contains, else the first broken one, else a new one.

        :param cookie: the cookie; each one is taken only once [D]
        :param max_jobs: how many generations may run at once; None: as it was, or 3
        """
        with self._lock:
            if hash(cookie) in self._used_cookies:
                raise RefusedError(400, "This cookie was already used, please provide a fresh one")
            self._used_cookies.add(hash(cookie))
            # The longest name first: "user-1" is also a part of "user-10".
            named = sorted((name for name in self._accounts if name in cookie), key=len, reverse=True)
            broken = [name for name, account in self._accounts.items() if account.error is not None]
            names = (f"user-{number}" for number in itertools.count(1 + len(self._accounts)))
            user_id = [*named, *broken, next(name for name in names if name not in self._accounts)][0]
            old = self._accounts.get(user_id, Account(user_id))
            self._accounts[user_id] = Account(user_id, max_jobs or old.max_jobs)
            return self._accounts[user_id]

    # --- songs

    def add_song(self, song: Song) -> Song:
        """Put a song into the library; without a ``user_id`` it goes to the first account."""
        with self._lock:
            if song.user_id is None and self._accounts:
                song = replace(song, user_id=next(iter(self._accounts)))
            self._songs[song.id] = song
            return song

    def set_song_status(self, song_id: str, status: str) -> None:
        """Give a song another status word and end the job that makes it; KeyError when there is no such song."""
        with self._lock:
            self._songs[song_id] = replace(self._songs[song_id], status=status)
            job = self._job_of.pop(song_id, None)
            if job is not None:
                job.tracked = False

    def song(self, song_id: str, user_id: str | None = None) -> Song:
        """Return one shown song of an account (None: of any) as it is now, or refuse with 404."""
        with self._lock:
            song = self._songs.get(song_id)
            if song is None or user_id not in (None, song.user_id) or not self._is_shown(song_id):
                raise RefusedError(404, f"Song {song_id} not found")
            return self._now(song)

    def songs(self) -> list[Song]:
        """Return all songs as they are now, shown or not, newest first."""
        with self._lock:
            songs = [self._now(song) for song in self._songs.values()]
        # Of songs with the same time, the one that was added last is the newest.
        songs.reverse()
        return sorted(songs, key=lambda song: song.created_at, reverse=True)

    def page(self, user_id: str, offset: int, limit: int) -> list[Song]:
        """Return a page of the shown songs of an account, and change the library if the settings say so."""
        with self._lock:
            settings = self.settings
            songs = [song for song in self.songs() if song.user_id == user_id and self._is_shown(song.id)]
            newest, songs = songs[:1], _with_times(songs, settings.library_times)
            match settings.library_order:
                case "oldest-first":
                    songs.reverse()
                case "by-id":
                    songs.sort(key=lambda song: song.id)
                case "by-title":
                    songs.sort(key=lambda song: song.title)
            page = songs[offset : offset + min(limit, settings.page_limit)]
            for song in newest if page else ():
                if settings.library_changes in ("deletes", "both"):
                    del self._songs[song.id]
                if settings.library_changes in ("adds", "both"):
                    created_at = song.created_at + timedelta(seconds=1)
                    self.add_song(replace(song, id=str(uuid.uuid4()), status="complete", created_at=created_at))
            return page

    def songs_of(self, handle: str, user_id: str) -> list[Song]:
        """Return the shown song, or the shown songs of the job, of that id [D], or refuse with 404."""
        with self._lock:
            job = self._jobs.get(handle) if self.settings.job_id_known == "yes" else None
            ids = job.song_ids if job is not None and job.user_id == user_id else ()
            songs = [self._songs[each] for each in ids if each in self._songs and self._is_shown(each, by_job=True)]
            return [self._now(song) for song in songs] or [self.song(handle, user_id)]

    def delete_song(self, song_id: str, user_id: str) -> None:
        """Delete a song of an account, or refuse with 404."""
        with self._lock:
            self.song(song_id, user_id)
            del self._songs[song_id]

    def _now(self, song: Song) -> Song:
        job = self._job_of.get(song.id)
        return song if job is None else replace(song, status=job.status)

    def _is_shown(self, song_id: str, *, by_job: bool = False) -> bool:
        """
        Return whether ``GET music`` shows a song by now; songs that no job makes are shown.

        :param song_id: the song
        :param by_job: whether the request names the job
        """
        job, settings = self._job_of.get(song_id), self.settings
        if job is None:
            return True
        at_once = settings.songs_shown == "at-once" or (by_job and settings.songs_shown == "job-id")
        stagger = settings.stagger_seconds * (job.first + job.song_ids.index(song_id))
        return job.elapsed >= (0 if at_once else job.seconds) + settings.appearance_delay_seconds + stagger

    # --- jobs

    @property
    def creates(self) -> list[AcceptedCreate]:
        """The create requests that were accepted, oldest first; a copy."""
        with self._lock:
            return list(self._creates)

    def create(self, account: Account, song: Song, body: Mapping[str, Any], *, fails: bool) -> AcceptedCreate:
        """
        Start to generate songs, or refuse with 429 when the account has no slot left.

        :param account: the account that generates
        :param song: each song as it will be, but for its id
        :param body: the create request's body; its ``maxJobs`` goes before the account's
        :param fails: whether the songs end as failed
        """
        with self._lock:
            settings = self.settings
            limit = body.get("maxJobs") or account.max_jobs
            running = sum(job.user_id == account.user_id for job in self.executing())
            if running >= limit:
                raise RefusedError(
                    429,
                    f"Account {account.user_id} runs {running} of {limit} jobs; wait 10 to 30 s and retry",
                    retry_after=settings.retry_after,
                )
            ids = tuple(str(uuid.uuid4()) for _ in range(settings.songs_per_job))
            parts = [(song_id,) for song_id in ids] if settings.job_reply in ("jobs", "song-jobs") else [ids]
            jobs = [
                Job(
                    id=part[0] if settings.job_reply == "song-jobs" else str(uuid.uuid4()),
                    first=number,
                    started_monotonic=time.monotonic(),
                    user_id=account.user_id,
                    seconds=settings.generation_seconds,
                    final_status="failed" if fails else settings.final_status,
                    song_ids=part,
                    reply={name: body.get(name) for name in ("replyUrl", "replyRef")},
                )
                for number, part in enumerate(parts)
            ]
            for job in jobs:
                self._jobs[job.id] = job
                for song_id in job.song_ids:
                    created_at = job.started + timedelta(milliseconds=ids.index(song_id))
                    self._songs[song_id] = replace(song, id=song_id, user_id=account.user_id, created_at=created_at)
                    self._job_of[song_id] = job
            self._creates.append(AcceptedCreate(dict(body), tuple(job.id for job in jobs), ids))
            return self._creates[-1]

    def executing(self) -> list[Job]:
        """Return the running jobs that the vendor's job list shows."""
        with self._lock:
            return [job for job in self._jobs.values() if job.executing]

    def stop_tracking(self, job_id: str) -> None:
        """Free a job's slot and drop its songs, if the settings say so; refuse with 404 when no such job runs."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or not job.executing:
                raise RefusedError(404, f"Job {job_id} not found")
            job.tracked = False
            if self.settings.cancelled_jobs == "dropped":
                for song_id in job.song_ids:
                    self._songs.pop(song_id, None)


def _with_times(songs: list[Song], times: str) -> list[Song]:
    """Return songs, newest first, with the times that ``library_times`` says."""
    step = timedelta(milliseconds=1 if times == "inverted" else 0)
    if times == "exact":
        return songs
    changed: list[Song] = []
    start = shown = datetime.min.replace(tzinfo=UTC)
    for song in reversed(songs):
        if song.created_at - start > timedelta(minutes=1):
            start = shown = song.created_at
        else:
            shown -= step
        changed.append(replace(song, created_at=shown))
    return changed[::-1]
