"""Objects of Google Cloud Storage and Azure Blob, and files on an SFTP server, through fsspec's file systems."""

import asyncio
import hashlib
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from airflow_provider_riffusion.storage.location import KINDS, SFTP, StorageLocation

#: One upload with small parts: fsspec's defaults hold hundreds of megabytes of a wav in memory.
_PUT_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "gcs": {"chunksize": 8 * 2**20},
    "azure": {"overwrite": True, "max_concurrency": 2},
}


class FileSystem:
    """
    A file system of fsspec, with the methods of :class:`S3Bucket`.

    :raises ImportError: a library of the provider is missing
    :raises ValueError: the provider cannot use the connection
    """

    def __init__(self, location: StorageLocation, bucket: str) -> None:
        from airflow.sdk.io import attach

        self._fs = attach(location.scheme, location.conn_id).fs
        self._kind, self._bucket = KINDS[location.scheme], bucket

    @property
    def account(self) -> str | None:
        """Account of Azure's storage, which a URL leaves out."""
        if self._kind != "azure":
            return None
        # The file system has no name of its own when the connection is one long string. Only lineage asks, so that no
        # download may fail for want of the attribute.
        client = getattr(self._fs, "service_client", None)
        return self._fs.account_name or getattr(client, "account_name", None)

    def check(self) -> None:
        # Some versions of gcsfs report an empty bucket as missing in info().
        if self._kind == "gcs":
            self._fs.call("GET", "b/{}", self._bucket)
        else:
            self._fs.info(self._bucket)

    def size(self, path: str) -> int | None:
        self._fs.invalidate_cache()
        info = self._fs.info(path)
        return int(info["size"]) if info["type"] == "file" else None

    def sizes(self, folder: str) -> dict[str, int]:
        self._fs.invalidate_cache()
        entries = self._fs.ls(folder or "/", detail=True)
        # The library would keep the list in memory.
        self._fs.invalidate_cache()
        return {entry["name"].rpartition("/")[2]: int(entry["size"]) for entry in entries if entry["type"] == "file"}

    def read(self, path: str) -> bytes:
        return bytes(self._fs.cat_file(path))

    def delete(self, path: str) -> None:
        self._fs.rm_file(path)

    def start_upload(self, spooled: Path, path: str, go_on: Callable[..., None]) -> Future[None]:
        from fsspec import Callback

        if self._kind == SFTP:
            put = _put_and_rename(self._fs, spooled, path, go_on)
        else:
            options = _PUT_OPTIONS[self._kind]
            put = self._fs._put_file(str(spooled), path, callback=Callback(hooks={"go_on": go_on}), **options)
        return asyncio.run_coroutine_threadsafe(put, self._fs.loop)


async def _put_and_rename(fs: Any, spooled: Path, path: str, go_on: Callable[..., None]) -> None:
    """Put a file into a hidden folder beside its final name, and have the server rename it over an older one."""
    parent, _, name = path.rpartition("/")
    spool, of_this_try = spooled.relative_to(tempfile.gettempdir()).parts[:2]
    # Named as spool and file, so that the next try of a killed task finds the folder, and removes it, and files that
    # are put at the same time from folders of one spool have each a folder.
    folder = f"{parent}/{spool.removesuffix('.part')}.{hashlib.sha256(name.encode()).hexdigest()[:8]}.part"
    # Not fsspec's mv(), which copies where a server cannot rename.
    async with fs.client.start_sftp_client() as sftp:
        # An earlier try that still runs cannot rename then, and fails.
        await sftp.rmtree(folder, ignore_errors=True)
        await sftp.makedirs(folder, exist_ok=True)
        try:
            part = f"{folder}/{of_this_try}"
            # The defaults hold tens of megabytes of a file in memory.
            await sftp.put(str(spooled), part, block_size=2**17, max_requests=16, progress_handler=go_on)
            await sftp.posix_rename(part, path)
        finally:
            await sftp.rmtree(folder, ignore_errors=True)
