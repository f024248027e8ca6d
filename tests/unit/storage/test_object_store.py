from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError
from airflow_provider_riffusion.storage.location import StorageLocation
from airflow_provider_riffusion.storage.storage import open_storage


@pytest.mark.parametrize(("scheme", "extra"), [("gs", "gcs"), ("abfs", "azure"), ("sftp", "sftp"), ("ssh", "sftp")])
def test_a_missing_provider_names_its_extra(scheme: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow.sdk.io.has_fs", lambda scheme: False)
    with pytest.raises(RiffusionConfigurationError, match=rf"airflow-provider-riffusion\[{extra}\]"):
        open_storage(StorageLocation.of(f"{scheme}://conn@bucket/songs"))


def test_an_sftp_url_that_names_another_host_than_its_connection_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FILES", "sftp://files.example")
    monkeypatch.setattr("airflow.sdk.io.has_fs", lambda _: True)
    monkeypatch.setattr("airflow.sdk.io.attach", lambda *_: SimpleNamespace(fs=None))
    with pytest.raises(RiffusionConfigurationError, match="'files' leads to another host; leave the host out"):
        open_storage(StorageLocation.of("sftp://files@other.example/songs"))
    for host in ("", "files.example"):
        store = open_storage(StorageLocation.of(f"sftp://files@{host}/songs"))
        assert store.path("a.mp3") == f"sftp://{host}/songs/a.mp3"


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def attach(*_: object) -> object:
        raise ImportError("no gcsfs")

    monkeypatch.setattr("airflow.sdk.io.has_fs", lambda _: True)
    monkeypatch.setattr("airflow.sdk.io.attach", attach)
    with pytest.raises(RiffusionConfigurationError, match=r"no gcsfs; .*\[gcs\]"):
        open_storage(StorageLocation.of("gs://bucket/songs"))


def test_an_unknown_connection_is_refused_before_its_store_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr("airflow.sdk.io.has_fs", lambda _: True)
    monkeypatch.setattr("airflow.sdk.io.attach", lambda *arguments: opened.append(arguments))
    with pytest.raises(RiffusionConfigurationError, match="'nowhere'"):
        open_storage(StorageLocation.of("s3://nowhere@bucket/songs"))
    assert opened == []


@pytest.mark.parametrize("name", ["SFTPPermissionDenied", "SFTPOpUnsupported", "HostKeyNotVerifiable"])
def test_what_an_sftp_server_will_never_do_ends_the_task(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise type(name, (Exception,), {})("no")

    monkeypatch.setenv("AIRFLOW_CONN_FILES", "sftp://files.example")
    monkeypatch.setattr("airflow.sdk.io.has_fs", lambda _: True)
    monkeypatch.setattr("airflow.sdk.io.attach", lambda *_: SimpleNamespace(fs=SimpleNamespace(rm_file=refuse)))
    with pytest.raises(RiffusionConfigurationError, match=rf"the store refused \({name}: no\); check"):
        open_storage(StorageLocation.of("sftp://files@/songs")).delete("a.mp3")


@pytest.mark.parametrize(
    ("storage_path", "key"),
    [
        ("sftp://files@files.example/songs/", "/songs/a.mp3"),
        ("ssh://files@/songs", "/songs/a.mp3"),
        ("sftp://files@/", "/a.mp3"),
        ("sftp://files@files.example", "/a.mp3"),
        ("gs://files@bucket/songs", "bucket/songs/a.mp3"),
    ],
)
def test_the_path_on_an_sftp_server_begins_after_its_host(
    storage_path: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[str] = []
    monkeypatch.setenv("AIRFLOW_CONN_FILES", "sftp://files.example")
    monkeypatch.setattr("airflow.sdk.io.has_fs", lambda _: True)
    monkeypatch.setattr("airflow.sdk.io.attach", lambda *_: SimpleNamespace(fs=SimpleNamespace(rm_file=deleted.append)))
    open_storage(StorageLocation.of(storage_path)).delete("a.mp3")
    assert deleted == [key]
