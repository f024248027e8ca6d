"""Store files on a server: S3, Google Cloud Storage, Azure Blob or SFTP, through Airflow's providers of these."""

import asyncio
import errno
import hashlib
import logging
import re
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_riffusion.exceptions import RiffusionError, RiffusionStorageError
from airflow_provider_riffusion.safe_text import printable
from airflow_provider_riffusion.storage.location import KINDS, SFTP, StorageLocation, wrong_path
from airflow_provider_riffusion.storage.spool import Spool

log = logging.getLogger(__name__)

#: How long an aborted upload may take to remove its parts.
_ABORT_SECONDS = 10.0
_PART_BYTES = 8 * 2**20
#: From so many files on, one listing of the folder costs less than a look at each.
_LISTED_FILES = 100
#: One upload with small parts: fsspec's defaults hold hundreds of megabytes of a wav in memory.
_PUT_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "s3": {"chunksize": _PART_BYTES, "max_concurrency": 2},
    "gcs": {"chunksize": _PART_BYTES},
    "azure": {"overwrite": True, "max_concurrency": 2},
}


class ObjectStore:
    """A prefix of a bucket or container, or a folder on an SFTP server, with the methods of :class:`LocalFolder`."""

    def __init__(self, location: StorageLocation) -> None:
        self._location = location
        self.conn_id = location.conn_id
        self._kind = KINDS[location.scheme]
        # An SFTP server has no buckets: a path begins after the host, and a missing folder is made.
        self._is_bucket_checked = self._kind == SFTP
        self._bucket = location.path.partition("/")[0]
        self._root = location.path.removeprefix(self._bucket) if self._kind == SFTP else location.path
        # Each upload holds parts of its file in memory.
        self._one_upload = threading.Lock()
        with self._errors():
            self._fs = _file_system(location)

    def path(self, *names: str) -> str:
        return "/".join((f"{self._location.scheme}://{self._location.path}", *names))

    uri = path

    def size(self, *names: str) -> int | None:
        with self._errors():
            self._fs.invalidate_cache()
            try:
                info = self._fs.info(self._key(*names))
            except FileNotFoundError:
                self._check_bucket()
                return None
        return int(info["size"]) if info["type"] == "file" else None

    def sizes(self, names: Collection[str]) -> dict[str, int]:
        if len(names) < _LISTED_FILES:
            return {name: size for name in names if (size := self.size(name)) is not None}
        with self._errors():
            self._fs.invalidate_cache()
            try:
                entries = self._fs.ls(self._root or "/", detail=True)
            except FileNotFoundError:
                self._check_bucket()
                entries = []
            # The store's library would keep the list in memory.
            self._fs.invalidate_cache()
        sizes = {entry["name"].rpartition("/")[2]: entry["size"] for entry in entries if entry["type"] == "file"}
        return {name: int(sizes[name]) for name in names if name in sizes}

    def publish(self, spooled: Path, *names: str) -> None:
        with self._errors(), self._one_upload:
            try:
                _upload(self._fs, spooled, self._key(*names), _PUT_OPTIONS.get(self._kind))
            except FileNotFoundError as error:
                # The bucket existed a moment ago, so the upload has expired, or the spool was removed.
                raise OSError(f"the upload was lost: {error}") from None

    def delete(self, *names: str) -> None:
        with self._errors(), suppress(FileNotFoundError):
            self._fs.rm_file(self._key(*names))

    def read(self, *names: str) -> bytes | None:
        with self._errors():
            try:
                return bytes(self._fs.cat_file(self._key(*names)))
            except FileNotFoundError:
                return None

    def spool(self, name: str, owner: str | None = None) -> Spool:
        # The path is part of the key, because two Airflow deployments on one machine can have equal task instances.
        return Spool(Path(tempfile.gettempdir()), name, owner and f"{self.path()} {owner}")

    def exclusive(self, folder: str) -> AbstractContextManager[None]:
        return nullcontext()

    def _key(self, *names: str) -> str:
        return "/".join((self._root, *names))

    def _check_bucket(self) -> None:
        """Raise for a missing bucket, once, so that the task fails before its download."""
        if self._is_bucket_checked:
            return
        try:
            # Some versions of s3fs and gcsfs report an empty bucket as missing in info().
            if self._kind == "gcs":
                self._fs.call("GET", "b/{}", self._bucket)
            elif self._kind == "s3":
                self._fs.call_s3("head_bucket", Bucket=self._bucket)
            else:
                self._fs.info(self._bucket)
        except FileNotFoundError as error:
            remedy = f"there is no bucket or container {self._bucket!r}; create it, or correct it"
            raise wrong_path(self.path(), remedy) from error
        except Exception:
            log.debug("Could not look whether the bucket %s exists", self._bucket, exc_info=True)
        self._is_bucket_checked = True

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Translate a store's errors: what is configured wrongly fails the task at once, the rest may be retried."""
        try:
            yield
        except RiffusionError:
            raise
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            # URLs in the text carry signatures in their query: strip it, and do not chain the original error, which
            # holds them, too.
            said = printable(re.sub(r"\?[^\s'\"]*", "?…", said), 300)
            if _is_refusal(error, self.conn_id):
                remedy = f"the store refused ({said}); check the bucket and the connection {self.conn_id!r}"
                raise wrong_path(self.path(), remedy) from None
            raise RiffusionStorageError(f"storage_path is {self.path()!r}; the store failed: {said}") from None


