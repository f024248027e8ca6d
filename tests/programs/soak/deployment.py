"""A whole Airflow of its own: database, API server, DAG processor, scheduler with LocalExecutor, and triggerer."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.fernet import Fernet

from tests.support.dag_runs import ROOT

DAGS = Path(__file__).parent / "dags"
#: Tasks at the same time: most of them wait for a server, each takes up to 200 MB.
PARALLELISM = 20

_START_SECONDS = 180
_STOP_SECONDS = 20


class BrokenRunError(Exception):
    """The run cannot go on, and the message says why."""


class Deployment:
    """
    A running Airflow, as a context manager; whatever it started has ended when the block is left.

    :param home: an empty folder
    :param environment: variables for all of its processes, such as connections
    """

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.home = home
        self.logs = home / "logs"
        self.database = home / "airflow.db"
        self.fernet_key = Fernet.generate_key().decode()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._port = _free_port()
        self._login: str | None = None
        self._environment = {**self._own_environment(), **environment}

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True)
        try:
            self._migrate()
            # Without the servers for logs, which listen on all addresses of the machine.
            self._start("api-server", "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1")
            self._start("dag-processor")
            self._start("scheduler", "--skip-serve-logs")
            self._start("triggerer", "--skip-serve-logs")
            self.wait_until(self._is_ready, _START_SECONDS, "Airflow to start and to read its DAGs")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- runs

    def trigger(self, dag_id: str, run_id: str) -> None:
        """Start a run of a DAG."""
        self.call("POST", f"dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "logical_date": None})

    def wait_for_run(self, dag_id: str, seconds: float) -> str:
        """Wait until the only run of a DAG has ended, and return its state."""

        def is_over() -> bool:
            return self.run_state(dag_id) in ("success", "failed")

        self.wait_until(is_over, seconds, f"the run of {dag_id} to end")
        return self.run_state(dag_id)

    def run_state(self, dag_id: str) -> str:
        """Return the state of the only run of a DAG."""
        return str(self.query("select state from dag_run where dag_id = ?", dag_id)[0][0])

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Read from the metadata database."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(sql, values).fetchall()

    def snapshot(self, copy: Path) -> None:
        """Copy the metadata database as it stands at one moment."""
        with closing(sqlite3.connect(self.database, timeout=30)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)

    def output(self, name: str) -> str:
        """Return what one of the processes has printed."""
        return (self.logs / f"{name}.out").read_text(errors="replace")

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call the public REST API."""
        if self._login is None:
            # Airflow 3.1 wants a token even where everybody is an admin.
            self._login = self._send("GET", "auth/token", None, {})["access_token"]
        return self._send(method, f"api/v2/{path}", body, {"Authorization": f"Bearer {self._login}"})

    def _send(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            raise BrokenRunError(f"{method} {path}: HTTP {error.code}, {error.read()[:300]!r}") from None

    def wait_until(self, is_so: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for something as long as all processes live."""
        deadline = time.monotonic() + seconds
        while not is_so():
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise BrokenRunError(f"airflow {name} has ended with {process.returncode}; see {self.logs}")
            if time.monotonic() > deadline:
                raise BrokenRunError(f"{seconds:.0f} s were not enough for {what}")
            time.sleep(0.5)

    # --- processes

    def stop(self) -> None:
        """End all processes, the groups of those that were started and whatever these have started."""
        started = [process.pid for process in self.processes.values()]
        alive = [*started, *(pid for parent in started for pid in descendants(parent))]
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while any(map(_is_alive, alive)) and time.monotonic() < deadline:
            for process in self.processes.values():
                process.poll()
            time.sleep(0.1)
        for pid in filter(_is_alive, alive):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes.values():
            process.wait()
        self.processes.clear()

    def _start(self, name: str, *arguments: str) -> None:
        with (self.logs / f"{name}.out").open("wb") as output:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", name, *arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _migrate(self) -> None:
        with (self.logs / "db-migrate.out").open("wb") as output:
            done = subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if done.returncode:
            raise BrokenRunError(f"airflow db migrate failed; see {self.logs}/db-migrate.out")

    def _is_ready(self) -> bool:
        try:
            health = self.call("GET", "monitor/health")
            known = {dag["dag_id"] for dag in self.call("GET", "dags")["dags"]}
            errors = self.call("GET", "importErrors")["import_errors"]
        except (OSError, BrokenRunError):
            return False
        if errors:
            raise BrokenRunError(f"a DAG file is broken: {errors[0]['stack_trace']}")
        are_healthy = all(health[name]["status"] == "healthy" for name in ("scheduler", "triggerer", "dag_processor"))
        return are_healthy and known == {path.stem for path in DAGS.glob("*.py")}

    def _own_environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        url = f"http://127.0.0.1:{self._port}"
        return {
            **inherited,
            # This checkout, whatever else is installed.
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "NO_PROXY": "127.0.0.1,localhost",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__FERNET_KEY": self.fernet_key,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": str(PARALLELISM),
            "AIRFLOW__CORE__PARALLELISM": str(PARALLELISM),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
            "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.logs),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        }


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):
            for child in map(int, (thread / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def _is_alive(pid: int) -> bool:
    with suppress(OSError):
        # Behind the name, which may hold spaces and brackets.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
