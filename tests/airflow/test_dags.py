"""Tasks as a pipeline runs them: through Airflow's own task runner, with its retries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_riffusion.emulator import Emulator
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


@pytest.mark.parametrize("name", ["sensor_poke", "sensor_reschedule", "sensor_poke_silent", "sensor_reschedule_silent"])
def test_a_users_sensor_fails_at_its_first_596(emulator: Emulator, name: str) -> None:
    emulator.break_account("user-1")
    run = run_dag(DAGS, name=name)
    assert outcomes_of(run) == {"song_is_there": ("failed", 1)}
    assert emulator.count() == 1


@pytest.mark.parametrize("name", ["sensor_poke", "sensor_reschedule"])
def test_a_users_sensor_succeeds(emulator: Emulator, name: str) -> None:
    assert outcomes_of(run_dag(DAGS, name=name)) == {"song_is_there": ("success", 1)}


# --- the examples


@pytest.mark.parametrize("download_format", ["mp3", "wav", "stems"])
def test_example_one_song(
    emulator: Emulator, connect: Callable[..., None], tmp_path: Path, download_format: str
) -> None:
    connect(emulator.url, emulator.token, storage_path=str(tmp_path))
    song_id = emulator.songs[0].id
    run = run_dag(EXAMPLES / "riffusion_download_song.py", {"song_id": song_id, "download_format": download_format})
    assert outcomes_of(run) == {"download": ("success", 1)}
    (result,) = results_of(run)
    assert Path(result["path"]).exists()
    assert emulator.count("music/download") == 1


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


def test_dag_files_are_parsed_without_a_request_or_a_connection(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    import runpy

    monkeypatch.delenv("AIRFLOW_CONN_RIFFUSION_DEFAULT")
    for path in EXAMPLES.glob("*.py"):
        assert runpy.run_path(str(path))["dag"].tasks
    assert emulator.requests == []
