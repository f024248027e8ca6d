"""What downloads tell a task's outlets and OpenLineage's provider, for files that are really there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_riffusion import exceptions as errors
from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator, RiffusionDownloadSongsOperator

pytestmark = pytest.mark.usefixtures("connection", "no_backoff")

ALIAS, ASSET = AssetAlias("stored"), Asset("songs")
SONGS = ["song-1", "song-2", "song-3"]


@pytest.fixture(scope="module")
def server() -> Iterator[Emulator]:
    with Emulator(songs=[Song(song_id, duration_s=0.5) for song_id in SONGS]) as running:
        yield running


@pytest.fixture
def emulator(server: Emulator) -> Emulator:
    """One server for all tests here."""
    server.clear()
    return server


def context() -> Any:
    ti = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1)
    return {"ti": ti, "outlet_events": OutletEventAccessors()}


def told(of: Any) -> tuple[list[tuple[str, Any]], dict[str, Any]]:
    """Return the events of the alias, each as URI and extra, and the extra of the asset's event."""
    events = of["outlet_events"]
    found = [(event.dest_asset_key.uri, event.extra) for event in events[ALIAS].asset_alias_events]
    return found, events[ASSET].extra


def one(folder: Path, **parameters: Any) -> RiffusionDownloadOperator:
    # An outlet may be anything.
    outlets = [ALIAS, "no asset", ASSET]
    parameters = {"song_id": SONGS[0], "storage_path": str(folder), **parameters}
    return RiffusionDownloadOperator(task_id="t", outlets=outlets, **parameters)


def many(folder: Path, **parameters: Any) -> RiffusionDownloadSongsOperator:
    parameters = {"song_ids": SONGS, "storage_path": str(folder), **parameters}
    return RiffusionDownloadSongsOperator(task_id="t", outlets=[ALIAS, ASSET], **parameters)


def outputs_of(operator: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Return namespace, name and statistics of each output."""
    lineage = operator.get_openlineage_facets_on_complete(None)
    return [
        (output.namespace, output.name, {name: vars_of(facet) for name, facet in output.outputFacets.items()})
        for output in lineage.outputs
    ]


def vars_of(facet: Any) -> dict[str, Any]:
    return {name: getattr(facet, name) for name in ("rowCount", "size", "fileCount")}


def test_a_song_is_told_to_alias_and_asset(emulator: Emulator, tmp_path: Path) -> None:
    ran, operator = context(), one(tmp_path)
    result = operator.execute(ran)
    uri = f"file://{tmp_path}/song-1.mp3"
    content = emulator.audio(SONGS[0])
    digest = hashlib.sha256(content).hexdigest()
    extra = {"uri": uri, "song_id": "song-1", "format": "mp3", "size": len(content), "sha256": digest}
    assert told(ran) == ([(uri, extra)], extra)
    assert Path(result["path"]).read_bytes() == content
    (song,) = operator.get_openlineage_facets_on_complete(None).inputs
    assert (song.namespace, song.name) == (emulator.url, "/v1/riffusion/music/song-1")


def test_a_set_of_stems_is_one_asset_at_its_manifest(emulator: Emulator, tmp_path: Path) -> None:
    ran = context()
    operator = one(tmp_path, download_format="stems")
    operator.execute(ran)
    manifest = tmp_path / "song-1.stems" / "manifest.json"
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    stems = emulator.stems(SONGS[0])
    size = sum(map(len, stems.values()))
    ((uri, extra),), _ = told(ran)
    assert uri == f"file://{manifest}"
    assert extra == {"uri": uri, "song_id": "song-1", "format": "stems", "size": size, "sha256": digest}
    statistics = {"rowCount": None, "size": size, "fileCount": len(stems) + 1}
    assert outputs_of(operator) == [("file", str(manifest), {"outputStatistics": statistics})]


@pytest.mark.parametrize("download_format", ["mp3", "stems"])
def test_a_skip_tells_nothing(emulator: Emulator, tmp_path: Path, download_format: str) -> None:
    one(tmp_path, download_format=download_format).execute(context())
    ran = context()
    operator = one(tmp_path, download_format=download_format, if_exists="skip")
    assert operator.execute(ran)["skipped"]
    assert told(ran) == ([], {})
    ((_, _, facets),) = outputs_of(operator)
    assert facets == {}


def test_a_failure_tells_nothing_and_names_no_output(emulator: Emulator, tmp_path: Path) -> None:
    ran, operator = context(), one(tmp_path)
    emulator.fault("status", status=404)
    with pytest.raises(errors.RiffusionNotFoundError):
        operator.execute(ran)
    assert told(ran) == ([], {})
    assert outputs_of(operator) == []


@pytest.mark.parametrize("make", [one, many])
def test_a_task_without_outlets_or_outlet_events_is_none_the_worse(
    emulator: Emulator, tmp_path: Path, make: Any
) -> None:
    operator = make(tmp_path)
    assert operator.get_openlineage_facets_on_complete(None).inputs == []
    operator.execute({})
    assert len(list(tmp_path.glob("*.mp3"))) in (1, len(SONGS))
    operator.outlets = []
    ran = context()
    operator.execute(ran)
    assert told(ran) == ([], {})


def test_a_batch_is_one_event_and_three_datasets(emulator: Emulator, tmp_path: Path) -> None:
    ran, operator = context(), many(tmp_path)
    result = operator.execute(ran)
    size = sum(len(emulator.audio(song_id)) for song_id in SONGS)
    uri = f"file://{result['manifest']}"
    extra = {"uri": uri, "songs": 3, "downloaded": 3, "bytes": size}
    assert told(ran) == ([(uri, extra)], extra)
    (library,) = operator.get_openlineage_facets_on_complete(None).inputs
    assert (library.namespace, library.name) == (emulator.url, "/v1/riffusion/music")
    assert outputs_of(operator) == [
        ("file", str(tmp_path), {"outputStatistics": {"rowCount": None, "size": size, "fileCount": 3}}),
        ("file", result["manifest"], {"outputStatistics": {"rowCount": 3, "size": None, "fileCount": None}}),
    ]

    ran, operator = context(), many(tmp_path, if_exists="skip")
    assert operator.execute(ran)["downloaded"] == 0
    assert told(ran) == ([], {})
    assert outputs_of(operator)[0] == ("file", str(tmp_path), {})


def test_a_retry_of_a_batch_tells_of_what_an_earlier_try_has_downloaded(emulator: Emulator, tmp_path: Path) -> None:
    emulator.fault("status", status=404, song_id=SONGS[1], path="music/download", times=1)
    ran, operator = context(), many(tmp_path)
    with pytest.raises(errors.RiffusionBatchError):
        operator.execute(ran)
    assert told(ran) == ([], {})
    ((_, name, facets),) = outputs_of(operator)
    assert name == str(tmp_path)
    assert facets["outputStatistics"]["fileCount"] == 2
    # As if somebody had stored the missing song by hand.
    (tmp_path / f"{SONGS[1]}.mp3").write_bytes(b"")

    ran = context()
    result = many(tmp_path, if_exists="skip").execute(ran)
    assert (result["downloaded"], result["skipped"]) == (0, 3)
    ((uri, extra),), _ = told(ran)
    lines = [json.loads(line) for line in Path(uri.removeprefix("file://")).read_text().splitlines()]
    assert len(lines) == extra["songs"] == 3
    assert extra["downloaded"] == 2
