"""Keep unfinished downloads in a private folder, and map its OSErrors to errors of this provider."""

import errno
import hashlib
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

from airflow_provider_riffusion.exceptions import RiffusionError, RiffusionStorageError
from airflow_provider_riffusion.storage.location import wrong_path


class Spool:
    """
    A temporary folder that is removed at the end of a ``with``, or by ``remove`` at any time.

    :param folder: parent of the spool; it is made when it is missing
    :param name: shown in the spool's name, to identify leftovers
    :param owner: names the task instance and its storage path; leftovers of its earlier tries are removed
    :raises RiffusionConfigurationError: nothing can be stored there
    :raises RiffusionStorageError: the file system failed, here or in the ``with``; the disk is full, for example
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
                # If the folder could not be removed, because it is another user's, a random name is used below.
                with suppress(FileExistsError, FileNotFoundError):
                    of_all_tries.mkdir(mode=0o700)
                    self._of_all_tries = of_all_tries
                    # Each try gets a folder, because an older try that still runs must not remove this try's files.
                    self.path = Path(tempfile.mkdtemp(dir=of_all_tries))
                    return
            self.path = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=folder))
        except OSError as error:
            raise _error_of(name, folder, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.remove()
        # Only file-system errors have an errno; requests' exceptions are OSErrors without one.
        if isinstance(error, OSError) and error.errno is not None:
            raise _error_of(self._name, self._folder, error) from error

    def remove(self) -> None:
        """Remove the folder and its content; a download that still runs can then no longer be published."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._of_all_tries is not None:
            with suppress(OSError):
                self._of_all_tries.rmdir()


#: Errors that no retry cures.
_LASTING_ERRORS = frozenset(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EXDEV)
)


def _error_of(name: str, folder: Path, error: OSError) -> RiffusionError:
    if error.errno == errno.ENOENT:
        return RiffusionStorageError(f"{name!r} was not stored: its spool in {folder} was removed, as a kill does.")
    if error.errno in _LASTING_ERRORS:
        return wrong_path(str(folder), f"nothing can be stored there ({error.strerror}); check path and permissions")
    return RiffusionStorageError(
        f"{name!r} was not stored: {folder} failed ({error.strerror}). Free space there if the disk is full; "
        "the task's retries may then succeed."
    )
