from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError
from tests.support.storage import local


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


def test_the_bytes_reach_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []

    def note(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append(("folder" if is_folder else "file", (tmp_path / "songs" / "a.mp3").exists()))

    monkeypatch.setattr(os, "fsync", note)
    spooled = tmp_path / "spooled"
    spooled.write_bytes(b"new")
    local(tmp_path / "songs").publish(spooled, "a.mp3")
    assert synced == [("file", False), ("folder", True)]
