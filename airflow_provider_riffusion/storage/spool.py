"""A folder for what nobody may see yet, and how the file system's errors are told."""

from __future__ import annotations

import errno
import hashlib
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError, RiffusionError, RiffusionStorageError
from airflow_provider_riffusion.safe_text import printable

_PATH_LENGTH = 500


class Spool:
    """
    A temporary folder that is removed at the end of a ``with``, or by ``remove`` at any time.

    :param folder: where to make it; made when it is not there
    :param name: what is being downloaded, for who finds the folder after a kill
    :param owner: the task instance and where it stores; what an earlier try of it left is removed
    :raises RiffusionConfigurationError: nothing can be stored there
    :raises RiffusionStorageError: the file system failed, here or in the ``with``, such as by a full disk
    """

    def __init__(self, folder: Path, name: str, owner: str | None) -> None:
        self._folder, self._name = folder, name
        self._of_all_tries: Path | None = None
        prefix, suffix = f".{name[:32]}.", ".part"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if owner is not None:
                of_all_tries = folder / f"{prefix}{hashlib.sha256(owner.encode()).hexdigest()[:16]}{suffix}"
                shutil.rmtree(of_all_tries, ignore_errors=True)
                # Where it is still there, such as one that another user has planted, a folder of any name will do.
                with suppress(FileExistsError, FileNotFoundError):
                    of_all_tries.mkdir(mode=0o700)
                    self._of_all_tries = of_all_tries
                    # One for each try: an older one that is still running must not remove what is not its own.
                    self.path = Path(tempfile.mkdtemp(dir=of_all_tries))
                    return
            self.path = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=folder))
        except OSError as error:
            raise _error_of(name, folder, error) from error

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.remove()
        # Those without a number are no file system's: requests' errors are OSErrors too.
        if isinstance(error, OSError) and error.errno is not None:
            raise _error_of(self._name, self._folder, error) from error

    def remove(self) -> None:
        """Remove the folder and all that is in it; a download that still runs can then no longer be published."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._of_all_tries is not None:
            with suppress(OSError):
                self._of_all_tries.rmdir()


#: Those that no retry cures.
_LASTING_ERRORS = frozenset(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EXDEV)
)


def _error_of(name: str, folder: Path, error: OSError) -> RiffusionError:
    if error.errno in _LASTING_ERRORS:
        return wrong_path(str(folder), f"nothing can be stored there ({error.strerror}); check path and permissions")
    return RiffusionStorageError(
        f"{name!r} was not stored: {folder} failed ({error.strerror}). Free space there if that is what it lacks; the "
        "task's retries may then succeed."
    )


def wrong_path(storage_path: str, remedy: str) -> RiffusionConfigurationError:
    return RiffusionConfigurationError(f"storage_path is {printable(storage_path, _PATH_LENGTH)!r}; {remedy}.")