#: In the class names of the stores' libraries: credentials or rights that are missing, and an SFTP server that cannot
#: rename a file over another.
_LASTING_ERROR = re.compile(
    "Credential(s|Unavailable)|ClientAuthentication|RefreshError|PermissionDenied|KeyImport|HostKey|OpUnsupported"
)


def _is_refusal(error: Exception, conn_id: str | None) -> bool:
    # Each library has the status in another attribute, and gcsfs has a 403 in its text alone.
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    statuses = (getattr(error, "status_code", None), getattr(error, "code", None), metadata.get("HTTPStatusCode"))
    is_forbidden = isinstance(error, OSError) and str(error).startswith("Forbidden")
    kinds = FileNotFoundError | PermissionError | AirflowNotFoundException
    if is_forbidden or isinstance(error, kinds) or any(status in (401, 403, 404) for status in statuses):
        return True
    # Credentials from the machine's environment, and a server that hands them out, may be back soon.
    is_out_of_reach = conn_id is None or any(type(arg).__name__ == "TransportError" for arg in error.args)
    return not is_out_of_reach and any(_LASTING_ERROR.search(kind.__name__) for kind in type(error).__mro__)


def _upload(fs: Any, spooled: Path, key: str, options: Mapping[str, Any] | None) -> None:
    """Upload a file; an exception here, such as Airflow's timeout, also ends the upload and removes its parts."""
    from fsspec import Callback

    def go_on(*_: object) -> None:
        if not spooled.exists():
            raise OSError(errno.ECANCELED, "The upload was aborted", str(spooled))

    # The callback runs between two parts: the libraries remove the parts of an upload that raises, and of no other.
    if options is None:
        put = _put_and_rename(fs, spooled, key, go_on)
    else:
        put = fs._put_file(str(spooled), key, callback=Callback(hooks={"go_on": go_on}), **options)
    upload = asyncio.run_coroutine_threadsafe(put, fs.loop)
    try:
        upload.result()
    except BaseException:
        spooled.unlink(missing_ok=True)
        with suppress(Exception):
            upload.result(_ABORT_SECONDS)
        raise


async def _put_and_rename(fs: Any, spooled: Path, key: str, go_on: Callable[..., None]) -> None:
    """Put a file into a hidden folder beside its final name, and have the server rename it over an older one."""
    parent, _, name = key.rpartition("/")
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
            await sftp.posix_rename(part, key)
        finally:
            await sftp.rmtree(folder, ignore_errors=True)


def _file_system(location: StorageLocation) -> Any:
    from airflow.sdk.io import attach, has_fs

    kind = KINDS[location.scheme]
    remedy = f"pip install 'airflow-provider-riffusion[{kind}]'"
    shown = f"{location.scheme}://{location.path}"
    if not has_fs(location.scheme):
        raise wrong_path(shown, f"no installed provider serves {location.scheme}://; {remedy}")
    if location.conn_id is not None:
        # This raises when there is none; the S3 provider would go on with whatever credentials the machine has.
        connection = BaseHook.get_connection(location.conn_id)
        if kind == SFTP and location.path.partition("/")[0] not in ("", connection.host):
            raise wrong_path(shown, f"the connection {location.conn_id!r} leads to another host; leave the host out")
    try:
        return attach(location.scheme, location.conn_id).fs
    except ImportError as error:
        raise wrong_path(shown, f"{error}; {remedy}") from error
    except ValueError as error:
        raise wrong_path(shown, f"{error}; check the connection {location.conn_id!r}") from error
