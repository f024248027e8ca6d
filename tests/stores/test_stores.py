"""Downloads into each store, over the store's own protocol."""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.exceptions import (
    RiffusionConfigurationError,
    RiffusionDownloadError,
    RiffusionFileExistsError,
    RiffusionStorageError,
)
from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator, RiffusionDownloadSongsOperator
from airflow_provider_riffusion.storage import object_store
from airflow_provider_riffusion.storage.location import StorageLocation
from tests.stores.proxy import breaking
from tests.stores.servers import Bucket, Store, bucket_url
from tests.support.worker import Worker

WAV_BYTES_PER_SECOND = 44_100 * 4
FORMATS = ("mp3", "wav", "stems")


class TaskTimeout(BaseException):
    """Raised where Airflow raises its own, which has another place in each version."""


def download(song_id: str, download_format: str, storage_path: str, **parameters: Any) -> Any:
    operator = RiffusionDownloadOperator(
        task_id="t", song_id=song_id, download_format=download_format, storage_path=storage_path, **parameters
    )
    return operator.execute({})


def whole(emulator: Emulator, song_id: str, download_format: str, name: str | None = None) -> dict[str, bytes]:
    """Tell the files of a download, without a manifest."""
    name = name or f"{song_id}.{download_format}"
    if download_format != "stems":
        name = name if "." in name else f"{name}.{download_format}"
        return {name: emulator.audio(song_id, download_format)}
    return {f"{name}/{stem}.m4a": content for stem, content in emulator.stems(song_id).items()}


def without_manifests(objects: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in objects.items() if not name.endswith("/manifest.json")}


def visible(objects: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in objects.items() if not any(map(is_hidden, name.split("/")))}


def is_hidden(name: str) -> bool:
    return name.startswith(".")


def left_in_spools() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(".*.part"))


@pytest.mark.parametrize("download_format", FORMATS)
def test_a_song_arrives_byte_for_byte(
    store: Store, emulator: Emulator, storage_path: str, prefix: str, download_format: str
) -> None:
    song_id = emulator.songs[0].id
    result = download(song_id, download_format, storage_path)
    objects = store.objects(prefix)
    assert without_manifests(objects) == whole(emulator, song_id, download_format)
    assert result["path"].endswith(f"/{prefix}/{song_id}.{download_format}")
    read = result["files"][0]["path"] if download_format == "stems" else result["path"]
    content = ObjectStoragePath(read, conn_id=result["storage_conn_id"]).read_bytes()
    assert content in without_manifests(objects).values()
    if download_format == "stems":
        manifest = json.loads(objects[f"{song_id}.stems/manifest.json"])
        assert {file["path"]: file["size"] for file in manifest["files"]} == {
            name.rpartition("/")[2]: len(content) for name, content in without_manifests(objects).items()
        }


@pytest.mark.parametrize("download_format", FORMATS)
def test_if_exists(store: Store, emulator: Emulator, storage_path: str, prefix: str, download_format: str) -> None:
    old, new = (emulator.add_song(Song(song_id)).id for song_id in ("old", "new"))
    download(old, download_format, storage_path, file_name="song")
    emulator.clear()

    skipped = download(new, download_format, storage_path, file_name="song", if_exists="skip")
    assert skipped["skipped"]
    with pytest.raises(RiffusionFileExistsError, match=r"song[.\w]* exists already, and if_exists is 'fail'"):
        download(new, download_format, storage_path, file_name="song", if_exists="fail")
    assert emulator.requests == []
    assert without_manifests(store.objects(prefix)) == whole(emulator, old, download_format, "song")

    download(new, download_format, storage_path, file_name="song", if_exists="replace")
    assert without_manifests(store.objects(prefix)) == whole(emulator, new, download_format, "song")


@pytest.mark.parametrize("download_format", FORMATS)
def test_a_failed_download_changes_nothing(
    store: Store, emulator: Emulator, storage_path: str, prefix: str, download_format: str, no_backoff: None
) -> None:
    song_id = emulator.songs[0].id
    download(song_id, download_format, storage_path)
    before = store.objects(prefix)
    emulator.fault("truncate", path="music/download")
    with pytest.raises(RiffusionDownloadError):
        download(song_id, download_format, storage_path)
    assert store.objects(prefix) == before
    assert store.unfinished() == []
    assert left_in_spools() == []


