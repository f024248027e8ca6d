"""Creating and waiting through Airflow's own task runner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.links.riffusion import RiffusionSongLink
from tests.support.creating import CREATE
from tests.support.dag_runs import ROOT, outcomes_of, results_of, run_dag
from tests.support.relay import relaying

pytestmark = pytest.mark.usefixtures("airflow_db", "connection", "no_backoff")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(generation_seconds=0.05) as running:
        yield running


DAGS = ROOT / "tests" / "airflow" / "dags" / "life_cycle.py"


@pytest.mark.usefixtures("airflow_db")
@pytest.mark.parametrize("deferrable", [False, True])
def test_create_and_download_in_a_dag(
    emulator: Emulator, connect: Callable[..., None], tmp_path: Path, deferrable: bool
) -> None:
    connect(emulator.url, emulator.token, storage_path=str(tmp_path))
    run = run_dag(DAGS, name="create_and_download", deferrable=deferrable)
    assert run.state == "success", outcomes_of(run)
    assert {path.name for path in tmp_path.iterdir()} == {f"{result['song_id']}.mp3" for result in results_of(run)}
    assert len(results_of(run)) == 2
    assert emulator.count(CREATE) == 1


@pytest.mark.usefixtures("airflow_db")
@pytest.mark.parametrize(
    ("name", "mode"),
    [("song", "poke"), ("song", "reschedule"), ("song", "deferred"), ("create", "poke"), ("create", "deferred")],
)
def test_a_596_at_the_third_poll_ends_the_task_without_a_retry(
    emulator: Emulator, connect: Callable[..., None], mode: str, name: str
) -> None:
    emulator.configure(generation_seconds=30)
    emulator.add_song(Song("s", status="queued"))
    polls = 0

    def count(request: str) -> None:
        nonlocal polls
        if request.startswith("GET"):
            polls += 1
            if polls == 3:
                emulator.break_account("user-1")

    overrides: dict[str, Any] = {"deferrable": mode == "deferred"}
    if name == "song":
        overrides |= {"mode": "reschedule" if mode == "reschedule" else "poke", "timeout": 60}
    with relaying(emulator, before=count) as front:
        connect(front.url, emulator.token)
        run = run_dag(DAGS, name=name, **overrides)
    ((state, tries),) = outcomes_of(run).values()
    assert (state, tries) == ("failed", 1)
    assert polls == 3


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_link_is_there_without_an_error_in_the_output(
    emulator: Emulator, deferrable: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    def links(run: Any) -> list[Any]:
        with create_session() as session:
            found = XComModel.get_many(run_id=run.run_id, key=RiffusionSongLink().xcom_key)
            return list(session.scalars(found.with_only_columns(XComModel.value)))

    run = run_dag(DAGS, name="create", deferrable=deferrable, poll_interval=0.05)
    assert run.state == "success"
    (link,) = links(run)
    assert link.startswith("https://")
    assert any(song.id in link for song in emulator.songs)
    emulator.break_account("user-1")
    run = run_dag(DAGS, name="create", deferrable=deferrable)
    assert run.state == "failed"
    assert links(run) == []
    assert "XCom not found" not in capfd.readouterr().out


@pytest.mark.usefixtures("airflow_db")
def test_the_account_gate_in_a_dag(emulator: Emulator) -> None:
    assert outcomes_of(run_dag(DAGS, name="account")) == {"wait": ("success", 1)}
    emulator.break_account("user-1")
    assert outcomes_of(run_dag(DAGS, name="account")) == {"wait": ("failed", 1)}
    assert emulator.count() == 2
