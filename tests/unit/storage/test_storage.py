from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError
from airflow_provider_riffusion.storage import manifest as stem_set
from airflow_provider_riffusion.storage.local_folder import LocalFolder
from airflow_provider_riffusion.storage.location import StorageLocation
from airflow_provider_riffusion.storage.manifest import MANIFEST, StemFile
from airflow_provider_riffusion.storage.storage import open_storage


def local(folder: Path) -> LocalFolder:
    found = open_storage(StorageLocation.of(str(folder)))
    assert isinstance(found, LocalFolder)
    return found


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
        ("/a\0b", None),
        ("/a\nb", None),
    ],
)
def test_wrong_locations_are_named(storage_path: str, conn_id: str | None) -> None:
    with pytest.raises(RiffusionConfigurationError, match="storage_path is"):
        StorageLocation.of(storage_path, conn_id)


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

    monkeypatch.setattr("airflow_provider_riffusion.storage.object_store._file_system", lambda _: LocalFileSystem())
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


def test_the_next_try_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    store = local(tmp_path)
    killed = store.spool("song.mp3", "dag/task/run/-1")
    (killed.path / "part").write_bytes(b"half")
    other = store.spool("song.mp3", "dag/task/run/0")
    with store.spool("song.mp3", "dag/task/run/-1") as spool:
        assert list(spool.path.iterdir()) == []
    assert list(tmp_path.iterdir()) == [other.path.parent]
    other.remove()
    assert list(tmp_path.iterdir()) == []


def test_an_older_try_removes_nothing_of_a_newer_one(tmp_path: Path) -> None:
    store = local(tmp_path)
    older = store.spool("song.mp3", "dag/task/run/-1")
    newer = store.spool("song.mp3", "dag/task/run/-1")
    older.remove()
    assert newer.path.is_dir()


def test_a_name_that_somebody_else_has_taken_does_not_stop_a_spool(tmp_path: Path) -> None:
    store = local(tmp_path)
    taken = store.spool("song.mp3", "dag/task/run/-1").path.parent
    taken.rename(tmp_path / "away")
    planted = tmp_path / "planted"
    planted.mkdir()
    taken.symlink_to(planted)
    with store.spool("song.mp3", "dag/task/run/-1") as spool:
        (spool.path / "song.mp3").write_bytes(b"song")
        assert list(planted.iterdir()) == []
        store.publish(spool.path / "song.mp3", "song.mp3")
    assert (tmp_path / "song.mp3").read_bytes() == b"song"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "song.stems" / MANIFEST).mkdir(parents=True)
    with pytest.raises(RiffusionConfigurationError, match=r"manifest\.json'; it cannot be read"):
        stem_set.read_manifest(local(tmp_path), "song.stems")


def test_the_set_after_a_kill_removes_what_both_before_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = local(tmp_path)
    publish_set(store, ["a.m4a"])

    def kill(self: LocalFolder, *names: str) -> None:
        if names[-1] == "a.m4a":
            raise KeyboardInterrupt

    monkeypatch.setattr(LocalFolder, "delete", kill)
    with pytest.raises(KeyboardInterrupt):
        publish_set(store, ["b.m4a"])
    monkeypatch.undo()
    (tmp_path / "song.stems" / MANIFEST).unlink()
    publish_set(store, ["c.m4a"])
    assert {path.name for path in (tmp_path / "song.stems").iterdir()} == {"c.m4a", MANIFEST}


def test_two_writers_of_a_set_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = LocalFolder.publish

    def publish_slowly(self: LocalFolder, spooled: Path, *names: str) -> None:
        time.sleep(0.02)
        publish(self, spooled, *names)

    monkeypatch.setattr(LocalFolder, "publish", publish_slowly)
    stored = [StemFile(name=name, path=name, size=1, sha256=content) for content in "xy" for name in ("a", "b", "c")]

    def write(files: list[StemFile]) -> None:
        store = local(tmp_path)
        with store.spool("song") as spool:
            for file in files:
                (spool.path / file["path"]).write_text(file["sha256"])
            stem_set.publish_set(store, "song.stems", spool.path, files, {"song_id": "song"})

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, (stored[:3], stored[3:])))
    files = stem_set.read_manifest(local(tmp_path), "song.stems")
    assert files in (stored[:3], stored[3:])
    assert [(tmp_path / "song.stems" / file["path"]).read_text() for file in files] == [
        file["sha256"] for file in files
    ]


def test_a_lock_that_stays_taken_does_not_hold_a_set_up_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_riffusion.storage.local_folder._LOCK_SECONDS", 0.1)
    store = local(tmp_path)
    with store.exclusive("song.stems"):
        publish_set(store, ["a.m4a"])
    assert (tmp_path / "song.stems" / MANIFEST).exists()


