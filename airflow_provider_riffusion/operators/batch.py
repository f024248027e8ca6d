"""Download many songs in several threads, go on after the failure of one, and stop all of them at once."""

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from itertools import islice

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_riffusion import exceptions
from airflow_provider_riffusion.exceptions import RiffusionError
from airflow_provider_riffusion.operators.song_download import SongDownload
from airflow_provider_riffusion.operators.song_manifest import SongEntry, SongManifest
from airflow_provider_riffusion.storage.spool import Spool
from airflow_provider_riffusion.useapi.models import Song

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 10.0
#: The system may hand a signal to another thread: then the main thread acts on it when it wakes up, and a kill has 5 s.
_WAKE_SECONDS = 0.5
#: Failures in a row that look like an outage or a full disk.
MAX_FAILURES_IN_A_ROW = 10

#: What is wrong with one song says nothing about the others.
_OF_ONE_SONG = (
    exceptions.RiffusionNotFoundError
    | exceptions.RiffusionNotReadyError
    | exceptions.RiffusionModerationError
    | exceptions.RiffusionTooLargeError
    | exceptions.RiffusionStemsError
    | exceptions.RiffusionFileExistsError
    | exceptions.RiffusionSongFailedError
)


class Batch:
    """
    Downloads songs in several threads.

    Afterwards ``downloaded``, ``skipped`` and ``bytes`` count the songs that are there, ``downloaded_bytes`` those of
    the songs that were downloaded, and ``new`` the songs that this or an earlier try of the task has downloaded.
    ``failed`` has a line for each that failed, ``stopped`` says why the batch ended early, ``fatal`` is the error that
    no other song would escape, and ``retry_after`` is the longest pause, in seconds, that a response to a failed song
    asked for.

    :param download: downloads one song
    :param spool: a private folder of this batch; each download gets a folder in it
    :param manifest: lists the songs that are there
    :param sizes: sizes of the files that are there, in bytes; None to look at each
    :param max_workers: downloads at the same time
    """

    def __init__(
        self,
        download: SongDownload,
        spool: Spool,
        manifest: SongManifest,
        sizes: Mapping[str, int] | None,
        max_workers: int,
    ) -> None:
        self._download, self._spool = download, spool
        self._manifest, self._sizes = manifest, sizes
        self._max_workers = max_workers
        self.downloaded = self.skipped = self.bytes = 0
        self.new = self.downloaded_bytes = 0
        self.failed: dict[str, str] = {}
        self.may_succeed_later = False
        self.retry_after: float | None = None
        self.stopped = ""
        self.fatal: Exception | None = None
        self._failures_in_a_row = 0

    def run(self, song_ids: Sequence[str]) -> None:
        """
        Download the songs, and return when no thread is left.

        :param song_ids: the songs, each once
        """
        waiting = iter(song_ids)
        running: dict[Future[SongEntry], str] = {}
        started = reported = time.monotonic()
        with ThreadPoolExecutor(self._max_workers, thread_name_prefix="riffusion-song") as pool:
            try:
                while True:
                    for song_id in () if self.stopped else islice(waiting, self._max_workers - len(running)):
                        # Airflow finds the log of the task by the context.
                        running[pool.submit(copy_context().run, self._store, song_id)] = song_id
                    if not running:
                        break
                    for future in wait(running, _WAKE_SECONDS, FIRST_COMPLETED).done:
                        self._note(running.pop(future), future)
                    if time.monotonic() - reported >= PROGRESS_SECONDS:
                        self._report(len(song_ids), started)
                        self._manifest.save_each_minute()
                        reported = time.monotonic()
            except BaseException as error:
                # Airflow's execution_timeout raises here, and leaving the block waits for the threads.
                self.stop(type(error).__name__)
                raise
        self._report(len(song_ids), started)

    def stop(self, why: str) -> None:
        """
        Start no request any more, break the others off, and remove what is unfinished; from any thread.

        :param why: what happened
        """
        self.stopped = self.stopped or why
        self._download.hook.abort()
        self._spool.remove()

    def _store(self, song_id: str) -> SongEntry:
        try:
            return self._entry(song_id)
        except Exception as error:
            self._judge(error)
            raise

    def _entry(self, song_id: str) -> SongEntry:
        download, name = self._download, self._download.name_of(song_id)
        size = download.size(name) if self._sizes is None else self._sizes.get(name)
        if (earlier := self._manifest.earlier.get(song_id)) is not None and size is not None:
            found = download.found(song_id, name, size)
            if found is not None and found["size"] == earlier["size"]:
                return earlier
        result, song = download.existing(song_id, name, size), Song(song_id)
        if result is None:
            with Spool(self._spool.path, name, None) as spool:
                result = download.fetch(song_id, name, spool)
            song = self._facts(song_id)
        return SongEntry(
            id=song_id,
            format=result["download_format"],
            path=result["path"],
            size=result["size"],
            sha256=result["sha256"],
            title=song.title,
            prompt=song.sound,
            lyrics=song.lyrics,
            created_at=song.created_at,
            duration_s=song.duration_s,
        )

    def _facts(self, song_id: str) -> Song:
        """Get what the library knows of a song that is stored; nothing of it is worth a failure."""
        try:
            songs = self._download.hook.get_songs(song_id, user_id=self._download.user_id, attempts=1)
        except RiffusionError as error:
            log.warning("The manifest has no title and lyrics of song %s: %s", song_id, error)
            self._judge(error)
            songs = []
        return next((song for song in songs if song.id == song_id), Song(song_id))

    def _judge(self, error: Exception) -> None:
        """Stop the batch for what no other song would escape, and for what nobody has expected."""
        is_expected = isinstance(error, RiffusionError) and not isinstance(error, AirflowFailException)
        if not (self.stopped or is_expected or isinstance(error, _OF_ONE_SONG)):
            self.fatal = error
            # At once, because the other threads would send their next requests before the main thread looks.
            self.stop(type(error).__name__)

    def _note(self, song_id: str, future: Future[SongEntry]) -> None:
        error = future.exception()
        if error is None:
            entry = future.result()
            is_old = entry["sha256"] is None or entry is self._manifest.earlier.get(song_id)
            self.skipped += is_old
            self.downloaded += not is_old
            self.bytes += entry["size"]
            self.new += entry["sha256"] is not None
            self.downloaded_bytes += 0 if is_old else entry["size"]
            self._failures_in_a_row = self._failures_in_a_row if is_old else 0
            self._manifest.add(entry, is_new=not is_old)
        elif not self.stopped:
            log.warning("Song %s was not stored: %s", song_id, error)
            self.failed[song_id] = str(error).partition("\n")[0][:200]
            self.may_succeed_later |= not isinstance(error, AirflowFailException)
            if isinstance(error, RiffusionError) and error.retry_after is not None:
                self.retry_after = max(error.retry_after, self.retry_after or 0.0)
            self._failures_in_a_row += not isinstance(error, _OF_ONE_SONG)
            if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                self.stop(f"{MAX_FAILURES_IN_A_ROW} failures in a row")

    def _report(self, total: int, started: float) -> None:
        seconds, failed = time.monotonic() - started, len(self.failed)
        done = self.downloaded + self.skipped
        to_do = total - done - failed
        is_known = self.downloaded or not to_do
        left = f"{to_do * seconds / max(self.downloaded, 1):.0f} s" if is_known else "unknown time"
        megabytes = self.downloaded_bytes / 1e6
        log.info(
            "%s of %s songs done, %s of them skipped, %s failed; %.1f MB downloaded, %.2f MB/s, %s left",
            *(done, total, self.skipped, failed, megabytes, megabytes / max(seconds, 1e-3), left),
        )