def test_a_store_that_breaks_keeps_the_old_file(
    bucket: Bucket, emulator: Emulator, prefix: str, connect_store: Callable[..., None]
) -> None:
    song_id = emulator.add_song(Song("long", duration_s=80 * 2**20 / WAV_BYTES_PER_SECOND)).id
    bucket.put(f"{prefix}/long.wav", b"old")
    with breaking(bucket.endpoint, after_bytes=3 * 2**20) as endpoint:
        connect_store("breaking", bucket.connection(endpoint))
        with pytest.raises(RiffusionStorageError, match="the store failed"):
            download(song_id, "wav", f"{bucket_url(bucket, 'breaking')}/{prefix}")
    objects = bucket.objects(prefix)
    # Over a connection that is lost nothing can be removed; the task's next try does that on an SFTP server.
    assert (visible(objects) if bucket.name == "sftp" else objects) == {"long.wav": b"old"}
    assert bucket.unfinished() == []
    assert left_in_spools() == []


def test_nothing_is_visible_before_it_is_whole(
    store: Store,
    emulator: Emulator,
    storage_path: str,
    prefix: str,
    downloads: Worker,
    figure: Callable[[str], None],
) -> None:
    song_id = emulator.add_song(Song("long", duration_s=45 * 10**6 / WAV_BYTES_PER_SECOND)).id
    pid = downloads.start(song_id=song_id, download_format="wav", storage_path=storage_path)
    ended = threading.Event()
    ends: list[int] = []

    def wait() -> None:
        ends.append(downloads.end(pid).code)
        ended.set()

    threading.Thread(target=wait).start()
    looks = 0
    while not ended.is_set():
        # A hidden file may vanish between being listed and being read.
        with suppress(FileNotFoundError):
            seen = visible(store.objects(prefix))
            assert seen in ({}, whole(emulator, song_id, "wav"))
            looks += 1
    figure(f"{store.name}: looked at {looks} times during one upload, and no part was visible")
    assert looks > 1
    assert ends == [0]
    assert store.objects(prefix) == whole(emulator, song_id, "wav")


def test_memory_does_not_grow_with_the_size_of_a_song(
    store: Store, emulator: Emulator, storage_path: str, downloads: Worker, figure: Callable[[str], None]
) -> None:
    peaks = []
    for name, size in (("tiny", 1000), ("usual", 45 * 10**6), ("huge", 200 * 10**6)):
        emulator.add_song(Song(name, duration_s=size / WAV_BYTES_PER_SECOND))
        ended = downloads.run(song_id=name, download_format="wav", storage_path=storage_path)
        assert ended.peak_megabytes is not None
        peaks.append(ended.peak_megabytes)
    tiny, usual, huge = peaks
    figure(f"{store.name}: peak memory {tiny:.0f} MB for 1 kB, {usual:.0f} MB for 45 MB, {huge:.0f} MB for 200 MB")
    assert huge - usual <= 16
    assert huge - tiny <= 128


def test_memory_for_stems_is_at_most_three_times_the_document(
    store: Store, emulator: Emulator, storage_path: str, downloads: Worker, figure: Callable[[str], None]
) -> None:
    emulator.add_song(Song("small"))
    emulator.add_song(Song("big", stem_padding=8 * 10**6))
    document = 4 * 8 * 4 / 3
    peaks = []
    for name in ("small", "big"):
        ended = downloads.run(song_id=name, download_format="stems", storage_path=storage_path)
        assert ended.peak_megabytes is not None
        peaks.append(ended.peak_megabytes)
    small, big = peaks
    figure(f"{store.name}: peak memory {small:.0f} MB for small stems, {big:.0f} MB for stems of {document:.0f} MB")
    assert big - small <= 3 * document + 16


def test_a_missing_bucket_ends_the_task_before_the_download(bucket: Bucket, emulator: Emulator) -> None:
    if bucket.name == "sftp":
        pytest.skip("an SFTP server has no buckets, and a missing folder is made")
    with pytest.raises(RiffusionConfigurationError, match="there is no bucket or container 'missing'; create it"):
        download(emulator.songs[0].id, "mp3", f"{bucket_url(bucket, name='missing')}/songs")
    assert emulator.requests == []


def test_a_refused_credential_ends_the_task_before_the_download(
    bucket: Bucket, emulator: Emulator, connect_store: Callable[..., None]
) -> None:
    with bucket.refusing() as connection:
        connect_store("refused", connection)
        with pytest.raises(RiffusionConfigurationError, match=r"the store refused .*check the bucket and .*'refused'"):
            download(emulator.songs[0].id, "mp3", f"{bucket_url(bucket, 'refused')}/songs")
    assert emulator.requests == []


