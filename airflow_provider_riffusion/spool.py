"""A folder for what nobody may see yet, and how the file system's errors are told."""

from __future__ import annotations

import errno
import hashlib
import shutil
import tempfile
from pathlib import Path

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError, RiffusionError, RiffusionStorageError
from airflow_provider_riffusion.texts import printable

_PATH_LENGTH = 500


class Spool:
    """
    A temporary folder that is removed at the end of a ``with``, or by ``remove`` at any time.

    :param folder: where to make it
    :param name: see :meth:`Storage.spool`
    :param owner: see :meth:`Storage.spool`
    :raises RiffusionStorageError: the ``with`` ran into an error of the file system, such as a full disk
    """

    def __init__(self, folder: Path, name: str, owner: str | None) -> None:
        self._name = name
        prefix, suffix = f".{name[:32]}.", ".part"
        if owner is None:
            self.path = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=folder))
        else:
            # The same for every try, so that the next one finds what a killed one left.
            self.path = folder / f"{prefix}{hashlib.sha256(owner.encode()).hexdigest()[:16]}{suffix}"
            self.remove()
            self.path.mkdir(mode=0o700)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.remove()
        # Those without a number are no file system's: requests' errors are OSErrors too.
        if isinstance(error, OSError) and error.errno is not None:
            raise storage_error(self._name, self.path.parent, error) from error

    def remove(self) -> None:
        """Remove the folder and all that is in it; a download that still runs can then no longer be published."""
        shutil.rmtree(self.path, ignore_errors=True)


def storage_error(name: str, folder: Path, error: OSError) -> RiffusionError:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG):
        return wrong_path(str(folder), f"nothing can be stored there ({error.strerror}); check path and permissions")
    return RiffusionStorageError(
        f"{name!r} was not stored: {folder} failed ({error.strerror}). Free space there if that is what it lacks; the "
        "task's retries may then succeed."
    )


def wrong_path(storage_path: str, remedy: str) -> RiffusionConfigurationError:
    return RiffusionConfigurationError(f"storage_path is {printable(storage_path, _PATH_LENGTH)!r}; {remedy}.")
