"""The soak's Airflow: scheduler with LocalExecutor, triggerer and DAG processor, on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.deployment import Deployment

_DAGS = Path(__file__).parent / "dags"
#: Tasks at the same time: most of them wait for a server, each takes up to 200 MB.
_PARALLELISM = "20"
#: Without the servers for logs, which listen on all addresses of the machine.
_COMPONENTS = {
    "dag-processor": ("dag-processor",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}


class SoakDeployment(Deployment):
    """
    A running Airflow whose metadata database can be read and copied.

    :param home: an empty folder
    :param environment: variables for all of its processes, such as connections
    """

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.database = home / "airflow.db"
        own = {
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": _PARALLELISM,
            "AIRFLOW__CORE__PARALLELISM": _PARALLELISM,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        }
        super().__init__(home, _DAGS, _COMPONENTS, {**own, **environment})

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Read from the metadata database."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(sql, values).fetchall()

    def snapshot(self, copy: Path) -> None:
        """Copy the metadata database as it stands at one moment."""
        with closing(sqlite3.connect(self.database, timeout=30)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