def test_a_connection_that_is_not_there_ends_the_task_before_the_download(bucket: Bucket, emulator: Emulator) -> None:
    with pytest.raises(RiffusionConfigurationError, match="'nowhere'"):
        download(emulator.songs[0].id, "mp3", f"{bucket_url(bucket, 'nowhere')}/songs")
    assert emulator.requests == []


@pytest.mark.parametrize("way", ["execution_timeout", "on_kill"])
def test_an_upload_that_is_aborted_leaves_nothing_partial(
    bucket: Bucket, emulator: Emulator, storage_path: str, prefix: str, way: str
) -> None:
    song_id = emulator.add_song(Song("long", duration_s=200 * 10**6 / WAV_BYTES_PER_SECOND)).id
    operator = RiffusionDownloadOperator(task_id="t", song_id=song_id, download_format="wav", storage_path=storage_path)
    ended, strikes = threading.Event(), 0

    def strike(_: int, __: FrameType | None) -> None:
        nonlocal strikes
        strikes += 1
        if way == "on_kill":
            operator.on_kill()
        elif not ended.is_set():
            raise TaskTimeout

    def watch() -> None:
        while not ended.is_set():
            # Only S3 shows an upload that goes on; elsewhere it begins when the spooled file is whole.
            # A folder may be gone before it is read, which os.walk() passes over.
            is_spooled = any("long.wav" in names for spool in left_in_spools() for _, _, names in os.walk(spool))
            if is_spooled and (bucket.name != "s3" or bucket.unfinished()):
                os.kill(os.getpid(), signal.SIGUSR1)
                return
            time.sleep(0.001)

    previous = signal.signal(signal.SIGUSR1, strike)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(RiffusionStorageError if way == "on_kill" else TaskTimeout):
            operator.execute({})
    finally:
        ended.set()
        watcher.join()
        signal.signal(signal.SIGUSR1, previous)
    assert strikes == 1
    assert bucket.unfinished() == []
    left = bucket.objects(prefix)
    # The last request of an upload can be on its way already when the strike comes; what it stores is whole.
    is_late = bucket.name in ("azure", "s3") and way == "execution_timeout" and left
    assert left == (whole(emulator, song_id, "wav") if is_late else {})
    assert left_in_spools() == []


@pytest.mark.parametrize("listed_files", [1, 100], ids=["one listing", "a look at each"])
def test_many_songs_arrive_and_are_not_fetched_again(
    store: Store, emulator: Emulator, storage_path: str, prefix: str, listed_files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "_LISTED_FILES", listed_files)
    song_ids = [song.id for song in emulator.songs]
    results = []
    for _ in range(2):
        batch = RiffusionDownloadSongsOperator(
            task_id="t",
            song_ids=song_ids,
            storage_path=storage_path,
            manifest_name="all.jsonl",
            if_exists="skip",
            max_workers=3,
        )
        results.append(batch.execute({}))
    assert [(result["downloaded"], result["skipped"]) for result in results] == [(5, 0), (0, 5)]
    assert emulator.count("music/download") == 5
    found = store.objects(prefix)
    lines = [json.loads(line) for line in found.pop("all.jsonl").splitlines()]
    assert found == {name: content for song_id in song_ids for name, content in whole(emulator, song_id, "mp3").items()}
    assert {line["id"]: line["size"] for line in lines} == {
        song_id: len(emulator.audio(song_id)) for song_id in song_ids
    }
    content = ObjectStoragePath(results[1]["manifest"], conn_id=results[1]["storage_conn_id"]).read_bytes()
    assert content.count(b"\n") == len(song_ids)
    assert left_in_spools() == []


