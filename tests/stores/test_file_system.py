"""A local folder that cannot take what is downloaded into it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from airflow.exceptions import AirflowFailException

from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.exceptions import RiffusionConfigurationError, RiffusionStorageError
from tests.stores.servers import Bucket
from tests.stores.test_stores import download, whole, without_manifests

FULL_DISK = r"'song[.\w]*' was not stored.*No space left on device.*Free space"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own; who is not root, or in a container, may not make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave almost nothing of a disk free."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        with suppress(OSError):
            while file.write(bytes(4096)):
                pass
        file.truncate(file.tell() - 8192)
    return filler


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("download_format", ["mp3", "wav", "stems"])
def test_a_full_disk_keeps_the_old_file_and_leaves_the_rest_to_retries(
    emulator: Emulator, disk: Path, download_format: str
) -> None:
    old, new = (emulator.add_song(Song(song_id)).id for song_id in ("old", "new"))
    download(old, download_format, str(disk), file_name="song")
    filler = fill(disk)
    before = content(disk)
    with pytest.raises(RiffusionStorageError, match=FULL_DISK) as caught:
        download(new, download_format, str(disk), file_name="song")
    assert not isinstance(caught.value, AirflowFailException)
    assert content(disk) == before
    assert {path.name for path in disk.iterdir()} == {
        "song" if download_format == "stems" else f"song.{download_format}",
        "filler",
    }

    filler.unlink()
    download(new, download_format, str(disk), file_name="song")
    assert without_manifests(content(disk)) == whole(emulator, new, download_format, "song")


def test_a_full_spool_disk_leaves_the_bucket_alone(
    emulator: Emulator,
    disk: Path,
    bucket: Bucket,
    storage_path: str,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    filler = fill(disk)
    with pytest.raises(RiffusionStorageError, match=f"{disk} failed .No space left on device"):
        download(emulator.songs[0].id, "wav", storage_path)
    assert bucket.objects(prefix) == {}
    assert list(disk.iterdir()) == [filler]


@pytest.mark.parametrize("download_format", ["mp3", "stems"])
def test_a_read_only_folder_ends_the_task_before_the_download(
    emulator: Emulator, disk: Path, download_format: str
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(RiffusionConfigurationError, match=f"(?s)storage_path is '{disk}/songs'.*Read-only file system"):
        download(emulator.songs[0].id, download_format, str(disk / "songs"))
    assert emulator.requests == []


def test_a_missing_folder_is_made(emulator: Emulator, tmp_path: Path) -> None:
    song_id = emulator.songs[0].id
    download(song_id, "mp3", str(tmp_path / "a" / "b"))
    assert content(tmp_path / "a" / "b") == whole(emulator, song_id, "mp3")


@pytest.mark.parametrize(
    ("make", "file_name"),
    [
        (lambda path: path.write_bytes(b"old"), None),
        (lambda path: (path / "song.mp3").mkdir(parents=True), "song.mp3"),
        (lambda path: path.symlink_to(path.parent / "nowhere" / "folder"), None),
    ],
    ids=["file", "folder of the name", "dangling link"],
)
def test_something_else_in_the_way_ends_the_task_before_the_download(
    emulator: Emulator, tmp_path: Path, make: Callable[[Path], None], file_name: str | None
) -> None:
    songs = tmp_path / "songs"
    make(songs)
    before = content(tmp_path)
    with pytest.raises(RiffusionConfigurationError, match=f"(?s)storage_path is '{songs}"):
        download(emulator.songs[0].id, "mp3", str(songs), file_name=file_name)
    assert emulator.requests == []
    assert content(tmp_path) == before
