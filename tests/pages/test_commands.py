"""The commands of the documents run, in a shell of their own; only pip and make do nothing here."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from airflow_provider_riffusion.emulator import Emulator
from tests.conftest import CONNECTION
from tests.support.documents import TESTS_PAGE, Snippet, snippets
from tests.support.environment import AIRFLOW_HOME

#: The pages with commands for a shell; make's targets have a test in tests/docs.
PAGES = ("connection.md", "install.md", "operate.md", "runbook-596.md")
SNIPPETS = [snippet for snippet in snippets("bash") if snippet.document.name in PAGES]
#: ``make matrix`` installs the package, and ``make`` is not run within its own test.
NOT_RUN = ("pip", "make")


@pytest.fixture
def environment(airflow_db: None, tmp_path: Path, emulator: Emulator) -> dict[str, str]:
    """The variables of a shell whose Airflow has a database of its own."""
    shared, own = (sqlite3.connect(folder / "airflow.db") for folder in (AIRFLOW_HOME, tmp_path))
    with closing(shared), closing(own):
        shared.backup(own)
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in NOT_RUN:
        (commands / name).write_text("#!/bin/sh\n")
        (commands / name).chmod(0o755)
    return {
        **{name: value for name, value in os.environ.items() if name != CONNECTION},
        "PATH": os.pathsep.join((str(commands), str(Path(sys.executable).parent), os.environ["PATH"])),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
    }


@pytest.mark.parametrize("snippet", SNIPPETS, ids=str)
def test_the_commands_run(snippet: Snippet, environment: dict[str, str], emulator: Emulator, tmp_path: Path) -> None:
    # The documents' connections lead to the vendor.
    code = snippet.code.replace("--conn-type riffusion", f"--conn-type riffusion --conn-host {emulator.url}")
    if snippet.document.name == "runbook-596.md":
        connection = {"conn_type": "riffusion", "host": emulator.url, "password": emulator.token}
        environment[CONNECTION] = json.dumps(connection)
    if "tasks clear" in code:
        code = f"airflow dags reserialize --bundle-name snippets\n{code}"
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        env=environment,
        cwd=tmp_path,
        input="y" if "tasks clear" in code else "the fresh cookie of user-1",
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_emulator_starts_and_takes_its_orders_by_http(environment: dict[str, str], tmp_path: Path) -> None:
    start, order = [snippet.code for snippet in snippets("bash") if snippet.document == TESTS_PAGE][1:]
    for command in start.splitlines():
        # The port may be in use.
        with subprocess.Popen(
            shlex.split(f"{command} --port 0"), env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
        ) as emulator:
            try:
                assert emulator.stdout is not None
                url = next(found[0] for line in emulator.stdout if (found := re.search(r"http://127[\d.:]+", line)))
                code = order.replace("http://127.0.0.1:8596", url).replace("curl", "curl --silent --fail")
                subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True, stdout=subprocess.DEVNULL)
            finally:
                emulator.terminate()


def test_there_are_commands() -> None:
    assert {snippet.document.name for snippet in SNIPPETS} == set(PAGES)
