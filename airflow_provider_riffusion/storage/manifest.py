"""Files that belong together: their manifest stands in their folder only while the set is complete."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from airflow_provider_riffusion.storage.storage import Storage

MANIFEST = "manifest.json"
#: Lists what may stand in the folder while a set takes the place of another one, for the try that follows a kill.
_JOURNAL = ".manifest.unfinished.json"


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
    document = _document(song_id, files)
    manifest, journal = spooled / MANIFEST, spooled / _JOURNAL
    manifest.write_bytes(document)
    with storage.exclusive(folder):
        old = dict.fromkeys([*(read_manifest(storage, folder) or ()), *(_read(storage, folder, _JOURNAL) or ())])
        for file in files:
            # Raises in a local folder for what cannot be replaced, while the old set is still complete.
            storage.size(folder, file.path)
        if old:
            journal.write_bytes(_document(song_id, list(old | dict.fromkeys(files))))
            storage.publish(journal, folder, _JOURNAL)
        # Also one that is not ours.
        storage.delete(folder, MANIFEST)
        for file in files:
            storage.publish(spooled / file.path, folder, file.path)
        for path in {file.path for file in old} - {file.path for file in files}:
            storage.delete(folder, path)
        storage.publish(manifest, folder, MANIFEST)
        if old:
            storage.delete(folder, _JOURNAL)
    return hashlib.sha256(document).hexdigest()


def read_manifest(storage: Storage, folder: str) -> list[StoredFile] | None:
    """Read what a complete set consists of; None when it is incomplete, or its manifest is not ours."""
    return _read(storage, folder, MANIFEST)


def _document(song_id: str, files: Sequence[StoredFile]) -> bytes:
    return json.dumps({"song_id": song_id, "files": [asdict(file) for file in files]}, indent=1).encode()


def _read(storage: Storage, folder: str, name: str) -> list[StoredFile] | None:
    document = storage.read(folder, name)
    if document is None:
        return None
    try:
        files = [StoredFile(**entry) for entry in json.loads(document)["files"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    # Whoever can write a manifest must not have files outside of its folder deleted.
    is_ours = all(
        all(isinstance(text, str) and text.isprintable() for text in (file.name, file.path, file.sha256))
        and file.path == os.path.basename(file.path)
        and file.path not in ("", ".", "..", MANIFEST, _JOURNAL)
        and len(os.fsencode(file.path)) <= 255
        and type(file.size) is int
        and file.size >= 0
        for file in files
    )
    return files if is_ours else None
