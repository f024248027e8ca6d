from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError
from airflow_provider_riffusion.storage.location import StorageLocation
from airflow_provider_riffusion.storage.storage import open_storage


@pytest.mark.parametrize(("scheme", "extra"), [("gs", "gcs"), ("abfs", "azure")])
def test_a_missing_provider_names_its_extra(scheme: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow.sdk.io.has_fs", lambda scheme: False)
    with pytest.raises(RiffusionConfigurationError, match=rf"airflow-provider-riffusion\[{extra}\]"):
        open_storage(StorageLocation.of(f"{scheme}://bucket/songs"))


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(RiffusionConfigurationError, match="no installed provider serves nowhere://"):
        open_storage(StorageLocation.of("nowhere://bucket/songs"))


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def attach(*_: object) -> object:
        raise ImportError("no s3fs")

    monkeypatch.setattr("airflow.sdk.io.attach", attach)
    with pytest.raises(RiffusionConfigurationError, match=r"no s3fs; .*\[s3\]"):
        open_storage(StorageLocation.of("s3://bucket/songs"))


def test_an_unknown_connection_is_refused_before_its_store_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr("airflow.sdk.io.has_fs", lambda _: True)
    monkeypatch.setattr("airflow.sdk.io.attach", lambda *arguments: opened.append(arguments))
    with pytest.raises(RiffusionConfigurationError, match="'nowhere'"):
        open_storage(StorageLocation.of("s3://nowhere@bucket/songs"))
    assert opened == []


def test_a_store_of_another_provider_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.local import LocalFileSystem

    monkeypatch.setattr("airflow.sdk.io.has_fs", lambda _: True)
    monkeypatch.setattr("airflow.sdk.io.attach", lambda *_: SimpleNamespace(fs=LocalFileSystem()))
    store = open_storage(StorageLocation("sftp", None, f"{tmp_path}/songs"))
    (tmp_path / "songs").mkdir()
    assert store.size("a.mp3") is None
    with store.spool("a.mp3") as spool:
        (spool.path / "a.mp3").write_bytes(b"song")
        store.publish(spool.path / "a.mp3", "a.mp3")
    assert store.size("a.mp3") == 4
    assert store.read("a.mp3") == b"song"
    store.delete("a.mp3")
    store.delete("a.mp3")
    assert store.size("a.mp3") is None
