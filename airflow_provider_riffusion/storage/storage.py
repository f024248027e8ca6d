"""Open the storage that a path names: what is at a final path is a whole file, or the old one, or nothing."""

from typing import TypeAlias

from airflow_provider_riffusion.storage.local_folder import LocalFolder
from airflow_provider_riffusion.storage.location import StorageLocation
from airflow_provider_riffusion.storage.object_store import ObjectStore

#: Where files are published whole; both have the same methods.
Storage: TypeAlias = LocalFolder | ObjectStore


def open_storage(location: StorageLocation) -> Storage:
    """
    Open the folder or prefix that a storage path names.

    :raises RiffusionConfigurationError: the folder cannot be made, or the store's provider or connection is missing
    """
    return ObjectStore(location) if location.scheme else LocalFolder(location)
