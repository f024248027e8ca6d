"""Store files on a server: S3, Google Cloud Storage, Azure Blob or SFTP, through Airflow's providers of these."""

import logging
import re
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_riffusion.exceptions import RiffusionError, RiffusionStorageError
from airflow_provider_riffusion.safe_text import printable
from airflow_provider_riffusion.storage.file_system import FileSystem
from airflow_provider_riffusion.storage.location import KINDS, SFTP, StorageLocation, wrong_path
from airflow_provider_riffusion.storage.s3 import S3Bucket
from airflow_provider_riffusion.storage.spool import Spool

log = logging.getLogger(__name__)

#: How long an aborted upload may take to remove its parts.
_ABORT_SECONDS = 10.0
#: An upload looks at most so often whether it is still wanted.
_LOOK_SECONDS = 0.1
#: From so many files on, one listing of the folder costs less than a look at each.
_LISTED_FILES = 100


class ObjectStore:
    """A prefix of a bucket or container, or a folder on an SFTP server, with the methods of :class:`LocalFolder`."""

    def __init__(self, location: StorageLocation) -> None:
        self._location = location
        self.conn_id = location.conn_id
        # An SFTP server has no buckets: a path begins after the host, and a missing folder is made.
        self._is_bucket_checked = is_sftp = KINDS[location.scheme] == SFTP
        self._bucket = location.path.partition("/")[0]
        self._root = location.path.removeprefix(self._bucket) if is_sftp else location.path
        # An upload to the others holds parts of its file in memory.
        self._turn = nullcontext() if KINDS[location.scheme] == "s3" else threading.Lock()
        with self._errors():
            self._objects, self._server = _open(location, self._bucket)
        self.account = self._objects.account

    def path(self, *names: str) -> str:
        return "/".join((f"{self._location.scheme}://{self._location.path}", *names))

    def uri(self, *names: str) -> str:
        return self._location.uri(*names, server=self._server)

    def size(self, *names: str) -> int | None:
        with self._errors():
            try:
                return self._objects.size(self._key(*names))
            except FileNotFoundError:
                self._check_bucket()
                return None

    def sizes(self, names: Collection[str]) -> dict[str, int]:
        if len(names) < _LISTED_FILES:
            return {name: size for name in names if (size := self.size(name)) is not None}
        with self._errors():
            try:
                found = self._objects.sizes(self._root)
            except FileNotFoundError:
                found = {}
        if not found:
            self._check_bucket()
        return {name: found[name] for name in names if name in found}

    def publish(self, spooled: Path, *names: str) -> None:
        with self._errors(), self._turn:
            try:
                _upload(self._objects, spooled, self._key(*names))
            except FileNotFoundError as error:
                # The bucket existed a moment ago, so the upload has expired, or the spool was removed.
                raise OSError(f"the upload was lost: {error}") from None

    def delete(self, *names: str) -> None:
        with self._errors(), suppress(FileNotFoundError):
            self._objects.delete(self._key(*names))

    def read(self, *names: str) -> bytes | None:
        with self._errors():
            try:
                return self._objects.read(self._key(*names))
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
            self._objects.check()
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


def _upload(objects: S3Bucket | FileSystem, spooled: Path, key: str) -> None:
    """Upload a file; an exception here, such as Airflow's timeout, also ends the upload and removes its parts."""

    looked_at = 0.0

    def go_on(*_: object) -> None:
        nonlocal looked_at
        # boto3 calls this for every 16 KiB.
        if (now := time.monotonic()) - looked_at < _LOOK_SECONDS:
            return
        looked_at = now
        if not spooled.exists():
            # No OSError, which boto3 would take for one of the network and retry for longer than anybody waits.
            raise RiffusionStorageError(f"The upload of {spooled.name} was aborted.")

    # go_on runs between two parts: the libraries remove the parts of an upload that raises, and of no other.
    upload: Future[None] = objects.start_upload(spooled, key, go_on)
    try:
        upload.result()
    except BaseException:
        spooled.unlink(missing_ok=True)
        with suppress(Exception):
            upload.result(_ABORT_SECONDS)
        raise


def _open(location: StorageLocation, bucket: str) -> tuple[S3Bucket | FileSystem, str]:
    """Return the objects of a store, and of an SFTP server its host and port."""
    from airflow.sdk.io import has_fs

    kind, server = KINDS[location.scheme], ""
    remedy = f"pip install 'airflow-provider-riffusion[{kind}]'"
    shown = f"{location.scheme}://{location.path}"
    if not has_fs(location.scheme):
        raise wrong_path(shown, f"no installed provider serves {location.scheme}://; {remedy}")
    if location.conn_id is not None:
        # This raises when there is none; the S3 provider would go on with whatever credentials the machine has.
        connection = BaseHook.get_connection(location.conn_id)
        server = f"{connection.host}:{connection.port or 22}"
        if kind == SFTP and bucket not in ("", connection.host):
            raise wrong_path(shown, f"the connection {location.conn_id!r} leads to another host; leave the host out")
    try:
        return S3Bucket(location.conn_id, bucket) if kind == "s3" else FileSystem(location, bucket), server
    except ImportError as error:
        raise wrong_path(shown, f"{error}; {remedy}") from error
    except ValueError as error:
        raise wrong_path(shown, f"{error}; check the connection {location.conn_id!r}") from error
