"""What tests of local folders share."""

from __future__ import annotations

from pathlib import Path

from airflow_provider_riffusion.storage.local_folder import LocalFolder
from airflow_provider_riffusion.storage.location import StorageLocation
from airflow_provider_riffusion.storage.storage import open_storage


def local(folder: Path) -> LocalFolder:
    """Open a folder as a storage."""
    found = open_storage(StorageLocation.of(str(folder)))
    assert isinstance(found, LocalFolder)
    return found
