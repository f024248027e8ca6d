"""What assets and OpenLineage call a stored file."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias
from openlineage.client.naming import dataset as naming

from airflow_provider_riffusion.storage.location import StorageLocation
from airflow_provider_riffusion.tasks.lineage import add_asset_events, dataset_name


@pytest.mark.parametrize(
    ("storage_path", "name", "uri"),
    [
        ("/data/dt=2025-01-01", "a.mp3", "file:///data/dt=2025-01-01/a.mp3"),
        ("/", "a.mp3", "file:///a.mp3"),
        ("file:///data", "50% #1?.mp3", "file:///data/50%25%20%231%3F.mp3"),
        ("s3://aws@bucket/é", "a.mp3", "s3://bucket/%C3%A9/a.mp3"),
        ("s3a://bucket", "a.mp3", "s3://bucket/a.mp3"),
        ("gcs://google@bucket/songs", "a.mp3", "gs://bucket/songs/a.mp3"),
        ("abfss://azure@container/songs", "a.mp3", "abfs://container/songs/a.mp3"),
        ("sftp://files@/songs", "a.mp3", "sftp://host:22/songs/a.mp3"),
        ("ssh://files@host/songs", "a.mp3", "sftp://host:22/songs/a.mp3"),
        ("sftp://files@", "a.mp3", "sftp://host:22/a.mp3"),
    ],
)
def test_a_uri_is_one_that_airflow_keeps_as_it_is(storage_path: str, name: str, uri: str) -> None:
    found = StorageLocation.of(storage_path).uri(name, server="host:22")
    assert found == uri
    assert Asset(uri=found).uri == uri
    assert uri.isascii()


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("file:///data/my%20songs/%23.mp3", naming.LocalFileSystem("/data/my songs/#.mp3")),
        ("s3://bucket/songs/a.mp3", naming.S3("bucket", "songs/a.mp3")),
        ("gs://bucket/songs/a.mp3", naming.GCS("bucket", "songs/a.mp3")),
        ("abfs://container/songs/a.mp3", naming.ABFSS("container", "account", "songs/a.mp3")),
        ("sftp://host:22/songs/a.mp3", naming.RemoteFileSystem("host:22", "/songs/a.mp3")),
    ],
)
def test_a_dataset_has_the_name_that_openlineages_own_helper_gives(uri: str, expected: naming.DatasetNaming) -> None:
    assert dataset_name(uri, "account") == (expected.get_namespace(), expected.get_name())


def test_a_song_is_a_dataset_of_the_apis_host() -> None:
    name = dataset_name("https://gateway.example:8443/music-api/v1/riffusion/music/song-1")
    assert name == ("https://gateway.example:8443", "/music-api/v1/riffusion/music/song-1")


def test_a_whole_bucket_has_a_name() -> None:
    assert dataset_name("s3://bucket") == ("s3://bucket", "/")


def test_a_uri_that_airflow_refuses_fails_no_task(caplog: pytest.LogCaptureFixture) -> None:
    alias = AssetAlias("new_song")
    added: list[Any] = []

    class Events:
        def __getitem__(self, outlet: AssetAlias) -> Any:
            return SimpleNamespace(add=lambda asset, extra: added.append(asset))

    context: Any = {"outlet_events": Events()}
    add_asset_events(context, [alias], "file:///a.mp3", {})
    assert len(added) == 1
    add_asset_events(context, [alias], f"file:///{'a' * 1600}", {})
    assert "gets no asset event" in caplog.text
