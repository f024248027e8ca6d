from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError
from airflow_provider_riffusion.storage import manifest as stem_set
from airflow_provider_riffusion.storage.local_folder import LocalFolder
from airflow_provider_riffusion.storage.manifest import MANIFEST, StemFile
from tests.support.storage import local


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "song.stems" / MANIFEST).mkdir(parents=True)
    with pytest.raises(RiffusionConfigurationError, match=r"manifest\.json';\sit cannot be read"):
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


def test_a_stem_renamed_only_in_case_stays_on_a_file_system_that_ignores_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete(self: LocalFolder, *names: str) -> None:
        for path in self._folder.joinpath(*names).parent.iterdir():
            if path.name.lower() == names[-1].lower():
                path.unlink()

    monkeypatch.setattr(LocalFolder, "delete", delete)
    store = local(tmp_path)
    publish_set(store, ["Vocals.m4a"])
    publish_set(store, ["vocals.m4a"])
    assert {path.name for path in (tmp_path / "song.stems").iterdir()} == {"vocals.m4a", MANIFEST}


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


@pytest.mark.usefixtures("short_lock")
def test_a_lock_that_stays_taken_does_not_hold_a_set_up_for_ever(tmp_path: Path) -> None:
    store = local(tmp_path)
    with store.exclusive("song.stems"):
        publish_set(store, ["a.m4a"])
    assert (tmp_path / "song.stems" / MANIFEST).exists()


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
