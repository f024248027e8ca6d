"""What Airflow makes of what RiffusionRetryPolicy decides."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_riffusion.emulator import Emulator
from tests.support.airflow_version import needs_airflow
from tests.support.dag_runs import outcomes_of, run_dag

if TYPE_CHECKING:
    from airflow.models import TaskInstance

    from airflow_provider_riffusion.retry_policy import RiffusionRetryPolicy

DAGS = Path(__file__).parent / "dags" / "download.py"
needs_policies = needs_airflow("3.3", "has retry policies")


@pytest.fixture
def policy() -> RiffusionRetryPolicy:
    from airflow_provider_riffusion.retry_policy import RiffusionRetryPolicy

    return RiffusionRetryPolicy()


class PauseError(Exception):
    """The run would now sleep until the next try."""


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """End ``dag.test()`` where it would sleep until a task may be tried again."""
    sleep = time.sleep

    def stop(seconds: float) -> None:
        if sys._getframe(1).f_code.co_qualname == "DAG.test":
            raise PauseError
        sleep(seconds)

    monkeypatch.setattr("time.sleep", stop)


def waiting_task(conf: dict[str, Any], name: str, **overrides: Any) -> TaskInstance:
    """Run a DAG whose task fails, and return the task as the scheduler then sees it."""
    from airflow.models import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with pytest.raises(PauseError):
        run_dag(DAGS, conf, name=name, **overrides)
    with create_session() as session:
        query = select(TaskInstance).where(TaskInstance.dag_id == name, TaskInstance.state == "up_for_retry")
        (task,) = session.scalars(query)
        session.expunge_all()
        return task


@needs_policies
@pytest.mark.usefixtures("airflow_db", "connection", "no_pause")
@pytest.mark.parametrize("name", ["download", "batch"])
def test_airflow_plans_the_next_try_for_when_the_server_said(
    emulator: Emulator, tmp_path: Path, policy: RiffusionRetryPolicy, name: str
) -> None:
    emulator.fault("status", status=429, retry_after=3600)
    task = waiting_task({"storage_path": str(tmp_path)}, name, retry_policy=policy)
    assert emulator.count("music/download") == 1
    assert task.try_number == 1
    assert task.next_retry_datetime() - task.end_date == timedelta(hours=1)


@needs_policies
@pytest.mark.usefixtures("airflow_db", "connection")
def test_a_596_fails_at_once_under_the_policy(emulator: Emulator, tmp_path: Path, policy: RiffusionRetryPolicy) -> None:
    emulator.fault("status", status=596, retry_after=3600)
    run = run_dag(DAGS, {"storage_path": str(tmp_path)}, name="download", retry_policy=policy)
    assert outcomes_of(run) == {"download": ("failed", 1)}
    assert emulator.count() == 1
