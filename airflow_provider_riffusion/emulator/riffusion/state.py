"""What the emulated service knows: accounts, songs and jobs. Marks [D], [C] and [?]: see :mod:`.models`."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from airflow_provider_riffusion.emulator.riffusion.models import Account, Settings, Song
from airflow_provider_riffusion.emulator.server.response import RefusedError, iso_time


@dataclass
class Job:
    """
    A generation that runs or ran.

    :param seconds: seconds that the generation takes
    :param final_status: the status word that its songs end with
    :param reply: the create request's ``replyUrl`` and ``replyRef``, which only the vendor's job list shows [D]
    :param tracked: whether the vendor's job list shows it while it runs
    """

    user_id: str
    seconds: float
    final_status: str
    song_ids: tuple[str, ...]
    reply: Mapping[str, str | None]
    tracked: bool = True
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    _started_monotonic: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started_monotonic

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
        """
        Return the account that a request means, or refuse the request as the service does.

        :param user_id: the request's ``user_id``; needed when several accounts are configured [D]
        """
        with self._lock:
            if not self._accounts:
                raise RefusedError(404, "No accounts configured")
            if user_id:
                if user_id not in self._accounts:
                    raise RefusedError(404, f"Account {user_id} not found")
                return self._accounts[user_id]
            if len(self._accounts) > 1:
                raise RefusedError(400, "Parameter user_id is required when multiple accounts configured")
            return next(iter(self._accounts.values()))

    def set_account_error(self, user_id: str, error: str | None) -> Account:
        """
        Break or repair an account; KeyError when there is none of that name.

        :param user_id: the account
        :param error: the error that ``GET accounts`` shows; None: the account works again
        """
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
            number = len(self._accounts) + 1
            while f"user-{number}" in self._accounts:
                number += 1
            user_id = [*named, *broken, f"user-{number}"][0]
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
        """Return one song of an account (None: of any) as it is now, or refuse with 404."""
        with self._lock:
            song = self._songs.get(song_id)
            if song is None or user_id not in (None, song.user_id):
                raise RefusedError(404, f"Song {song_id} not found")
            return self._now(song)

    def songs(self, user_id: str | None = None) -> list[Song]:
        """Return the songs of an account (None: of all) as they are now, newest first [?]."""
        with self._lock:
            songs = [self._now(song) for song in self._songs.values() if user_id in (None, song.user_id)]
        # Of songs with the same time, the one that was added last is the newest.
        songs.reverse()
        return sorted(songs, key=lambda song: song.created_at, reverse=True)

    def songs_of(self, handle: str, user_id: str) -> list[Song]:
        """
        Return the song of that id, or the songs that the job of that id makes; refuse with 404 when there is
        neither.

        :param handle: a song's or a job's id [D]
        :param user_id: the account
        """
        with self._lock:
            job = self._jobs.get(handle)
            song_ids = job.song_ids if job is not None and job.user_id == user_id else ()
            songs = [self._now(self._songs[song_id]) for song_id in song_ids if song_id in self._songs]
            return songs or [self.song(handle, user_id)]

    def delete_song(self, song_id: str, user_id: str) -> None:
        """Delete a song of an account, or refuse with 404."""
        with self._lock:
            self.song(song_id, user_id)
            del self._songs[song_id]

    def _now(self, song: Song) -> Song:
        job = self._job_of.get(song.id)
        return song if job is None else replace(song, status=job.status)

    # --- jobs

    def create(
        self, account: Account, song: Song, *, max_jobs: int | None, fails: bool, reply: Mapping[str, str | None]
    ) -> list[Job]:
        """
        Start to generate songs and return the jobs: one per song when the settings say ``jobs``, else one.

        :param account: the account that generates
        :param song: each song as it will be, but for its id
        :param max_jobs: the create request's own limit on running jobs; None: the account's
        :param fails: whether the songs end as failed
        :param reply: the create request's ``replyUrl`` and ``replyRef``
        """
        with self._lock:
            settings = self.settings
            limit = account.max_jobs if max_jobs is None else max_jobs
            running = sum(job.user_id == account.user_id for job in self.executing())
            if running >= limit:
                raise RefusedError(
                    429,
                    f"Account {account.user_id} runs {running} of {limit} jobs; wait 10 to 30 s and retry",
                    retry_after=settings.retry_after,
                )
            ids = [str(uuid.uuid4()) for _ in range(settings.songs_per_job)]
            jobs = [
                Job(
                    user_id=account.user_id,
                    seconds=settings.generation_seconds,
                    final_status="failed" if fails else settings.final_status,
                    song_ids=tuple(song_ids),
                    reply=reply,
                )
                for song_ids in ([[song_id] for song_id in ids] if settings.job_reply == "jobs" else [ids])
            ]
            for job in jobs:
                self._jobs[job.id] = job
                for song_id in job.song_ids:
                    self._songs[song_id] = replace(song, id=song_id, user_id=account.user_id, created_at=job.started)
                    self._job_of[song_id] = job
            return jobs

    def executing(self) -> list[Job]:
        """Return the running jobs that the vendor's job list shows."""
        with self._lock:
            return [job for job in self._jobs.values() if job.executing]

    def stop_tracking(self, job_id: str) -> None:
        """Free a job's slot; its songs are generated all the same [D]. Refuse with 404 when no such job runs."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or not job.executing:
                raise RefusedError(404, f"Job {job_id} not found")
            job.tracked = False
