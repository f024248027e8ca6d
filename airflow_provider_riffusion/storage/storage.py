"""
Where downloads end up: a spool folder first, then, whole and checked, the storage path. Knows nothing of HTTP.

What stands under a final name is a whole file, or the old one, or nothing.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import time
import unicodedata
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from airflow_provider_riffusion.storage.spool import Spool, wrong_path

log = logging.getLogger(__name__)

#: Far longer than a set takes to be renamed; a writer that hangs must not hold others up for ever.
_LOCK_SECONDS = 60.0


class Storage(Protocol):
    """A folder in which files are published whole."""

    def path(self, *names: str) -> str:
        """Tell the path or URL under which others find a file."""
        ...

    def size(self, *names: str) -> int | None:
        """
        Tell the size of a file in bytes, None when it is not there.

        :raises RiffusionConfigurationError: there is a folder of that name
        """
        ...

    def publish(self, spooled: Path, *names: str) -> None:
        """Move a whole local file to its final name, in place of what stands there."""
        ...

    def delete(self, *names: str) -> None:
        """Delete a file if it is there."""
        ...

    def read(self, *names: str) -> bytes | None:
        """Read a small file, None when it is not there."""
        ...

    def spool(self, name: str, owner: str | None = None) -> Spool:
        """
        Make a folder for the parts of a download that nobody may see yet.

        :param name: see :class:`Spool`
        :param owner: see :class:`Spool`
        """
        ...

    def exclusive(self, folder: str) -> AbstractContextManager[None]:
        """Keep other writers out of the folder of a set, where the storage can do that."""
        ...


@dataclass(frozen=True)
class StorageLocation:
    """
    A storage path taken apart.

    :param scheme: URL scheme; empty for a local folder
    :param conn_id: Airflow connection of the store
    :param path: absolute local path, or bucket and key
    """

    scheme: str
    conn_id: str | None
    path: str

    @classmethod
    def of(cls, storage_path: str, conn_id: str | None = None) -> StorageLocation:
        """
        Check a storage path, without looking at the store.

        :param storage_path: absolute local path, or a URL such as ``s3://conn_id@bucket/prefix``
        :param conn_id: Airflow connection of the store, when the URL names none
        :raises RiffusionConfigurationError: it is neither, or names another connection
        """
        scheme, separator, rest = storage_path.partition("://")
        if not separator:
            scheme, rest = "", storage_path
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in storage_path):
            raise wrong_path(storage_path, "it must not hold control characters")
        if scheme in ("file", "local", ""):
            if not os.path.isabs(rest):
                raise wrong_path(
                    storage_path, "give an absolute folder such as /data/songs, or a URL such as s3://bucket/songs"
                )
            return cls("", None, os.path.normpath(rest))
        authority, slash, key = rest.partition("/")
        url_conn_id, _, bucket = authority.rpartition("@")
        if not bucket:
            raise wrong_path(storage_path, "name a bucket or container, as in s3://bucket/songs")
        if url_conn_id and conn_id and url_conn_id != conn_id:
            raise wrong_path(
                storage_path,
                f"it names the connection {url_conn_id!r}, and storage_conn_id is {conn_id!r}; leave one out",
            )
        return cls(scheme, url_conn_id or conn_id or None, f"{bucket}{slash}{key}".rstrip("/"))


def open_storage(location: StorageLocation) -> Storage:
    """
    Open the folder that a storage path names.

    :raises RiffusionConfigurationError: the folder cannot be made, or the store's provider or connection is missing
    """
    if not location.scheme:
        return LocalStorage(location)
    from airflow_provider_riffusion.storage.object_store import ObjectStorage

    return ObjectStorage(location)


class LocalStorage:
    """A folder of this machine, or one that is mounted here; it is made when it is not there."""

    def __init__(self, location: StorageLocation) -> None:
        self._folder = Path(location.path)

    def path(self, *names: str) -> str:
        return str(self._folder.joinpath(*names))

    def size(self, *names: str) -> int | None:
        path = self._folder.joinpath(*names)
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise wrong_path(
                str(path), f"it cannot be looked at ({error.strerror}); check path and permissions"
            ) from error
        if not stat.S_ISREG(status.st_mode):
            raise wrong_path(str(path), "there is something else than a file; choose another file_name")
        return status.st_size

    def publish(self, spooled: Path, *names: str) -> None:
        final = self._folder.joinpath(*names)
        final.parent.mkdir(parents=True, exist_ok=True)
        spooled.replace(final)
        _sync(final.parent)
        register_lineage(self, final.as_uri())

    def delete(self, *names: str) -> None:
        self._folder.joinpath(*names).unlink(missing_ok=True)

    def read(self, *names: str) -> bytes | None:
        path = self._folder.joinpath(*names)
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise wrong_path(str(path), f"it cannot be read ({error.strerror}); check path and permissions") from error

    def spool(self, name: str, owner: str | None = None) -> Spool:
        # In the same folder, because a rename is atomic only within one file system.
        return Spool(self._folder, name, owner)

    @contextmanager
    def exclusive(self, folder: str) -> Iterator[None]:
        path = self._folder / folder
        path.mkdir(parents=True, exist_ok=True)
        # On the folder itself, so that no lock file is left; the kernel lets go when the process ends.
        descriptor = os.open(path, os.O_RDONLY)
        try:
            _lock(descriptor, path)
            yield
        finally:
            os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        except OSError as error:
            log.warning("%s cannot be locked (%s): let no other task write to it now", path, error.strerror)
            return
        else:
            return
    log.warning("%s is locked by another task for longer than %.0f s; going on without", path, _LOCK_SECONDS)


def _sync(folder: Path) -> None:
    """Make a rename survive a power failure; file systems that cannot do that for a folder say so with an error."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def register_lineage(storage: Any, uri: str) -> None:
    """Tell Airflow that a file was written; a hidden one is of use to nobody."""
    if os.path.basename(uri).startswith("."):
        return
    from airflow.providers.common.compat.sdk import get_hook_lineage_collector

    get_hook_lineage_collector().add_output_asset(context=storage, uri=uri)
