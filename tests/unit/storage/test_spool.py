from __future__ import annotations

import os
from pathlib import Path

import pytest

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError, RiffusionStorageError
from tests.support.storage import local


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


def test_a_removed_spool_cannot_be_published(tmp_path: Path) -> None:
    store = local(tmp_path)
    spool = store.spool("song")
    (spool.path / "x").write_bytes(b"part")
    spool.remove()
    with pytest.raises(FileNotFoundError):
        store.publish(spool.path / "x", "song.mp3")
    assert list(tmp_path.iterdir()) == []


def test_a_download_whose_spool_was_removed_says_so_and_speaks_of_no_disk(tmp_path: Path) -> None:
    removed = "'song' was not stored: its spool in .* was removed, as a kill does.$"
    spool = local(tmp_path).spool("song")
    spool.remove()
    with pytest.raises(RiffusionStorageError, match=removed), spool:
        (spool.path / "song").touch()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a folder that even root cannot write")
def test_a_folder_that_takes_no_files_is_named() -> None:
    with pytest.raises(RiffusionConfigurationError, match="/sys/songs"):
        local(Path("/sys/songs")).spool("song")
