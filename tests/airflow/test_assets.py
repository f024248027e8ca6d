"""What a download tells Airflow beside its result: events of its outlets, which start other DAGs, and lineage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from airflow.models import DagModel
from airflow.models.asset import AssetEvent
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_provider_riffusion.emulator import Emulator
from tests.support.dag_runs import EXAMPLES, outcomes_of, run_dag, run_what_assets_have_started
from tests.support.openlineage import facet, listening, names

pytestmark = pytest.mark.usefixtures("airflow_db", "connection", "no_backoff")

DAGS = Path(__file__).parent / "dags" / "download.py"
ON_NEW_SONG = EXAMPLES / "riffusion_on_new_song.py"


def test_example_on_new_song_runs_after_a_download_and_not_after_a_skip(
    emulator: Emulator, connect: Callable[..., None], tmp_path: Path
) -> None:
    connect(emulator.url, emulator.token, storage_path=str(tmp_path))
    old, new = (song.id for song in emulator.songs[:2])
    (tmp_path / f"{old}.mp3").touch()
    # Airflow learns of the DAGs in the first run, and makes them paused.
    run_dag(ON_NEW_SONG, {"song_id": old})
    with create_session() as session:
        session.get_one(DagModel, "riffusion_on_new_song").is_paused = False
    assert outcomes_of(run_dag(ON_NEW_SONG, {"song_id": old})) == {"download": ("success", 1)}
    assert emulator.requests == []
    assert run_what_assets_have_started(ON_NEW_SONG, "on_new_song") == []

    assert outcomes_of(run_dag(ON_NEW_SONG, {"song_id": new})) == {"download": ("success", 1)}
    file, content = tmp_path / f"{new}.mp3", emulator.audio(new)
    (run,) = run_what_assets_have_started(ON_NEW_SONG, "on_new_song")
    assert file.read_bytes() == content
    (use,) = run.get_task_instances()
    assert use.xcom_pull(task_ids="use") == [f"Song {new} is at file://{file}."]
    with create_session() as session:
        (event,) = session.scalars(select(AssetEvent).where(AssetEvent.source_dag_id == "riffusion_new_song"))
    assert event.extra == {
        "uri": f"file://{file}",
        "song_id": new,
        "format": "mp3",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_openlineage_hears_of_a_download_a_skip_and_a_failure(emulator: Emulator, tmp_path: Path) -> None:
    song_id = emulator.songs[0].id
    conf = {"storage_path": str(tmp_path / "songs"), "song_id": song_id}
    song = {"namespace": emulator.url, "name": f"/v1/riffusion/music/{song_id}"}
    file = {"namespace": "file", "name": f"{tmp_path}/songs/{song_id}.mp3"}
    with listening(tmp_path) as events:
        assert outcomes_of(run_dag(DAGS, conf, name="download")) == {"download": ("success", 1)}
        (event,) = events()
        assert names(event["inputs"]) == [song]
        assert names(event["outputs"]) == [file]
        (output,) = event["outputs"]
        content = emulator.audio(song_id)
        assert facet(output["outputFacets"]["outputStatistics"]) == {"size": len(content), "fileCount": 1}
        version = output["facets"]["version"]["datasetVersion"]
        assert version == f"sha256:{hashlib.sha256(content).hexdigest()}"

        run_dag(DAGS, conf, name="download", if_exists="skip")
        (event,) = events()
        assert (names(event["inputs"]), names(event["outputs"])) == ([song], [file])
        assert not event["outputs"][0].get("outputFacets")
        assert not event["outputs"][0].get("facets")

        emulator.break_account("user-1")
        run_dag(DAGS, conf, name="download")
        (event,) = events("FAIL")
        assert (names(event["inputs"]), event["outputs"]) == ([song], [])
    assert emulator.token not in (tmp_path / "events").read_text()
