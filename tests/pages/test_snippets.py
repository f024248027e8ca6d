"""The DAGs of the documents run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_provider_riffusion.emulator import Emulator, Song, example_songs
from tests.support.dag_runs import ROOT, outcomes_of, results_of, run_dag
from tests.support.documents import SNIPPETS_FOLDER, snippets

pytestmark = pytest.mark.usefixtures("airflow_db", "no_backoff")

DAGS = ROOT / "tests/airflow/dags/snippets.py"
DAG = re.compile(r'^with DAG\("(\w+)"', re.MULTILINE)
#: The first DAG of each; tests/airflow/test_assets.py has those that others start.
IDS = [dag[1] for snippet in snippets("python") if (dag := DAG.search(snippet.code))]
FIRST = "song_of_the_day"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A fast emulator with the songs that the documents name."""
    songs = [Song(song_id) for song_id in ("the-song-id", "first-id", "second-id")]
    with Emulator(songs=[*example_songs(), *songs], generation_seconds=0.05) as running:
        yield running


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emulator: Emulator, connect: Callable[..., None]) -> Path:
    """The folder that the songs go to."""
    connect(emulator.url, emulator.token, storage_path=str(tmp_path))
    monkeypatch.setenv(SNIPPETS_FOLDER, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("dag_id", [dag_id for dag_id in IDS if dag_id != FIRST])
def test_the_dag_of_a_snippet_succeeds(dag_id: str) -> None:
    run = run_dag(DAGS, name=dag_id, poll_interval=0.05, poke_interval=0.05)
    assert run.state == "success", outcomes_of(run)


@pytest.mark.parametrize(("kind", "native"), [("by time", True), ("by hand", False)], ids=["native", "by hand"])
def test_the_readmes_dag_runs_however_it_was_started(
    emulator: Emulator, folder: Path, kind: str, native: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    run = run_dag(DAGS, name=FIRST, kind=kind, native=native, poll_interval=0.05)
    assert run.state == "success", outcomes_of(run)
    (prompt,) = (request.body["prompt"] for request in emulator.requests if request.method == "POST")
    assert prompt == f"a calm piano piece for {run.run_after:%Y-%m-%d}"
    files = {Path(result["path"]) for result in results_of(run)}
    assert {path.read_bytes() for path in files} == {emulator.audio(path.stem) for path in files}
    assert set(folder.iterdir()) == files
    output = capfd.readouterr().out
    assert all(f"is at {path}" in output for path in files)


def test_there_are_dags() -> None:
    assert IDS[0] == FIRST
    assert len(IDS) == len(set(IDS)) >= 8
