"""Run a DAG file through Airflow's task runner."""

from __future__ import annotations

import runpy
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.models import DagRun

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "example_dags"


def run_dag(
    dag_file: Path,
    conf: dict[str, Any] | None = None,
    *,
    name: str = "dag",
    kind: str = "by time",
    native: bool = False,
    **overrides: Any,
) -> DagRun:
    """
    Run a DAG with ``dag.test()``; its state tells how it went.

    :param dag_file: the file, which must lie in a DAG folder of Airflow
    :param conf: the run's conf, which becomes its params
    :param name: the DAG's variable in the file
    :param kind: ``by time``, as a schedule or a backfill starts it, or ``by hand``, as an asset event does, too
    :param native: let Jinja make Python's values of templates
    :param overrides: attributes to give to all tasks, but to mapped ones only those that the file sets; by default
        retries are not waited for
    """
    dag = runpy.run_path(str(dag_file))[name]
    dag.render_template_as_native_obj = native
    for task in dag.tasks:
        attributes = {"retry_delay": timedelta(0), **overrides}
        for attribute, value in attributes.items():
            if task.is_mapped and (attribute == "retry_delay" or attribute in task.partial_kwargs):
                task.partial_kwargs[attribute] = value
            elif not task.is_mapped:
                setattr(task, attribute, value)
    with own_signals():
        run: DagRun = dag.test(run_conf=conf, **({"logical_date": None} if kind == "by hand" else {}))
    return run


@contextmanager
def own_signals() -> Iterator[None]:
    """Put the handler of SIGTERM back: Airflow's would tell the next test's operators that they run as a task."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def results_of(run: DagRun, task_id: str = "download") -> list[dict[str, Any]]:
    """Return the results of a task and of all its mapped instances, and how many seconds each took."""
    return [
        {**task.xcom_pull(task_ids=task.task_id, map_indexes=task.map_index), "seconds": task.duration or 0.0}
        for task in sorted(run.get_task_instances(), key=lambda task: task.map_index)
        if task.task_id == task_id and task.state == "success"
    ]


def outcomes_of(run: DagRun) -> dict[str, tuple[str, int]]:
    """Return the state and the number of tries of each task."""
    return {
        f"{task.task_id}[{task.map_index}]" if task.map_index >= 0 else str(task.task_id): (
            str(task.state),
            int(task.try_number),
        )
        for task in run.get_task_instances()
    }


def run_what_assets_have_started(dag_file: Path, name: str) -> list[DagRun]:
    """
    Let Airflow's scheduler look once for DAGs that assets start, and run the tasks of one of them.

    :param dag_file: the file; a run of another of its DAGs has told Airflow of all
    :param name: the DAG's variable in the file
    :return: its runs that have started now
    """
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models import DagRun
    from airflow.sdk.definitions.dag import _run_task
    from airflow.utils.session import create_session
    from airflow.utils.sqlalchemy import prohibit_commit
    from sqlalchemy import select

    dag = runpy.run_path(str(dag_file))[name]
    scheduler = SchedulerJobRunner(job=Job())
    with create_session() as session:
        with prohibit_commit(session) as guard:
            scheduler._create_dagruns_for_dags(guard, session)
        runs = session.scalars(select(DagRun).where(DagRun.dag_id == dag.dag_id, DagRun.state == "queued")).all()
        for run in runs:
            run.dag, run.state = scheduler._get_current_dag(dag_id=dag.dag_id, session=session), "running"
            session.commit()
            while run.state == "running":
                session.expire_all()
                for task in run.update_state(session=session)[0]:
                    task.state, task.try_number = "scheduled", task.try_number + 1
                    session.commit()
                    with own_signals():
                        _run_task(ti=task, task=dag.task_dict[task.task_id])
        return list(runs)
