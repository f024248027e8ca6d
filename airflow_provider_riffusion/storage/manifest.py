"""Publish files that belong together: their manifest is in their folder only while the set is complete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from airflow_provider_riffusion.parameters import is_file_name

if TYPE_CHECKING:
    from airflow_provider_riffusion.storage.storage import Storage

MANIFEST = "manifest.json"
#: Written before a set is replaced; lists every file that the folder may hold halfway, so that the next try can clean
#: up after a kill.
_JOURNAL = ".manifest.unfinished.json"


class StemFile(TypedDict):
    """
    A file of a set.

    :param name: what the file is, such as ``vocals``
    :param path: in a manifest its file name, in a result its whole path or URL
    :param size: bytes
    :param sha256: hexadecimal digest
    """

    name: str
    path: str
    size: int
    sha256: str


def publish_set(
    storage: Storage, folder: str, spooled: Path, files: Sequence[StemFile], about: Mapping[str, object]
) -> str:
    """
    Publish files that belong together; the manifest is in the folder only while the set is complete.

    Files of an earlier set are deleted where the new set has none of that name; all others in the folder stay.

    :param folder: name of the folder in the storage
    :param spooled: local folder with the files
    :param about: what the manifest says beside the files
    :return: the manifest's SHA-256, hexadecimal
    """
    document = _document(about, files)
    manifest, journal = spooled / MANIFEST, spooled / _JOURNAL
    manifest.write_bytes(document)
    new = {file["path"] for file in files}
    with storage.exclusive(folder):
        old = [*(read_manifest(storage, folder) or ()), *(read_manifest(storage, folder, _JOURNAL) or ())]
        for file in files:
            # A local folder raises here for a name that cannot be replaced, while the old set is still complete.
            storage.size(folder, file["path"])
        if old:
            journal.write_bytes(_document(about, [*files, *old]))
            storage.publish(journal, folder, _JOURNAL)
        # The manifest goes even if another program wrote it: from here on the folder is incomplete.
        storage.delete(folder, MANIFEST)
        # Deleted first, because on a file system that ignores case an old name may be that of a new file.
        for path in {file["path"] for file in old} - new:
            storage.delete(folder, path)
        for file in files:
            storage.publish(spooled / file["path"], folder, file["path"])
        storage.publish(manifest, folder, MANIFEST)
        if old:
            storage.delete(folder, _JOURNAL)
    return hashlib.sha256(document).hexdigest()


def _document(about: Mapping[str, object], files: Sequence[StemFile]) -> bytes:
    return json.dumps({"version": 1, **about, "files": files}, indent=1).encode()


def read_manifest(storage: Storage, folder: str, name: str = MANIFEST) -> list[StemFile] | None:
    """Return the files of a complete set; None when the set is incomplete, or another program wrote the manifest."""
    document = storage.read(folder, name)
    try:
        files = json.loads(document or b"")["files"]
        return files if isinstance(files, list) and all(map(_is_ours, files)) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _is_ours(file: object) -> bool:
    """Return whether a manifest's entry names a file of the set's folder, because old files of a set are deleted."""
    return (
        isinstance(file, dict)
        and file.keys() == StemFile.__annotations__.keys()
        and all(isinstance(file[key], str) and file[key].isprintable() for key in ("name", "sha256"))
        and is_file_name(file["path"])
        and file["path"] not in (MANIFEST, _JOURNAL)
        and type(file["size"]) is int
        and file["size"] >= 0
    )
