"""Airflow's commands, as an operator types them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from airflow.cli import cli_parser
from airflow.models import Connection
from airflow.utils.session import create_session
from packaging.version import Version

from airflow_provider_riffusion.emulator import Emulator
from tests.support.airflow_version import AIRFLOW, needs_airflow
from tests.support.commands import Ended, Run, runner

pytestmark = pytest.mark.usefixtures("airflow_db", "connection")

COOKIE = "sb-auth=canary-0123456789abcdef; session=canary-of-user-1"
IS_AIRFLOW_3_1 = Version("3.2") > AIRFLOW
#: How this Airflow takes our commands.
COMMAND = [sys.executable, "-m", *(["airflow_provider_riffusion"] if IS_AIRFLOW_3_1 else ["airflow", "riffusion"])]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a function that may end its process: ``run(function, *arguments)``."""
    monkeypatch.setenv("COLUMNS", "400")
    return runner(capsys, monkeypatch)


@pytest.fixture
def airflow(run: Run) -> Run:
    """Run a command of Airflow in this process, which has imported what takes Airflow seconds to import."""

    def run_airflow(*arguments: str) -> Ended:
        def command() -> None:
            parsed = cli_parser.get_parser().parse_args(arguments)
            parsed.func(parsed)

        return run(command)

    return run_airflow


def test_airflow_shows_the_provider(airflow: Run) -> None:
    shown = airflow("providers", "get", "airflow-provider-riffusion", "--full", "--output", "json").out
    for part in ("hooks.riffusion.RiffusionHook", "airflow_provider_riffusion.operators.riffusion", "connection-type"):
        assert part in shown, shown


def test_airflow_tests_the_connection(airflow: Run, emulator: Emulator, connect: Callable[..., None]) -> None:
    ended = airflow("connections", "test", "riffusion_default")
    assert ended.code == 0
    assert "Connection success!" in ended.out
    connect(emulator.url, "wrong")
    ended = airflow("connections", "test", "riffusion_default")
    assert "Check the API token" in ended.out
    # Airflow 3.1 exits with 0 however the test went.
    assert bool(ended.code) is not IS_AIRFLOW_3_1


@needs_airflow("3.2", "takes commands from providers")
def test_airflow_has_our_commands(airflow: Run) -> None:
    ended = airflow("riffusion", "accounts", "--output", "json")
    assert ended.code == 0
    assert json.loads(ended.out) == [{"user_id": "user-1", "max_jobs": "3", "broken": "False", "error": ""}]


def test_a_cookie_is_in_nothing_that_a_process_writes(emulator: Emulator, tmp_path: Path) -> None:
    """In a process of its own, with all log lines, and with a connection that is in Airflow's database alone."""
    emulator.break_account("user-1")
    connection = Connection("riffusion_of_the_database", "riffusion", host=emulator.url, password=emulator.token)
    with create_session() as session:
        session.add(connection)
    try:
        command = [*COMMAND, "account-cookie", "--conn-id", "riffusion_of_the_database", "--verbose"]
        environment = {**os.environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"}
        environment["AIRFLOW__LOGGING__BASE_LOG_FOLDER"] = str(tmp_path)
        done = subprocess.run(command, input=COOKIE, env=environment, capture_output=True, text=True, timeout=120)
    finally:
        with create_session() as session:
            session.delete(connection)
    assert done.returncode == 0, done.stderr
    assert "Account user-1 is repaired" in done.stdout
    assert emulator.accounts[0].error is None
    written = done.stdout + done.stderr + "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert re.search('"POST /v1/riffusion/accounts .*" 201', written), "the log is not that of all lines"
    assert "canary" not in written