def test_publish_replaces_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    store = local(folder)
    with store.spool("song") as spool:
        assert spool.path.parent == folder
        (spool.path / "x").write_bytes(b"new")
        folder.joinpath("song.mp3").write_bytes(b"old")
        store.publish(spool.path / "x", "song.mp3")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"song.mp3": b"new"}
    assert store.size("song.mp3") == 3
    assert store.size("other.mp3") is None
    assert store.path("song.mp3") == str(folder / "song.mp3")


def test_a_removed_spool_cannot_be_published(tmp_path: Path) -> None:
    store = local(tmp_path)
    spool = store.spool("song")
    (spool.path / "x").write_bytes(b"part")
    spool.remove()
    with pytest.raises(FileNotFoundError):
        store.publish(spool.path / "x", "song.mp3")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "song.mp3").mkdir()
    with pytest.raises(RiffusionConfigurationError, match="not a regular file"):
        local(tmp_path).size("song.mp3")


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "songs").touch()
    store = local(tmp_path / "songs")
    with pytest.raises(RiffusionConfigurationError, match="cannot be read"):
        store.size("song.mp3")
    with pytest.raises(RiffusionConfigurationError, match="nothing can be stored there"):
        store.spool("song.mp3")


def publish_set(store: LocalFolder, names: list[str]) -> str:
    with store.spool("set") as spool:
        for name in names:
            (spool.path / name).write_bytes(name.encode())
        files = [StemFile(name=Path(name).stem, path=name, size=len(name), sha256="0" * 64) for name in names]
        return stem_set.publish_set(store, "song.stems", spool.path, files, {"song_id": "song"})


def test_a_set_has_its_manifest_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = local(tmp_path)
    publish_set(store, ["a.m4a", "b.m4a"])
    seen = []
    real = LocalFolder.publish

    def publish(self: LocalFolder, spooled: Path, *names: str) -> None:
        seen.append((names[-1], (tmp_path / "song.stems" / MANIFEST).exists()))
        real(self, spooled, *names)

    monkeypatch.setattr(LocalFolder, "publish", publish)
    publish_set(store, ["a.m4a", "c.m4a"])
    assert seen == [(".manifest.unfinished.json", True), ("a.m4a", False), ("c.m4a", False), (MANIFEST, False)]


def test_a_new_set_deletes_the_old_ones_files_and_no_others(tmp_path: Path) -> None:
    store = local(tmp_path)
    publish_set(store, ["a.m4a", "b.m4a"])
    (tmp_path / "song.stems" / "notes.txt").touch()
    publish_set(store, ["a.m4a", "c.m4a"])
    assert {path.name for path in (tmp_path / "song.stems").iterdir()} == {"a.m4a", "c.m4a", "notes.txt", MANIFEST}
    assert [file["path"] for file in stem_set.read_manifest(store, "song.stems") or ()] == ["a.m4a", "c.m4a"]


@pytest.mark.parametrize(
    "manifest",
    [
        "no json",
        "{}",
        "[]",
        json.dumps({"files": [{"path": "x"}]}),
        json.dumps({"files": [{"name": "x", "path": "../victim", "size": 1, "sha256": ""}]}),
        json.dumps({"files": [{"name": "x", "path": "..", "size": 1, "sha256": ""}]}),
        "[" * 100_000,
        json.dumps({"files": [{"name": "x", "path": "", "size": 1, "sha256": ""}]}),
        json.dumps({"files": [{"name": "x", "path": "x", "size": "1", "sha256": ""}]}),
    ],
)
def test_a_foreign_manifest_deletes_nothing(tmp_path: Path, manifest: str) -> None:
    store = local(tmp_path)
    (tmp_path / "victim").touch()
    (tmp_path / "song.stems").mkdir()
    (tmp_path / "song.stems" / MANIFEST).write_text(manifest)
    assert stem_set.read_manifest(store, "song.stems") is None
    publish_set(store, ["a.m4a"])
    assert (tmp_path / "victim").exists()


def test_a_folder_in_the_place_of_a_stem_leaves_the_older_set(tmp_path: Path) -> None:
    store = local(tmp_path)
    publish_set(store, ["a.m4a"])
    (tmp_path / "song.stems" / "b.m4a").mkdir()
    with pytest.raises(RiffusionConfigurationError, match="not a regular file"):
        publish_set(store, ["b.m4a"])
    assert (tmp_path / "song.stems" / MANIFEST).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a folder that even root cannot write")
def test_a_folder_that_takes_no_files_is_named() -> None:
    with pytest.raises(RiffusionConfigurationError, match="/sys/songs"):
        local(Path("/sys/songs")).spool("song")
