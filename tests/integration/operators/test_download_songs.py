"""Many songs in one task, against the emulator: what is stored, what is listed, and which requests are sent."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from itertools import count
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout

from airflow_provider_riffusion import exceptions as errors
from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from airflow_provider_riffusion.operators import batch as batches
from airflow_provider_riffusion.operators import song_manifest
from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadSongsOperator
from airflow_provider_riffusion.storage.local_folder import LocalFolder
from airflow_provider_riffusion.transport.settings import TransportSettings
from airflow_provider_riffusion.useapi.client import UseapiClient

DOWNLOAD, FACTS = "music/download", "/v1/riffusion/music"
SONGS = [f"song-{number}" for number in range(12)]

pytestmark = pytest.mark.usefixtures("connection", "no_backoff")


@pytest.fixture(scope="module")
def server() -> Iterator[Emulator]:
    with Emulator(songs=[Song(song_id, lyrics=f"words of {song_id}", duration_s=0.5) for song_id in SONGS]) as running:
        yield running


@pytest.fixture
def emulator(server: Emulator) -> Emulator:
    """One server for all tests here."""
    server.clear()
    server.configure(stems_reply="base64", audio_reply="bytes")
    server.repair_account("user-1")
    return server


def operator(folder: Path, song_ids: Any = SONGS, **parameters: Any) -> RiffusionDownloadSongsOperator:
    return RiffusionDownloadSongsOperator(task_id="t", song_ids=song_ids, storage_path=str(folder), **parameters)


def context(map_index: int = -1) -> Any:
    return {"ti": SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=map_index)}


def run(folder: Path, song_ids: Any = SONGS, **parameters: Any) -> Any:
    return operator(folder, song_ids, **parameters).execute(context())


def stored(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def entries(path: str | None) -> dict[str, dict[str, Any]]:
    assert path is not None
    return {entry["id"]: entry for entry in map(json.loads, Path(path).read_text().splitlines())}


def threads_of_a_batch() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("riffusion-song")]


def test_songs_and_their_manifest_arrive_whole(emulator: Emulator, tmp_path: Path) -> None:
    result = run(tmp_path, [*SONGS, SONGS[0]])
    found = stored(tmp_path)
    manifest = found.pop(Path(result["manifest"]).name)
    assert found == {f"{song_id}.mp3": emulator.audio(song_id) for song_id in SONGS}
    size = sum(map(len, found.values()))
    assert result == {
        "songs": len(SONGS),
        "downloaded": len(SONGS),
        "skipped": 0,
        "bytes": size,
        "storage_path": str(tmp_path),
        "storage_conn_id": None,
        "manifest": result["manifest"],
    }
    listed = entries(result["manifest"])
    assert manifest.count(b"\n") == len(listed) == len(SONGS)
    assert listed["song-3"] == {
        "id": "song-3",
        "format": "mp3",
        "path": str(tmp_path / "song-3.mp3"),
        "size": len(found["song-3.mp3"]),
        "sha256": hashlib.sha256(found["song-3.mp3"]).hexdigest(),
        "title": "Untitled",
        "prompt": "warm analog synth, slow drums",
        "lyrics": "words of song-3",
        "created_at": listed["song-3"]["created_at"],
        "duration_s": 0.5,
    }
    assert listed["song-3"]["created_at"].startswith("2025-04-01T12:00")
    # One request for the audio and one for the facts.
    assert emulator.count(DOWNLOAD) == emulator.count(FACTS) == len(SONGS)
    assert threads_of_a_batch() == []


def test_songs_that_are_there_cost_no_request(emulator: Emulator, tmp_path: Path) -> None:
    first = run(tmp_path, SONGS[:3])
    emulator.clear()
    second = run(tmp_path, SONGS[:3], if_exists="skip", manifest_name="all.jsonl")
    assert emulator.requests == []
    assert second == {**first, "downloaded": 0, "skipped": 3, "manifest": str(tmp_path / "all.jsonl")}
    (line, *_) = entries(second["manifest"]).values()
    assert line["size"] > 0
    assert {line[name] for name in ("sha256", "title", "prompt", "lyrics", "created_at", "duration_s")} == {None}


def test_stems_are_a_folder_for_each_song(emulator: Emulator, tmp_path: Path) -> None:
    result = run(tmp_path, SONGS[:2], download_format="stems")
    for song_id, entry in entries(result["manifest"]).items():
        files = {path.stem: path.read_bytes() for path in Path(entry["path"]).glob("*.m4a")}
        assert files == emulator.stems(song_id)
        assert entry["size"] == sum(map(len, files.values()))
    emulator.clear()
    again = run(tmp_path, SONGS[:2], download_format="stems", if_exists="skip")
    assert (again["skipped"], again["bytes"]) == (2, result["bytes"])
    assert emulator.requests == []


def test_no_song_is_a_success(emulator: Emulator, tmp_path: Path) -> None:
    result = run(tmp_path, "[]")
    assert [result[name] for name in ("songs", "downloaded", "skipped", "bytes")] == [0, 0, 0, 0]
    assert entries(result["manifest"]) == {}
    assert emulator.requests == []


def test_the_manifest_has_another_name_in_each_task_instance(emulator: Emulator, tmp_path: Path) -> None:
    contexts = [context(), context(0), context(1), {}, {}]
    names = {operator(tmp_path, []).execute(context)["manifest"] for context in contexts}
    assert len(names) == len(contexts)
    assert operator(tmp_path, []).execute(context(1))["manifest"] in names


def test_facts_that_cannot_be_had_are_left_out(emulator: Emulator, tmp_path: Path) -> None:
    emulator.fault("status", status=500, path=FACTS)
    result = run(tmp_path, SONGS[:2])
    assert {entry["title"] for entry in entries(result["manifest"]).values()} == {None}
    assert emulator.count(FACTS) == 2
    # When all songs are there, not even a 596 is worth a failure.
    emulator.clear()
    emulator.fault("status", status=596, path=FACTS)
    assert run(tmp_path, SONGS[:1])["downloaded"] == 1


# --- failures


def test_a_song_that_fails_hides_no_other_and_the_retry_fetches_it_alone(emulator: Emulator, tmp_path: Path) -> None:
    emulator.fault("status", status=404, song_id="song-1", path=DOWNLOAD)
    emulator.fault("status", status=409, song_id="song-2", path=DOWNLOAD)
    emulator.fault("truncate", song_id="song-3", path=DOWNLOAD)
    with pytest.raises(errors.RiffusionBatchError) as caught:
        run(tmp_path, manifest_name="songs.jsonl")
    wrong, remedy, there, *failed = str(caught.value).split("\n")
    assert wrong == "3 of 12 songs were not stored."
    assert remedy == "Let Airflow retry the task: it fetches only what is missing."
    assert there == f"The songs that are there: {caught.value.manifest}"
    assert {line.partition(":")[0] for line in failed} == {"song-1", "song-2", "song-3"}
    assert "song-1: The API does not know the id (HTTP 404)." in failed
    assert set(caught.value.song_ids) == {"song-1", "song-2", "song-3"}
    assert not isinstance(caught.value, AirflowFailException)
    assert entries(caught.value.manifest).keys() == set(SONGS) - set(caught.value.song_ids)
    assert stored(tmp_path).keys() == {
        Path(str(caught.value.manifest)).name,
        *(f"{song_id}.mp3" for song_id in SONGS if song_id not in caught.value.song_ids),
    }

    # One of the stored files is gone, one has another size.
    (tmp_path / "song-4.mp3").unlink()
    (tmp_path / "song-5.mp3").write_bytes(b"short")
    emulator.clear()
    result = run(tmp_path, manifest_name="songs.jsonl", if_exists="replace")
    assert {request.song_id for request in emulator.requests} == {f"song-{number}" for number in range(1, 6)}
    assert (result["downloaded"], result["skipped"]) == (5, 7)
    found = stored(tmp_path)
    assert {entry["lyrics"] for entry in entries(result["manifest"]).values()} == {f"words of {name}" for name in SONGS}
    assert found.keys() == {"songs.jsonl", *(f"{song_id}.mp3" for song_id in SONGS)}

    # A task that was finished and is cleared downloads anew.
    emulator.clear()
    assert run(tmp_path, SONGS[:2], manifest_name="songs.jsonl")["downloaded"] == 2
    assert emulator.count(DOWNLOAD) == 2


def test_a_retry_that_fails_forgets_nothing_of_the_earlier_try(emulator: Emulator, tmp_path: Path) -> None:
    emulator.fault("status", status=404, song_id="song-0")
    emulator.fault("status", status=404, song_id="song-1", times=1)
    for missing in (2, 1):
        with pytest.raises(errors.RiffusionBatchError, match=f"^{missing} of 12") as caught:
            run(tmp_path)
    assert entries(caught.value.manifest).keys() == set(SONGS) - {"song-0"}
    # The account breaks when the retry has fetched one song more, and has not come to most of those that are there.
    emulator.clear()
    emulator.fault("status", status=596, song_id="song-1")
    (tmp_path / "song-1.mp3").unlink()
    with pytest.raises(errors.RiffusionPendingError):
        run(tmp_path, max_workers=1)
    emulator.clear()
    assert run(tmp_path)["downloaded"] == 1
    assert {request.song_id for request in emulator.requests} == {"song-1"}


def test_what_no_retry_can_help_fails_the_task_at_once(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / "song-1.mp3").touch()
    with pytest.raises(errors.RiffusionBatchFailedError, match=r"^1 of 12 songs .*\nNo retry can help: ") as caught:
        run(tmp_path, if_exists="fail")
    assert caught.value.song_ids == ("song-1",)
    # The songs that the first try has stored are no reason to fail.
    (tmp_path / "song-1.mp3").unlink()
    assert run(tmp_path, if_exists="fail")["downloaded"] == 1


def test_max_bytes_is_of_each_song(emulator: Emulator, tmp_path: Path) -> None:
    largest = max(len(emulator.audio(song_id)) for song_id in SONGS[:3])
    assert run(tmp_path, SONGS[:3], max_bytes=largest)["downloaded"] == 3
    with pytest.raises(errors.RiffusionBatchFailedError, match=r"^3 of 3"):
        run(tmp_path, SONGS[:3], max_bytes=largest // 2, manifest_name="b.jsonl")


def test_stems_of_an_unknown_shape_are_kept_for_each_song(emulator: Emulator, tmp_path: Path) -> None:
    emulator.configure(stems_reply="unknown")
    with pytest.raises(errors.RiffusionBatchFailedError, match=r"^2 of 2 songs") as caught:
        run(tmp_path, SONGS[:2], download_format="stems")
    assert stored(tmp_path).keys() == {f"{song_id}.stems.unknown.json" for song_id in SONGS[:2]}
    assert caught.value.manifest is None


@pytest.mark.parametrize("what", ["596", "401", "596 of the facts"])
def test_what_no_song_would_escape_ends_the_batch_with_that_error(
    emulator: Emulator, connect: Callable[..., None], tmp_path: Path, what: str
) -> None:
    song_ids = [f"s{number}" for number in range(500)]
    if what == "401":
        connect(emulator.url, "wrong-token")
    elif what == "596":
        emulator.break_account("user-1")
    else:
        song_ids = SONGS
        emulator.fault("status", status=596, path=FACTS)
    with pytest.raises(errors.RiffusionUnauthorizedError if what == "401" else errors.RiffusionPendingError):
        run(tmp_path, song_ids, max_workers=2)
    # Each worker may have sent one by then.
    assert emulator.count(DOWNLOAD) <= 2 + ("facts" in what)
    assert threads_of_a_batch() == []
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    if "facts" in what:
        (name,) = tmp_path.glob("songs.*.unfinished.jsonl")
        assert entries(str(name))
    else:
        assert list(tmp_path.iterdir()) == []


def test_a_broken_account_breaks_off_the_downloads_that_run(
    emulator: Emulator, connect: Callable[..., None], tmp_path: Path
) -> None:
    connect(emulator.url, emulator.token, timeout=60, low_speed_time=60)
    emulator.fault("stall", song_id="song-0", after_bytes=2000)
    emulator.fault("status", status=596, song_id="song-1")
    with pytest.raises(errors.RiffusionPendingError):
        run(tmp_path, SONGS, max_workers=2)
    assert emulator.count(DOWNLOAD) == 2
    assert list(tmp_path.iterdir()) == []


def test_an_outage_does_not_cost_an_attempt_for_each_song(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_FAILURES_IN_A_ROW", 3)
    emulator.fault("status", status=400, path=DOWNLOAD)
    with pytest.raises(errors.RiffusionBatchError) as caught:
        run(tmp_path, max_workers=1)
    assert str(caught.value).startswith(
        "12 of 12 songs were not stored; it ended after 3 failures in a row.\nLet Airflow"
    )
    assert emulator.count(DOWNLOAD) == 3
    assert list(tmp_path.iterdir()) == []


def test_ids_that_nobody_knows_are_no_outage(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_FAILURES_IN_A_ROW", 3)
    gone = [f"gone-{number}" for number in range(12)]
    with pytest.raises(errors.RiffusionBatchError, match=r"^12 of 14 songs were not stored\.\n") as caught:
        run(tmp_path, [*gone, *SONGS[:2]])
    assert set(caught.value.song_ids) == set(gone)
    # The message names ten.
    assert len(str(caught.value).split("\n")) == 3 + 10


def test_a_success_between_failures_ends_their_row(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_FAILURES_IN_A_ROW", 2)
    for song_id in SONGS[::2]:
        emulator.fault("status", status=400, song_id=song_id, path=DOWNLOAD)
    with pytest.raises(errors.RiffusionBatchError, match=r"^6 of 12 songs were not stored\.\n"):
        run(tmp_path, max_workers=1)


def test_a_bug_of_ours_ends_the_batch_with_itself(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(RiffusionHook, "get_songs", fail)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, max_workers=1)
    assert emulator.count(DOWNLOAD) == 1


# --- kills


@pytest.mark.parametrize("download_format", ["mp3", "stems"])
@pytest.mark.parametrize("way", ["on_kill", "execution_timeout"])
def test_a_kill_leaves_no_request_no_spool_and_no_thread(
    emulator: Emulator, connect: Callable[..., None], tmp_path: Path, way: str, download_format: str
) -> None:
    connect(emulator.url, emulator.token, timeout=60, low_speed_time=60)
    emulator.configure(stems_reply="urls")
    # The first song passes, the others stall.
    for song_id in SONGS[1:]:
        emulator.fault("stall", song_id=song_id, path="files/" if download_format == "stems" else DOWNLOAD)
    task = operator(tmp_path, SONGS, download_format=download_format, max_workers=3)
    spools: list[Path] = []

    def strike(_: int, __: FrameType | None) -> None:
        spools.extend(tmp_path.glob(".songs.*.part/*/.song-*.part"))
        if way == "execution_timeout":
            raise AirflowTaskTimeout
        task.on_kill()

    def watch() -> None:
        # The first song may not have ended when its request is seen.
        while len({request.song_id for request in emulator.requests if request.status is None} - {SONGS[0]}) < 3:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, strike)
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(watch)
            with pytest.raises(errors.RiffusionBatchError if way == "on_kill" else AirflowTaskTimeout):
                task.execute(context())
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert len(spools) == 3
    sent = emulator.count()
    assert threads_of_a_batch() == []
    assert not list(tmp_path.rglob(".*"))
    # The next try knows what a try that was told to end has stored; after a kill there may be no time to say it.
    assert bool(list(tmp_path.glob("songs.*.unfinished.jsonl"))) is (way == "execution_timeout")
    assert emulator.count() == sent


def test_a_song_that_is_whole_when_the_kill_comes_is_not_published(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = operator(tmp_path)
    real = RiffusionHook.download

    def download(self: RiffusionHook, *args: Any, **kwargs: Any) -> Any:
        file = real(self, *args, **kwargs)
        task.on_kill()
        return file

    monkeypatch.setattr(RiffusionHook, "download", download)
    with pytest.raises(errors.RiffusionBatchError, match="a kill"):
        task.execute(context())
    assert list(tmp_path.iterdir()) == []


def test_a_task_that_was_killed_before_it_began_sends_nothing(emulator: Emulator, tmp_path: Path) -> None:
    task = operator(tmp_path)
    task.on_kill()
    with pytest.raises(errors.RiffusionBatchError, match=r"^12 of 12 .* a kill\.\n"):
        task.execute(context())
    assert emulator.requests == []
    assert list(tmp_path.iterdir()) == []


def test_the_next_try_removes_what_a_killed_one_left(emulator: Emulator, tmp_path: Path) -> None:
    storage = (
        RiffusionDownloadSongsOperator(task_id="t", song_ids=[], storage_path=str(tmp_path)).song_download().storage
    )
    left = [storage.spool(name, "d/t/r/-1") for name in ("songs", "songs.jsonl")]
    other = storage.spool("songs", "d/t/r/7")
    for spool in (*left, other):
        (spool.path / "half").write_bytes(b"half")
    run(tmp_path, SONGS[:1], manifest_name="songs.jsonl")
    assert stored(tmp_path).keys() == {"song-0.mp3", "songs.jsonl", str((other.path / "half").relative_to(tmp_path))}


# --- along the way


def test_the_unfinished_manifest_is_renewed_and_progress_is_told(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    # Each look at the clock is ten seconds later.
    monkeypatch.setattr(batches, "time", SimpleNamespace(monotonic=count(step=10).__next__))
    monkeypatch.setattr(song_manifest, "SAVE_SECONDS", 0.0)
    sizes: list[int] = []
    real = LocalFolder.publish

    def publish(self: LocalFolder, spooled: Path, *names: str) -> None:
        if names[-1].endswith(".unfinished.jsonl"):
            sizes.append(len(spooled.read_text().splitlines()))
        real(self, spooled, *names)

    monkeypatch.setattr(LocalFolder, "publish", publish)
    run(tmp_path, max_workers=1)
    assert sizes == list(range(1, 13))
    assert not list(tmp_path.glob("*.unfinished.jsonl"))
    lines = [message for message in caplog.messages if " of 12 songs done, " in message]
    # On a busy machine it looks more often than a song ends.
    assert {int(line.split()[0]) for line in lines} - {0} == set(range(1, 13))
    assert lines[-1].startswith("12 of 12 songs done, 0 of them skipped, 0 failed; 0.1 MB downloaded, ")
    assert lines[-1].endswith(" MB/s, 0 s left")


def test_a_manifest_that_cannot_be_saved_on_the_way_ends_nothing(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = LocalFolder.publish

    def publish(self: LocalFolder, spooled: Path, *names: str) -> None:
        if names[-1].endswith(".unfinished.jsonl"):
            raise errors.RiffusionStorageError("the disk is full")
        real(self, spooled, *names)

    monkeypatch.setattr(LocalFolder, "publish", publish)
    emulator.fault("status", status=404, song_id="song-1")
    with pytest.raises(errors.RiffusionBatchError, match="that are there: in no manifest") as caught:
        run(tmp_path)
    assert caught.value.manifest is None
    assert "a retry would fetch them again: the disk is full" in caplog.text


def test_log_lines_of_the_threads_are_in_the_context_of_the_task(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task: ContextVar[str] = ContextVar("task", default="")
    seen: list[str] = []
    real = RiffusionHook.download

    def download(self: RiffusionHook, *args: Any, **kwargs: Any) -> Any:
        seen.append(task.get())
        return real(self, *args, **kwargs)

    monkeypatch.setattr(RiffusionHook, "download", download)
    copy_context().run(lambda: (task.set("mine"), run(tmp_path, SONGS[:3])))
    assert seen == ["mine"] * 3


def test_the_client_that_all_threads_share_is_made_before_they_start(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers: list[threading.Thread] = []

    def make(settings: TransportSettings) -> UseapiClient:
        makers.append(threading.current_thread())
        return UseapiClient(settings)

    monkeypatch.setattr("airflow_provider_riffusion.hooks.riffusion.UseapiClient", make)
    run(tmp_path, SONGS[:4])
    assert makers == [threading.current_thread()]


def test_300_songs_that_are_there_are_looked_at_once_each(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    song_ids = [f"s{number}" for number in range(300)]
    for song_id in song_ids:
        (tmp_path / f"{song_id}.mp3").touch()
    looks: list[str] = []
    real = LocalFolder.size

    def look(self: LocalFolder, *names: str) -> int | None:
        looks.append(names[0])
        return real(self, *names)

    monkeypatch.setattr(LocalFolder, "size", look)
    assert run(tmp_path, song_ids, if_exists="skip")["skipped"] == 300
    assert len(looks) == 300
