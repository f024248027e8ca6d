"""
Where downloads end up: a spool folder first, then, whole and checked, the storage path. Knows nothing of HTTP.

What stands under a final name is a whole file, or the old one, or nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

MANIFEST = "manifest.json"

#: Our extra that installs the provider for a URL scheme.
_EXTRAS: Mapping[str, str] = {
    **dict.fromkeys(("s3", "s3a", "s3n"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("abfs", "abfss", "adl", "adls", "wasb", "wasbs", "az"), "azure"),
}

_PART_BYTES = 8 * 2**20
#: One upload with small parts: fsspec's defaults hold hundreds of megabytes of a wav in memory.
_PUT_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "s3": {"chunksize": _PART_BYTES, "max_concurrency": 2},
    "gcs": {"chunksize": _PART_BYTES},
    "azure": {"overwrite": True, "max_concurrency": 2},
}


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

    def read(self, *names: str) -> bytes:
        """Read a small file."""
        ...

    def spool(self, name: str) -> Spool:
        """Make a folder for the parts of a download that nobody may see yet."""
        ...


class Spool:
    """
    A temporary folder that is removed at the end of a ``with``, or by ``remove`` at any time.

    :param folder: where to make it; None means the system's folder for temporary files
    :param name: what is being downloaded, for who finds the folder after a kill
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f".{name[:32]}.", suffix=".part", dir=folder))

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove the folder and all that is in it; a download that still runs can then no longer be published."""
        shutil.rmtree(self.path, ignore_errors=True)


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
        if "\0" in storage_path or "\n" in storage_path:
            raise _wrong(storage_path, "it must not hold control characters")
        if scheme in ("file", "local", ""):
            if not os.path.isabs(rest):
                raise _wrong(
                    storage_path, "give an absolute folder such as /data/songs, or a URL such as s3://bucket/songs"
                )
            return cls("", None, os.path.normpath(rest))
        authority, slash, key = rest.partition("/")
        url_conn_id, _, bucket = authority.rpartition("@")
        if not bucket:
            raise _wrong(storage_path, "name a bucket or container, as in s3://bucket/songs")
        if url_conn_id and conn_id and url_conn_id != conn_id:
            raise _wrong(
                storage_path,
                f"it names the connection {url_conn_id!r}, and storage_conn_id is {conn_id!r}; leave one out",
            )
        return cls(scheme, url_conn_id or conn_id or None, f"{bucket}{slash}{key}".rstrip("/"))


def open_storage(location: StorageLocation) -> Storage:
    """
    Open the folder that a storage path names.

    :raises RiffusionConfigurationError: the folder cannot be made, or the store's provider or connection is missing
    """
    return ObjectStorage(location) if location.scheme else LocalStorage(location)


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
            raise _wrong(str(path), f"it cannot be looked at ({error.strerror}); check path and permissions") from error
        if not stat.S_ISREG(status.st_mode):
            raise _wrong(str(path), "there is something else than a file; choose another file_name")
        return status.st_size

    def publish(self, spooled: Path, *names: str) -> None:
        final = self._folder.joinpath(*names)
        final.parent.mkdir(parents=True, exist_ok=True)
        spooled.replace(final)
        _sync(final.parent)
        _register_lineage(self, final.as_uri())

    def delete(self, *names: str) -> None:
        self._folder.joinpath(*names).unlink(missing_ok=True)

    def read(self, *names: str) -> bytes:
        return self._folder.joinpath(*names).read_bytes()

    def spool(self, name: str) -> Spool:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # In the same folder, because a rename is atomic only within one file system.
            return Spool(self._folder, name)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise _wrong(
                str(self._folder), f"nothing can be stored there ({error.strerror}); check path and permissions"
            ) from error


class ObjectStorage:
    """A prefix of a bucket or container, through the Airflow provider of its scheme."""

    def __init__(self, location: StorageLocation) -> None:
        self._location = location
        self._kind = _EXTRAS.get(location.scheme, "")
        self._fs = _file_system(location)

    def path(self, *names: str) -> str:
        return f"{self._location.scheme}://{self._key(*names)}"

    def size(self, *names: str) -> int | None:
        with self._errors():
            self._fs.invalidate_cache()
            try:
                info = self._fs.info(self._key(*names))
            except FileNotFoundError:
                return None
        return int(info["size"]) if info["type"] == "file" else None

    def publish(self, spooled: Path, *names: str) -> None:
        with self._errors():
            self._fs.put_file(str(spooled), self._key(*names), **_PUT_OPTIONS.get(self._kind, {}))
        _register_lineage(self, self.path(*names))

    def delete(self, *names: str) -> None:
        with self._errors():
            if self._fs.exists(self._key(*names)):
                self._fs.rm_file(self._key(*names))

    def read(self, *names: str) -> bytes:
        with self._errors():
            return bytes(self._fs.cat_file(self._key(*names)))

    def spool(self, name: str) -> Spool:
        return Spool(None, name)

    def _key(self, *names: str) -> str:
        return "/".join((self._location.path, *names))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, PermissionError) as error:
            raise _wrong(
                self.path(),
                f"the store refused ({error}); check the bucket and the connection {self._location.conn_id!r}",
            ) from error


def _file_system(location: StorageLocation) -> AbstractFileSystem:
    from airflow.sdk.io import attach, has_fs

    extra = _EXTRAS.get(location.scheme)
    remedy = (
        f"pip install 'airflow-provider-riffusion[{extra}]'" if extra else "install the Airflow provider of this scheme"
    )
    shown = f"{location.scheme}://{location.path}"
    if not has_fs(location.scheme):
        raise _wrong(shown, f"no installed provider serves {location.scheme}://; {remedy}")
    try:
        return attach(location.scheme, location.conn_id).fs
    except ImportError as error:
        raise _wrong(shown, f"{error}; {remedy}") from error


@dataclass(frozen=True)
class StoredFile:
    """
    A file of a set, as its manifest lists it.

    :param name: what it is, such as ``vocals``
    :param path: its file name, within the folder of the set
    :param size: bytes
    :param sha256: hexadecimal digest
    """

    name: str
    path: str
    size: int
    sha256: str


def publish_set(storage: Storage, folder: str, spooled: Path, files: Sequence[StoredFile], song_id: str) -> str:
    """
    Publish files that belong together; their manifest stands in the folder only while the set is complete.

    Files of an earlier set are deleted where the new one has none of that name; all others in the folder stay.

    :param folder: name of the folder in the storage
    :param spooled: local folder with the files
    :param song_id: the song, for the manifest
    :return: the manifest's SHA-256, hexadecimal
    """
    old_paths = {file.path for file in read_manifest(storage, folder) or ()}
    document = json.dumps({"song_id": song_id, "files": [asdict(file) for file in files]}, indent=1).encode()
    manifest = spooled / MANIFEST
    manifest.write_bytes(document)
    for file in files:
        # Raises for what cannot be replaced while the old set is still complete.
        storage.size(folder, file.path)
    storage.delete(folder, MANIFEST)
    for file in files:
        storage.publish(spooled / file.path, folder, file.path)
    for path in old_paths - {file.path for file in files}:
        storage.delete(folder, path)
    storage.publish(manifest, folder, MANIFEST)
    return hashlib.sha256(document).hexdigest()


def read_manifest(storage: Storage, folder: str) -> list[StoredFile] | None:
    """Read what a complete set consists of; None when it is incomplete, or its manifest is not ours."""
    if storage.size(folder, MANIFEST) is None:
        return None
    try:
        files = [StoredFile(**entry) for entry in json.loads(storage.read(folder, MANIFEST))["files"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    # Whoever can write a manifest must not have files outside of its folder deleted.
    is_ours = all(
        isinstance(file.path, str)
        and file.path == os.path.basename(file.path)
        and file.path not in ("", ".", "..", MANIFEST)
        and isinstance(file.size, int)
        for file in files
    )
    return files if is_ours else None


def _register_lineage(storage: Any, uri: str) -> None:
    from airflow.providers.common.compat.sdk import get_hook_lineage_collector

    get_hook_lineage_collector().add_output_asset(context=storage, uri=uri)


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


def _wrong(storage_path: str, remedy: str) -> RiffusionConfigurationError:
    return RiffusionConfigurationError(f"storage_path is {storage_path!r}; {remedy}.")
