from __future__ import annotations

import pytest

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError
from airflow_provider_riffusion.storage.location import StorageLocation


@pytest.mark.parametrize(
    ("storage_path", "conn_id", "location"),
    [
        ("/data/songs", None, StorageLocation("", None, "/data/songs")),
        ("/data/../songs/", None, StorageLocation("", None, "/songs")),
        ("file:///data/songs", None, StorageLocation("", None, "/data/songs")),
        ("s3://bucket", None, StorageLocation("s3", None, "bucket")),
        ("s3://bucket/a/b/", "aws", StorageLocation("s3", "aws", "bucket/a/b")),
        ("s3://aws@bucket/a", None, StorageLocation("s3", "aws", "bucket/a")),
        ("s3://aws@bucket/a", "aws", StorageLocation("s3", "aws", "bucket/a")),
        ("sftp://files@host/songs/", None, StorageLocation("sftp", "files", "host/songs")),
        ("sftp://files@/songs", None, StorageLocation("sftp", "files", "/songs")),
        ("ssh:///songs", "files", StorageLocation("ssh", "files", "/songs")),
        ("gs://bucket/a#b?c", None, StorageLocation("gs", None, "bucket/a#b?c")),
    ],
)
def test_locations(storage_path: str, conn_id: str | None, location: StorageLocation) -> None:
    assert StorageLocation.of(storage_path, conn_id) == location


@pytest.mark.parametrize(
    ("storage_path", "conn_id"),
    [
        ("songs", None),
        ("./songs", None),
        ("~/songs", None),
        ("", None),
        ("file://songs", None),
        ("s3://", None),
        ("s3:///key", None),
        ("s3://aws@bucket", "other"),
        ("sftp://host/songs", None),
        ("/a\0b", None),
        ("/a\nb", None),
    ],
)
def test_wrong_locations_are_named(storage_path: str, conn_id: str | None) -> None:
    with pytest.raises(RiffusionConfigurationError, match="storage_path is"):
        StorageLocation.of(storage_path, conn_id)


@pytest.mark.parametrize("scheme", ["webdav", "smb", "hdfs", "ftp", "http", "memory", "wasb", "az", "S3", "msgraph"])
def test_a_store_that_can_show_a_part_of_a_file_is_refused(scheme: str) -> None:
    with pytest.raises(RiffusionConfigurationError, match="a part of a file could be seen there; use a local folder"):
        StorageLocation.of(f"{scheme}://bucket/songs")
