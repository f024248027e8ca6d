from __future__ import annotations

import asyncio
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError
from airflow_provider_riffusion.storage import file_system, object_store
from airflow_provider_riffusion.storage.location import StorageLocation
from airflow_provider_riffusion.storage.spool import Spool
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


@pytest.mark.parametrize(("storage_path", "at_once"), [("gs://bucket/songs", 1), ("s3://bucket/songs", 4)])
def test_uploads_that_hold_parts_of_their_files_in_memory_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage_path: str, at_once: int
) -> None:
    running: list[str] = []
    most: list[int] = []
    are_together = threading.Barrier(at_once)

    def upload(_: object, __: Path, key: str) -> None:
        running.append(key)
        are_together.wait(10)
        most.append(len(running))
        are_together.wait(10)
        running.remove(key)

    monkeypatch.setattr(object_store, "_upload", upload)
    monkeypatch.setattr(object_store, "_open", lambda *_: (SimpleNamespace(account=None), ""))
    store = open_storage(StorageLocation.of(storage_path))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: store.publish(tmp_path / name, name), "abcd"))
    assert most == [at_once] * 4


def test_files_that_are_put_on_an_sftp_server_at_the_same_time_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    parts: list[str] = []

    class Sftp:
        async def __aenter__(self) -> Sftp:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def rmtree(self, *_: object, **__: object) -> None:
            pass

        async def makedirs(self, *_: object, **__: object) -> None:
            pass

        async def put(self, _: str, part: str, **__: object) -> None:
            parts.append(part)

        async def posix_rename(self, *_: str) -> None:
            pass

    fs = SimpleNamespace(client=SimpleNamespace(start_sftp_client=Sftp))
    for _ in range(2):
        # Each try of a batch makes the spool anew, and each song has a folder in it.
        spool = Spool(tmp_path, "songs", "d/t/r/-1")
        for name in ("a.mp3", "b.mp3"):
            spooled = spool.path / f".{name}.x.part" / name
            asyncio.run(file_system._put_and_rename(fs, spooled, f"/songs/{name}", lambda *_: None))
    first, second, *again = [part.rpartition("/")[0] for part in parts]
    assert first != second
    # The next try removes the folder of a killed one, which cannot rename its file then, even if it still runs.
    assert again == [first, second]
    assert len(set(parts)) == 4
    assert all(folder.startswith("/songs/.songs.") and folder.endswith(".part") for folder in (first, second))
