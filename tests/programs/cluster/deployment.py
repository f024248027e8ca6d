"""The cluster's Airflow: CeleryExecutor with two workers, two triggerers, a scheduler and a DAG processor."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.deployment import Deployment
from tests.support.processes import freeze, kill, send_signal

DAG_ID = "cluster"
#: Limits how many songs are made at the same time; deferred tasks count.
POOL = "riffusion"

_DAGS = Path(__file__).parent / "dags"
#: Tasks that a worker runs at the same time.
_CONCURRENCY = 6
_FREEZE_SECONDS = 0.5
#: Airflow's own timings notice a dead worker after minutes, and its messages after a day; docs/scale.md explains these.
_TIMINGS = {
    "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
    # An API server that shares two cores with everything else can be slow to answer, above all at its start.
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
}


class ClusterDeployment(Deployment):
    """
    A running cluster.

    :param home: an empty folder
    :param database: URL of the metadata database, for SQLAlchemy
    :param broker: URL of Redis
    :param environment: further variables for all of its processes, such as connections
    """

    def __init__(self, home: Path, database: str, broker: str, environment: Mapping[str, str]) -> None:
        self._home = home
        nodes = ("worker-1", "worker-2", "triggerer-1", "triggerer-2")
        components: dict[str, tuple[str, ...]] = {
            "dag-processor": ("dag-processor",),
            "scheduler": ("scheduler", "--skip-serve-logs"),
            **{node: self._command(node) for node in nodes},
        }
        own = {
            "AIRFLOW__CELERY__BROKER_URL": broker,
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "tests.programs.cluster.node.name",
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "32",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        }
        super().__init__(home, _DAGS, components, {**own, **_TIMINGS, **environment})

    def running_on(self, node: str) -> list[dict[str, Any]]:
        """Return the task instances that run on a worker, or wait in a triggerer."""
        if node.startswith("worker"):
            return [task for task in self.task_instances(DAG_ID, "state=running") if task["hostname"] == node]
        jobs = [job["id"] for job in self.call("GET", f"jobs?job_type=TriggererJob&hostname={node}")["jobs"]]
        waiting = self.task_instances(DAG_ID, "state=deferred")
        return [task for task in waiting if (task["trigger"] or {}).get("triggerer_id") in jobs]

    def has_caught(self, node: str) -> bool:
        """Freeze a node, and return whether it has tasks now; one that has none goes on."""
        frozen = freeze(self.processes[node])
        # What a task has sent before arrives meanwhile, such as that it has ended.
        time.sleep(_FREEZE_SECONDS)
        has_tasks = bool(self.running_on(node))
        if not has_tasks:
            send_signal(frozen, signal.SIGCONT)
        return has_tasks

    def kill(self, node: str) -> list[dict[str, Any]]:
        """Kill a node with all its processes, and return the task instances that died with it or lost their trigger."""
        kill(self.processes.pop(node))
        return self.running_on(node)

    def clear(self, map_indexes: Sequence[int]) -> None:
        """Clear the tasks of some songs that have failed, as a human does, so that they run anew."""
        tasks = [[task_id, index] for task_id in ("song.create", "song.download") for index in map_indexes]
        body = {"dag_run_id": DAG_ID, "task_ids": tasks, "only_failed": True, "dry_run": False}
        self.call("POST", f"dags/{DAG_ID}/clearTaskInstances", body)

    def start_another(self, node: str, seconds: float) -> None:
        """
        Start a node in place of one that was killed.

        :param node: the name of the new one
        :param seconds: how long it takes to bring one
        """
        time.sleep(seconds)
        self.start(node, self._command(node))

    def _command(self, node: str) -> tuple[str, ...]:
        # Without the servers for logs, which listen on all addresses of the machine.
        if node.startswith("triggerer"):
            return ("triggerer", "--skip-serve-logs")
        pid_file = str(self._home / f"{node}.pid")
        options = ("--concurrency", str(_CONCURRENCY), "--celery-hostname", f"celery@{node}", "--pid", pid_file)
        return ("celery", "worker", *options, "--skip-serve-logs")
