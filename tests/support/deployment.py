"""A whole Airflow of its own: an API server and whatever else a program wants, on the database that it names."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.fernet import Fernet

from tests.support.dag_runs import ROOT
from tests.support.processes import end, free_port

#: The variable that tells each process of a deployment its name.
NAME_VARIABLE = "DEPLOYMENT_PROCESS"

#: Airflow's largest page.
_PAGE_SIZE = 100
_START_SECONDS = 180
_STOP_SECONDS = 20


class BrokenRunError(Exception):
    """The run cannot go on, and the message says why."""


class Deployment:
    """
    A running Airflow, as a context manager; whatever it started has ended when the block is left.

    :param home: an empty folder
    :param dags: the folder of the DAG files, each named after its DAG
    :param components: the processes beside the API server by their names, each as words of Airflow's command line
    :param environment: variables for all of its processes: the database, the executor, connections
    """

    def __init__(
        self, home: Path, dags: Path, components: Mapping[str, Sequence[str]], environment: Mapping[str, str]
    ) -> None:
        self.home = home
        self.logs = home / "logs"
        self.fernet_key = Fernet.generate_key().decode()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._dags = dags
        self._components = components
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._login: str | None = None
        self._environment = {**self._own_environment(), **environment}

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True)
        try:
            self._migrate()
            address = ("--host", "127.0.0.1", "--port", str(self._port))
            self.start("api-server", ("api-server", *address, "--workers", "1"))
            for name, command in self._components.items():
                self.start(name, command)
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
        return str(self.call("GET", f"dags/{dag_id}/dagRuns")["dag_runs"][0]["state"])

    def task_instances(self, dag_id: str, query: str = "") -> Iterator[dict[str, Any]]:
        """
        Yield the task instances of all runs of a DAG.

        :param dag_id: the DAG
        :param query: filters of the REST API, such as ``state=running``
        """
        for offset in itertools.count(step=_PAGE_SIZE):
            path = f"dags/{dag_id}/dagRuns/~/taskInstances?order_by=id&limit={_PAGE_SIZE}&offset={offset}&{query}"
            page = self.call("GET", path)["task_instances"]
            yield from page
            if len(page) < _PAGE_SIZE:
                return

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
            f"{self.url}/{path}",
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
        end(self.processes.values(), _STOP_SECONDS)
        self.processes.clear()

    def start(self, name: str, command: Sequence[str]) -> None:
        """
        Start a process.

        :param name: of the process, and of the file that takes its output
        :param command: the words of Airflow's command line
        """
        with (self.logs / f"{name}.out").open("wb") as output:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", *command],
                env={**self._environment, NAME_VARIABLE: name},
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
        return are_healthy and known == {path.stem for path in self._dags.glob("*.py")}

    def _own_environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        return {
            **inherited,
            # This checkout, whatever else is installed.
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "NO_PROXY": "127.0.0.1,localhost",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._dags),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__FERNET_KEY": self.fernet_key,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
            "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.logs),
        }