def test_the_songs_that_a_store_has_are_found_in_one_listing(
    bucket: Bucket, prefix: str, storage_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = object_store.ObjectStore(StorageLocation.of(storage_path))
    names = [f"{number}.mp3" for number in range(100)]
    assert storage.sizes(names) == {}
    for name in (names[7], names[99], "other.mp3", "1.mp3/deeper.mp3"):
        bucket.put(f"{prefix}/{name}", b"12345")
    monkeypatch.setattr(object_store.ObjectStore, "size", None)
    assert storage.sizes(names) == {names[7]: 5, names[99]: 5}
    missing = object_store.ObjectStore(StorageLocation.of(f"{bucket_url(bucket, name='missing')}/songs"))
    if bucket.name != "sftp":
        with pytest.raises(RiffusionConfigurationError, match="there is no bucket or container 'missing'; create it"):
            missing.sizes(names)


# --- kills and contention


@pytest.mark.parametrize("download_format", ["wav", "stems"])
def test_a_kill_at_any_moment_leaves_nothing_partial_and_a_rerun_succeeds(
    store: Store,
    emulator: Emulator,
    storage_path: str,
    prefix: str,
    downloads: Worker,
    download_format: str,
    pytestconfig: pytest.Config,
    figure: Callable[[str], None],
) -> None:
    # S3 gets its file in several parts.
    length = 20 * 2**20 / WAV_BYTES_PER_SECOND
    stems = {"a": ("vocals", "drums"), "b": ("vocals", "bass", "other")}
    songs = [
        emulator.add_song(Song(name, duration_s=length, stem_padding=500_000, stems=names)).id
        for name, names in stems.items()
    ]
    files = [whole(emulator, song_id, download_format, "song") for song_id in songs]
    parameters: dict[str, Any] = {
        "download_format": download_format,
        "storage_path": storage_path,
        "file_name": "song",
    }
    # The second run, because the first one also fills caches.
    seconds = min(downloads.run(song_id=songs[0], **parameters).seconds for _ in range(2))
    seed = random.randrange(10**6)
    moments = random.Random(seed)

    kills = pytestconfig.getoption("kills")
    killed = stored = 0
    for number in range(10 * kills):
        song_id, expected = songs[number % 2], files[number % 2]
        ended = downloads.run(moments.uniform(0, seconds), song_id=song_id, **parameters)
        killed += ended.code == -signal.SIGKILL
        found = visible(store.objects(prefix))
        manifest = found.pop("song/manifest.json", None)
        for name, content in found.items():
            assert content in [each.get(name) for each in files], f"{name} is partial after a kill (seed {seed})"
        if manifest is not None or download_format == "wav":
            assert found in files
        stored += ended.code != 0 and found == expected
        rerun = downloads.run(song_id=song_id, **parameters)
        assert rerun.code == 0
        # How long a download takes depends on what else the machine does now.
        seconds = rerun.seconds
        assert without_manifests(store.objects(prefix)) == expected, "a rerun leaves only the whole song"
        if killed == kills:
            break
    figure(
        f"{store.name}, {download_format}: {killed} killed within {seconds:.2f} s (seed {seed}), {stored} of them when "
        f"the song was stored already; nothing partial; {len(store.unfinished())} unfinished uploads left"
    )
    assert killed == kills


def test_a_kill_during_the_upload_leaves_nothing_under_the_final_name(
    bucket: Bucket, emulator: Emulator, storage_path: str, prefix: str, downloads: Worker
) -> None:
    if bucket.name != "sftp":
        pytest.skip("only on an SFTP server can a part of a file be seen")
    song_id = emulator.add_song(Song("long", duration_s=100 * 10**6 / WAV_BYTES_PER_SECOND)).id
    parameters: dict[str, Any] = {"song_id": song_id, "download_format": "wav", "storage_path": storage_path}
    pid = downloads.start(**parameters)
    while not any(bucket.objects(prefix).values()):
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    assert downloads.end(pid).code == -signal.SIGKILL
    found = bucket.objects(prefix)
    assert found
    assert visible(found) == {}
    assert downloads.run(**parameters).code == 0
    assert bucket.objects(prefix) == whole(emulator, song_id, "wav")


@pytest.mark.parametrize("download_format", ["wav", "stems"])
def test_two_tasks_that_write_the_same_path_leave_one_whole_file(
    store: Store,
    emulator: Emulator,
    storage_path: str,
    prefix: str,
    downloads: Worker,
    download_format: str,
    pytestconfig: pytest.Config,
) -> None:
    songs = [emulator.add_song(Song(name, duration_s=10, stem_padding=100_000)).id for name in ("a", "b")]
    files = [whole(emulator, song_id, download_format, "song") for song_id in songs]
    parameters: dict[str, Any] = {
        "download_format": download_format,
        "storage_path": storage_path,
        "file_name": "song",
    }
    for _ in range(pytestconfig.getoption("kills")):
        pids = [downloads.start(run_id=song_id, song_id=song_id, **parameters) for song_id in songs]
        assert [downloads.end(pid).code for pid in pids] == [0, 0]
        found = without_manifests(store.objects(prefix))
        if download_format == "wav" or store.name == "local":
            assert found in files
        else:
            # A bucket has no lock: the stems may be of both songs, each of them whole.
            assert all(content in [each[name] for each in files] for name, content in found.items())
