"""List the songs of a batch in the storage, and read the list that an earlier try has left, trusting none of it."""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from airflow_provider_riffusion.exceptions import RiffusionError
from airflow_provider_riffusion.useapi.prompts import is_song_id

if TYPE_CHECKING:
    from airflow_provider_riffusion.operators.song_download import SongDownload

log = logging.getLogger(__name__)

SAVE_SECONDS = 60.0


class SongEntry(TypedDict):
    """
    A line of the manifest: a song that is in the storage.

    :param id: song id
    :param format: ``mp3``, ``wav`` or ``stems``
    :param path: path or URL of the file, or of the folder of stems
    :param size: bytes, of stems their sum
    :param sha256: hexadecimal digest, of stems that of their ``manifest.json``; None for a file that was there already,
        and then all that follows is None, too
    :param title: title
    :param prompt: what the song sounds like, in the words of the prompt
    :param lyrics: the words; None: instrumental or unknown
    :param created_at: time of creation, ISO 8601
    :param duration_s: length in seconds
    """

    id: str
    format: str
    path: str
    size: int
    sha256: str | None
    title: str | None
    prompt: str | None
    lyrics: str | None
    created_at: str | None
    duration_s: float | None


class SongManifest:
    """
    Collects lines in a local file, and publishes them whole: under another name until all songs are there.

    :param download: what downloads the songs
    :param folder: a private local folder
    :param name: file name of the manifest
    :param unfinished: file name until all songs are there; an earlier try may have left it
    """

    def __init__(self, download: SongDownload, folder: Path, name: str, unfinished: str) -> None:
        self._storage, self._name, self._unfinished = download.storage, name, unfinished
        self.earlier = read_entries(download, unfinished)
        #: Path or URL of the unfinished manifest; None when there is none.
        self.saved_path = self._storage.path(unfinished) if self.earlier else None
        self._added: set[str] = set()
        self._is_saved, self._saved_at = True, time.monotonic()
        # A file, because the lyrics of 10,000 songs are many megabytes.
        self._lines, self._copy = folder / "lines", folder / "copy"
        self._lines.touch()

    def add(self, entry: SongEntry, *, is_new: bool) -> None:
        """
        Add a song that is there.

        :param entry: its line
        :param is_new: whether it was downloaded just now, which the next try could not know from the storage alone
        """
        with self._lines.open("a", encoding="ascii") as file:
            file.write(_line(entry))
        self._added.add(entry["id"])
        self._is_saved = self._is_saved and not is_new

    def save_each_minute(self) -> None:
        """Save the lines when that was long ago."""
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Publish what is new for the next try, with the earlier lines that this try has not come to; best effort."""
        if self._is_saved:
            return
        self._is_saved, self._saved_at = True, time.monotonic()
        try:
            shutil.copyfile(self._lines, self._copy)
            with self._copy.open("a", encoding="ascii") as file:
                file.writelines(_line(entry) for song_id, entry in self.earlier.items() if song_id not in self._added)
            self._storage.publish(self._copy, self._unfinished)
        except (OSError, RiffusionError) as error:
            log.warning("The songs that are stored are not in a manifest, a retry would fetch them again: %s", error)
            return
        self.saved_path = self._storage.path(self._unfinished)

    def finish(self) -> None:
        """Publish the manifest, because all songs are there."""
        self._storage.publish(self._lines, self._name)
        self._storage.delete(self._unfinished)


def read_entries(download: SongDownload, name: str) -> dict[str, SongEntry]:
    """
    Return the lines of a manifest, by song, that name what a download would write.

    :param download: what downloads the songs
    :param name: file name of the manifest, which anybody may have written
    """
    lines = (download.storage.read(name) or b"").splitlines()
    return {
        entry["id"]: entry
        for entry in map(_entry_of, lines)
        if entry is not None
        and entry["format"] == download.download_format
        and entry["path"] == download.storage.path(download.name_of(entry["id"]))
    }


def _line(entry: SongEntry) -> str:
    return f"{json.dumps(entry)}\n"


def _entry_of(line: bytes) -> SongEntry | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast("SongEntry", entry) if isinstance(entry, dict) and all(_checks(entry)) else None


def _checks(entry: dict[str, Any]) -> Iterator[bool]:
    yield entry.keys() == SongEntry.__annotations__.keys()
    yield is_song_id(entry["id"])
    yield isinstance(entry["format"], str) and isinstance(entry["path"], str)
    yield type(entry["size"]) is int and entry["size"] >= 0
    texts = [entry[name] for name in ("sha256", "title", "prompt", "lyrics", "created_at")]
    yield all(text is None or isinstance(text, str) for text in texts)
    yield entry["sha256"] is None or re.fullmatch("[0-9a-f]{64}", entry["sha256"]) is not None
    duration = entry["duration_s"]
    # JSON of Python's may hold infinity and numbers of any length.
    yield duration is None or (type(duration) in (int, float) and abs(duration) < 1e9)
