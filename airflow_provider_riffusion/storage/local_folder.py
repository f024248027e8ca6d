"""Store files in a folder of this machine, or one that is mounted here."""

import fcntl
import logging
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from airflow_provider_riffusion.storage.location import StorageLocation, wrong_path
from airflow_provider_riffusion.storage.spool import Spool

log = logging.getLogger(__name__)

#: Far longer than a set of files takes to be renamed; a writer that hangs must not hold others up for ever.
_LOCK_SECONDS = 60.0


class LocalFolder:
    """A folder of this machine, or one that is mounted here; it is made when it is missing."""

    #: Airflow connection of the store.
    conn_id: str | None = None
    #: Account that the URIs leave out.
    account: str | None = None

    def __init__(self, location: StorageLocation) -> None:
        self._location, self._folder = location, Path(location.path)

    def path(self, *names: str) -> str:
        """Return the path or URL under which others find a file."""
        return str(self._folder.joinpath(*names))

    def uri(self, *names: str) -> str:
        """Return the URI of a file, or without names of the storage, as assets and lineage name it."""
        return self._location.uri(*names)

    def size(self, *names: str) -> int | None:
        """
        Return the size of a file in bytes, None when there is none.

        :raises RiffusionConfigurationError: the name cannot be used, such as that of a folder
        """
        status: os.stat_result | None = self._look(Path.stat, *names)
        if status is not None and not stat.S_ISREG(status.st_mode):
            raise wrong_path(self.path(*names), "it exists and is not a regular file; choose another file_name")
        return status and status.st_size

    def sizes(self, names: Collection[str]) -> dict[str, int]:
        """Return the sizes in bytes of those files of the folder that are there."""
        return {name: size for name in names if (size := self.size(name)) is not None}

    def publish(self, spooled: Path, *names: str) -> None:
        """Give a whole local file its final name, in place of an older file."""
        final = self._folder.joinpath(*names)
        final.parent.mkdir(parents=True, exist_ok=True)
        # The bytes reach the disk before the name, so that a power failure leaves no empty file of that name.
        with _opened(spooled) as descriptor:
            os.fsync(descriptor)
        spooled.replace(final)
        _sync(final.parent)

    def delete(self, *names: str) -> None:
        """Delete a file if there is one."""
        self._folder.joinpath(*names).unlink(missing_ok=True)

    def read(self, *names: str) -> bytes | None:
        """Read a small file, None when there is none."""
        found: bytes | None = self._look(Path.read_bytes, *names)
        return found

    def _look(self, look: Callable[[Path], Any], *names: str) -> Any:
        path = self._folder.joinpath(*names)
        try:
            return look(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise wrong_path(str(path), f"it cannot be read ({error.strerror}); check path and permissions") from error

    def spool(self, name: str, owner: str | None = None) -> Spool:
        """
        Make a private folder for an unfinished download.

        :param name: see :class:`Spool`
        :param owner: see :class:`Spool`
        """
        # The spool is in the same folder, because a rename is atomic only within one file system.
        return Spool(self._folder, name, owner)

    @contextmanager
    def exclusive(self, folder: str) -> Iterator[None]:
        """Keep other writers out of the folder of a set, where the storage can do that."""
        path = self._folder / folder
        path.mkdir(parents=True, exist_ok=True)
        # The folder itself is locked, so that no lock file is left; the kernel unlocks it when the process ends.
        with _opened(path) as descriptor:
            _lock(descriptor, path)
            yield


def _lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.05)
        except OSError as error:
            log.warning("%s cannot be locked (%s): let no other task write to it now", path, error.strerror)
            return
    log.warning("Another task has locked %s for longer than %.0f s; going on without a lock", path, _LOCK_SECONDS)


def _sync(folder: Path) -> None:
    """Make a rename survive a power failure, on file systems that can sync a folder."""
    with suppress(OSError), _opened(folder) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
