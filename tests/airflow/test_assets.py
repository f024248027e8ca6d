"""What a download tells Airflow beside its result: events of its outlets, which start other DAGs, and lineage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_riffusion.emulator import Emulator
from tests.support.dag_runs import EXAMPLES, outcomes_of, run_dag, run_what_assets_have_started

pytestmark = pytest.mark.usefixtures("airflow_db", "connection", "no_backoff")

ON_NEW_SONG = EXAMPLES / "riffusion_on_new_song.py"


def test_example_on_new_song_runs_after_a_download_and_not_after_a_skip(
    emulator: Emulator, connect: Callable[..., None], tmp_path: Path
) -> None:
    connect(emulator.url, emulator.token, storage_path=str(tmp_path))
    song_id = emulator.songs[0].id
    file = tmp_path / f"{song_id}.mp3"
    assert outcomes_of(run_dag(ON_NEW_SONG, {"song_id": song_id})) == {"download": ("success", 1)}
    (run,) = run_what_assets_have_started(ON_NEW_SONG, "on_new_song")
    (use,) = run.get_task_instances()
    assert use.state == "success"
    assert use.xcom_pull(task_ids="use") == [f"Song {song_id} is at file://{file}."]
    (event,) = run.consumed_asset_events
    content = emulator.audio(song_id)
    assert file.read_bytes() == content
    assert event.extra == {
        "uri": f"file://{file}",
        "song_id": song_id,
        "format": "mp3",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }

    emulator.clear()
    assert outcomes_of(run_dag(ON_NEW_SONG, {"song_id": song_id})) == {"download": ("success", 1)}
    assert emulator.requests == []
    assert run_what_assets_have_started(ON_NEW_SONG, "on_new_song") == []
