"""What the emulated service knows: accounts, songs and jobs. Marks [D], [C] and [?]: see :mod:`.models`."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from airflow_provider_riffusion.emulator.riffusion.models import Account, Settings, Song, iso_time
from airflow_provider_riffusion.emulator.server.response import RefusedError

PENDING_STATUS = 596
PENDING_MESSAGE = (
    "Your Riffusion account has pending error. Please address this issue at "
    "https://useapi.net/docs/api-riffusion-v1/post-riffusion-accounts before making any new API calls."
)
_BROKEN_ACCOUNT = "Unable to refresh cookie"


@dataclass
class Job:
    """A generation that runs or ran."""

    id: str
    user_id: str
    started: datetime
    started_monotonic: float
    seconds: float
    final_status: str
    song_ids: tuple[str, ...]
    reply_url: str | None
    reply_ref: str | None
    tracked: bool = True

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
        """Return the job as the scheduler shows it [D]; the form of ``elapsed`` is [?]."""
        minutes, seconds = divmod(int(self.elapsed), 60)
        return {
            "job_id": self.id,
            "user_id": self.user_id,
            "started": iso_time(self.started),
            "elapsed": f"{minutes:02}:{seconds:02}",
            "replyUrl": self.reply_url,
            "replyRef": self.reply_ref,
        }


@dataclass
class State:
    """Accounts, songs and jobs behind one lock; every public method may be called from any thread."""

    token: str
    initial_settings: Settings
    initial_accounts: tuple[Account, ...]
    initial_songs: tuple[Song, ...]
    settings: Settings = field(init=False)
    _accounts: dict[str, Account] = field(default_factory=dict)
    _songs: dict[str, Song] = field(default_factory=dict)
    _jobs: dict[str, Job] = field(default_factory=dict)
    _job_of: dict[str, Job] = field(default_factory=dict)
    _used_cookies: set[str] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Go back to the settings, accounts and songs of the start, without jobs."""
        with self._lock:
            self.settings = self.initial_settings
            self._accounts = {account.user_id: account for account in self.initial_accounts}
            self._songs = {}
            self._jobs = {}
            self._job_of = {}
            self._used_cookies = set()
            for song in self.initial_songs:
                self.add_song(song)

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

    def working_account(self, user_id: str | None) -> Account:
        """
        Return the account that a request means, or refuse it with 596 when that account is broken [D].

        :param user_id: the request's ``user_id``
        """
        account = self.account(user_id)
        if account.error is not None:
            raise RefusedError(PENDING_STATUS, PENDING_MESSAGE)
        return account

    def set_account_error(self, user_id: str, error: str | None) -> Account:
        """
        Break or repair an account.

        :param user_id: the account; KeyError when there is none of that name
        :param error: the error that ``GET accounts`` shows; None: the account works again
        """
        with self._lock:
            self._accounts[user_id] = replace(self._accounts[user_id], error=error)
            return self._accounts[user_id]

    def break_account(self, user_id: str) -> Account:
        """
        Break an account as an expired cookie does.

        :param user_id: the account; KeyError when there is none of that name
        """
        return self.set_account_error(user_id, _BROKEN_ACCOUNT)

    def post_account(self, cookie: str, max_jobs: int | None) -> Account:
        """
        Take a cookie: repair an account or configure another one.

        The real service reads the account from the cookie. Here it is the account whose name the cookie
        contains, else the first broken one, else a new one.

        :param cookie: the cookie; each one is taken only once [D]
        :param max_jobs: how many generations may run at once; None: as it was, or 3
        """
        digest = hashlib.sha256(cookie.encode()).hexdigest()
        with self._lock:
            if digest in self._used_cookies:
                raise RefusedError(400, "This cookie was already used, please provide a fresh one")
            self._used_cookies.add(digest)
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
        """
        Put a song into the library.

        :param song: the song; without a ``user_id`` it goes to the first account
        """
        with self._lock:
            if song.user_id is None and self._accounts:
                song = replace(song, user_id=next(iter(self._accounts)))
            self._songs[song.id] = song
            return song

    def set_song_status(self, song_id: str, status: str) -> None:
        """
        Give a song another status and end the job that makes it, if any.

        :param song_id: the song; KeyError when there is none of that id
        :param status: the status word
        """
        with self._lock:
            self._songs[song_id] = replace(self._songs[song_id], status=status)
            job = self._job_of.pop(song_id, None)
            if job is not None:
                job.tracked = False

    def song(self, song_id: str, user_id: str | None = None) -> Song:
        """
        Return one song as it is now, or refuse with 404.

        :param song_id: the song's id
        :param user_id: the account that it must belong to; None: any
        """
        with self._lock:
            song = self._songs.get(song_id)
            if song is None or user_id not in (None, song.user_id):
                raise RefusedError(404, f"Song {song_id} not found")
            return self._now(song)

    def songs(self, user_id: str | None = None) -> list[Song]:
        """
        Return the songs as they are now, newest first [?].

        :param user_id: the account that they belong to; None: all
        """
        with self._lock:
            songs = [self._now(song) for song in self._songs.values() if user_id in (None, song.user_id)]
        songs.reverse()
        return sorted(songs, key=lambda song: song.created_at, reverse=True)

    def songs_of(self, song_or_job_id: str, user_id: str) -> list[Song]:
        """
        Return the song of that id, or the songs that the job of that id makes; refuse with 404 when there is
        neither.

        :param song_or_job_id: a song's or a job's id [D]
        :param user_id: the account
        """
        with self._lock:
            job = self._jobs.get(song_or_job_id)
            if job is not None and job.user_id == user_id:
                songs = [self._now(self._songs[song_id]) for song_id in job.song_ids if song_id in self._songs]
                if songs:
                    return songs
            return [self.song(song_or_job_id, user_id)]

    def delete_song(self, song_id: str, user_id: str) -> None:
        """
        Delete a song, or refuse with 404.

        :param song_id: the song's id
        :param user_id: the account
        """
        with self._lock:
            self.song(song_id, user_id)
            del self._songs[song_id]

    def _now(self, song: Song) -> Song:
        job = self._job_of.get(song.id)
        return song if job is None else replace(song, status=job.status)

    # --- jobs

    def create(
        self,
        account: Account,
        songs: Sequence[Song],
        *,
        max_jobs: int | None,
        fails: bool,
        reply_url: str | None,
        reply_ref: str | None,
    ) -> list[str]:
        """
        Start to generate songs and return the ids of the jobs: one per song when the settings say ``jobs``,
        else one.

        :param account: the account that generates
        :param songs: the songs as they will be; their ids are given here
        :param max_jobs: the request's own limit on running jobs; None: the account's
        :param fails: whether the songs end as failed
        :param reply_url: kept for the scheduler
        :param reply_ref: kept for the scheduler, not in the songs [D]
        """
        settings = self.settings
        with self._lock:
            limit = account.max_jobs if max_jobs is None else max_jobs
            running = sum(job.user_id == account.user_id for job in self.executing())
            if running >= limit:
                raise RefusedError(
                    429,
                    f"Account {account.user_id} runs {running} of {limit} jobs; wait 10 to 30 s and retry",
                    retry_after=settings.retry_after,
                )
            now = datetime.now(UTC)
            songs = [replace(song, id=str(uuid.uuid4()), user_id=account.user_id, created_at=now) for song in songs]
            groups = [[song] for song in songs] if settings.job_reply == "jobs" else [songs]
            jobs = []
            for group in groups:
                job = Job(
                    id=str(uuid.uuid4()),
                    user_id=account.user_id,
                    started=now,
                    started_monotonic=time.monotonic(),
                    seconds=settings.generation_seconds,
                    final_status="failed" if fails else settings.final_status,
                    song_ids=tuple(song.id for song in group),
                    reply_url=reply_url,
                    reply_ref=reply_ref,
                )
                self._jobs[job.id] = job
                for song in group:
                    self._songs[song.id] = song
                    self._job_of[song.id] = job
                jobs.append(job.id)
            return jobs

    def executing(self) -> list[Job]:
        """Return the running jobs that the scheduler tracks."""
        with self._lock:
            return [job for job in self._jobs.values() if job.executing]

    def stop_tracking(self, job_id: str) -> None:
        """
        Free a job's slot; its songs are generated all the same [D]. Refuse with 404 when no such job runs.

        :param job_id: the job's id
        """
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or not job.executing:
                raise RefusedError(404, f"Job {job_id} not found")
            job.tracked = False
