"""Tasks as a pipeline runs them: through Airflow's own task runner, with its retries."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import ParamValidationError

from airflow_provider_riffusion.emulator import Emulator, Song
from tests.support.dag_runs import EXAMPLES, outcomes_of, results_of, run_dag

pytestmark = pytest.mark.usefixtures("airflow_db", "connection", "no_backoff")

DAGS = Path(__file__).parent / "dags" / "download.py"


@pytest.mark.parametrize("body", ["json-no-code", "html", "empty"])
def test_a_broken_account_costs_one_request_and_one_try(
    emulator: Emulator, tmp_path: Path, body: str, capfd: pytest.CaptureFixture[str]
) -> None:
    emulator.fault("status", status=596, body=body)
    run = run_dag(DAGS, {"storage_path": str(tmp_path)}, name="download")
    assert outcomes_of(run) == {"download": ("failed", 1)}
    assert emulator.count() == 1
    assert list(tmp_path.iterdir()) == []
    log = capfd.readouterr().out
    assert "Post a fresh cookie" in log
    assert emulator.token not in log


def test_a_refused_token_costs_one_request_and_one_try(
    emulator: Emulator, connect: Callable[..., None], tmp_path: Path
) -> None:
    connect(emulator.url, "wrong-token")
    run = run_dag(DAGS, {"storage_path": str(tmp_path)}, name="download")
    assert outcomes_of(run) == {"download": ("failed", 1)}
    assert emulator.count() == 1


def test_a_server_that_is_back_soon_costs_no_try(emulator: Emulator, tmp_path: Path) -> None:
    emulator.fault("status", status=503, times=2)
    song_id = emulator.songs[0].id
    run = run_dag(DAGS, {"storage_path": str(tmp_path), "song_id": song_id}, name="download")
    assert outcomes_of(run) == {"download": ("success", 1)}
    assert emulator.count() == 3
    assert (tmp_path / f"{song_id}.mp3").read_bytes() == emulator.audio(song_id)


def test_a_server_that_stays_down_uses_all_tries(emulator: Emulator, tmp_path: Path) -> None:
    emulator.fault("status", status=503)
    run = run_dag(DAGS, {"storage_path": str(tmp_path)}, name="download")
    assert outcomes_of(run) == {"download": ("failed", 4)}
    assert emulator.count() == 4 * 5


def test_retry_after_is_waited_for(emulator: Emulator, tmp_path: Path) -> None:
    emulator.fault("status", status=429, retry_after="2", times=1)
    run = run_dag(DAGS, {"storage_path": str(tmp_path), "song_id": emulator.songs[0].id}, name="download")
    first, second = emulator.requests
    assert second.monotonic - first.monotonic >= 2
    assert outcomes_of(run) == {"download": ("success", 1)}


def test_a_wrong_format_from_a_template_or_expand_costs_one_try_and_no_request(
    emulator: Emulator, tmp_path: Path
) -> None:
    conf = {"storage_path": str(tmp_path), "download_format": "flac mp3", "song_id": emulator.songs[0].id}
    run = run_dag(DAGS, {**conf, "download_format": "flac"}, name="download")
    assert outcomes_of(run) == {"download": ("failed", 1)}
    assert emulator.count() == 0
    run = run_dag(DAGS, conf, name="expand")
    assert outcomes_of(run) == {"formats": ("success", 1), "download[0]": ("failed", 1), "download[1]": ("success", 1)}
    assert emulator.count() == 1


def test_a_batch_retries_only_what_is_missing_and_gives_up_at_a_broken_account(
    emulator: Emulator, tmp_path: Path
) -> None:
    song_ids = [song.id for song in emulator.songs]
    conf = {"storage_path": str(tmp_path), "song_id": " ".join(song_ids)}
    emulator.fault("status", status=404, song_id=song_ids[1], path="music/download", times=1)
    run = run_dag(DAGS, conf, name="batch")
    assert outcomes_of(run) == {"download": ("success", 2)}
    assert emulator.count("music/download") == len(song_ids) + 1
    (result,) = results_of(run)
    assert (result["songs"], result["downloaded"], result["skipped"]) == (5, 1, 4)
    assert {path.name for path in tmp_path.iterdir()} == {
        Path(result["manifest"]).name,
        *(f"{song_id}.mp3" for song_id in song_ids),
    }
    emulator.clear()
    emulator.break_account("user-1")
    assert outcomes_of(run_dag(DAGS, conf, name="batch")) == {"download": ("failed", 1)}
    assert emulator.count() <= 2


@pytest.mark.parametrize("name", ["sensor_poke", "sensor_reschedule", "sensor_poke_silent", "sensor_reschedule_silent"])
def test_a_users_sensor_fails_at_its_first_596(emulator: Emulator, name: str) -> None:
    emulator.break_account("user-1")
    run = run_dag(DAGS, name=name)
    assert outcomes_of(run) == {"song_is_there": ("failed", 1)}
    assert emulator.count() == 1


@pytest.mark.parametrize("name", ["sensor_poke", "sensor_reschedule"])
def test_a_users_sensor_succeeds(emulator: Emulator, name: str) -> None:
    assert outcomes_of(run_dag(DAGS, name=name)) == {"song_is_there": ("success", 1)}


@pytest.mark.parametrize("native", [False, True], ids=["text", "native"])
def test_the_songs_since_the_last_successful_run(emulator: Emulator, native: bool) -> None:
    everything = [song.id for song in emulator.songs]
    assert listed_by(run_dag(DAGS, name="new_songs", kind="by hand", native=native)) == everything
    run_dag(DAGS, name="new_songs", native=native)
    emulator.add_song(Song("new", created_at=datetime.now(UTC)))
    assert listed_by(run_dag(DAGS, name="new_songs", native=native)) == ["new"]


def listed_by(run: Any) -> Any:
    (task,) = run.get_task_instances()
    assert task.state == "success"
    return task.xcom_pull(task_ids="list")


# --- the examples


@pytest.mark.parametrize("download_format", ["mp3", "wav", "stems"])
def test_example_one_song(
    emulator: Emulator, connect: Callable[..., None], tmp_path: Path, download_format: str
) -> None:
    connect(emulator.url, emulator.token, storage_path=str(tmp_path))
    song_id = emulator.songs[0].id
    run = run_dag(EXAMPLES / "riffusion_download_song.py", {"song_id": song_id, "download_format": download_format})
    assert outcomes_of(run) == {"download": ("success", 1), "use": ("success", 1)}
    (result,) = results_of(run)
    assert Path(result["path"]).exists()
    assert emulator.count("music/download") == 1
    assert used_by(run) == f"The song is at {result['path']}."


def used_by(run: Any) -> Any:
    (task,) = (task for task in run.get_task_instances() if task.task_id == "use")
    return task.xcom_pull(task_ids="use")


def test_example_one_song_needs_its_id(emulator: Emulator) -> None:
    with pytest.raises(ParamValidationError, match="song_id"):
        run_dag(EXAMPLES / "riffusion_download_song.py")
    assert emulator.requests == []


EXAMPLE_CONFS: dict[str, dict[str, Any]] = {
    "archive": {},
    "compose": {},
    "download_library": {},
    "download_many": {},
    "download_song": {"song_id": "20250401"},
    "generate_and_download": {"prompt": "20250401"},
    "on_new_song": {"song_id": "20250401"},
}


@pytest.fixture
def many(emulator: Emulator, connect: Callable[..., None], tmp_path: Path) -> Path:
    connect(emulator.url, emulator.token, storage_path=str(tmp_path))
    return EXAMPLES / "riffusion_download_many.py"


def test_example_many_songs(emulator: Emulator, many: Path, tmp_path: Path) -> None:
    newest = [song.id for song in emulator.songs[:3]]
    run = run_dag(many)
    assert [result["song_id"] for result in results_of(run)] == newest
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        f"{song_id}.mp3": emulator.audio(song_id) for song_id in newest
    }
    emulator.clear()
    assert all(result["skipped"] for result in results_of(run_dag(many)))
    assert emulator.count("music/download") == 0


def test_example_many_songs_of_a_broken_account_cost_one_request(emulator: Emulator, many: Path) -> None:
    emulator.break_account("user-1")
    run = run_dag(many, {"song_ids": [f"song-{number}" for number in range(400)]})
    assert emulator.count() == 1
    assert outcomes_of(run) == {
        "check_account": ("failed", 1),
        "choose_songs": ("upstream_failed", 0),
        "download": ("upstream_failed", 0),
    }


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(("name", "formats"), [("generate_and_download", ["mp3", "wav"]), ("compose", ["mp3"])])
def test_examples_that_make_songs(
    emulator: Emulator, connect: Callable[..., None], tmp_path: Path, name: str, formats: list[str], deferrable: bool
) -> None:
    connect(emulator.url, emulator.token, storage_path=str(tmp_path))
    emulator.configure(generation_seconds=0.2)
    before = {song.id for song in emulator.songs}
    run = run_dag(EXAMPLES / f"riffusion_{name}.py", deferrable=deferrable, poll_interval=0.2)
    made = {song.id for song in emulator.songs} - before
    assert len(made) == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        f"{song_id}.{kind}": emulator.audio(song_id, kind) for song_id in made for kind in formats
    }
    assert run.state == "success"
    assert emulator.count("music/create-") == 1


def test_example_archive(emulator: Emulator, connect: Callable[..., None], tmp_path: Path) -> None:
    connect(emulator.url, emulator.token, storage_path=str(tmp_path))
    archive = EXAMPLES / "riffusion_archive.py"
    assert run_dag(archive).state == "success"
    assert {path.stem for path in tmp_path.iterdir()} == {song.id for song in emulator.songs}
    emulator.clear()
    assert run_dag(archive).state == "success"
    assert emulator.count("music/download") == 0
    emulator.clear()
    emulator.break_account("user-1")
    assert run_dag(archive).state == "failed"
    assert emulator.count() == 1


def test_example_archive_takes_a_library_of_4000_songs_in_runs_that_airflow_can_map(
    connect: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    library = [Song(f"song-{number:04}", created_at=start + timedelta(hours=number)) for number in range(4000)]
    with Emulator(songs=library) as emulator:
        connect(emulator.url, emulator.token, storage_path=str(tmp_path))
        dag = runpy.run_path(str(EXAMPLES / "riffusion_archive.py"))["dag"]
        song_ids = dag.get_task("songs").execute({})
        assert len(song_ids) == 4000
        choose_missing = dag.get_task("choose_missing").python_callable
        for run in range(4):
            chosen = choose_missing(song_ids)
            assert chosen == [f"song-{run * 1000 + number:04}" for number in range(1000)]
            for song_id in chosen[: 1000 if run < 3 else 997]:
                (tmp_path / f"{song_id}.mp3").touch()
        last = run_dag(EXAMPLES / "riffusion_archive.py")
        assert [result["song_id"] for result in results_of(last)] == ["song-3997", "song-3998", "song-3999"]
        assert choose_missing(song_ids) == []


def test_dag_files_are_parsed_without_a_request_or_a_connection(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_RIFFUSION_DEFAULT")
    for path in EXAMPLES.glob("*.py"):
        assert runpy.run_path(str(path))["dag"].tasks
    assert emulator.requests == []
