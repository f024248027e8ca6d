"""
Look at this provider in Airflow's UI with a real browser: ``python -m tests.programs.ui``.

Starts an Airflow of its own with the emulator in a temporary folder, which is kept only when something is wrong, and
drives Debian's chromium. Takes about two minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path

from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.emulator.emulator import example_accounts
from tests.programs.ui.browser import CHROMIUM, Browser
from tests.programs.ui.screens import RUN, RUNS, Screens
from tests.support.dag_runs import ROOT
from tests.support.deployment import BrokenRunError, Deployment
from tests.support.report import Report, report_of

_DAGS = Path(__file__).parent / "dags"
_IMAGES = ROOT / "docs" / "images"
#: Without the servers for logs, which listen on all addresses of the machine.
_COMPONENTS = {
    "dag-processor": ("dag-processor",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
#: The DAGs, and how each run must stand before anybody looks.
_STATES = {
    "song_of_the_day": "success",
    "broken_account": "failed",
    "composed_song": "running",
    "new_song": "success",
    "on_new_song": "success",
}
_SECONDS = 300


def main() -> int:
    """Run it all and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.programs.ui", description=__doc__)
    parser.add_argument("--write", action="store_true", help="save the pictures in docs/images")
    arguments = parser.parse_args()
    if not CHROMIUM.exists():
        print(f"{CHROMIUM} is missing. On Debian: apt-get install chromium", file=sys.stderr)
        return 1
    return report_of("ui", lambda home, report: run(home, _IMAGES if arguments.write else home / "pictures", report))


def run(home: Path, pictures: Path, report: Report) -> None:
    """Run the DAGs, and look at all screens."""
    pictures.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        songs = stack.enter_context(
            Emulator(accounts=example_accounts(max_jobs=10), songs=[Song("midnight-harbor", title="Midnight Harbor")])
        )
        broken = stack.enter_context(Emulator())
        broken.break_account("user-1")
        slow = stack.enter_context(Emulator(generation_seconds=3600))
        deployment = stack.enter_context(
            Deployment(home / "airflow", _DAGS, _COMPONENTS, _environment(home, songs, broken, slow))
        )
        for run_id in RUNS:
            deployment.trigger("song_of_the_day", run_id)
        for dag_id in ("broken_account", "composed_song", "new_song"):
            deployment.trigger(dag_id, RUN)
        deployment.wait_until(lambda: _has_come_so_far(deployment), _SECONDS, "the runs")
        browser = stack.enter_context(Browser(deployment.url, pictures, {str(home): "/data"}))
        Screens(browser, deployment, report, songs, broken, slow).look()


def _environment(home: Path, songs: Emulator, broken: Emulator, slow: Emulator) -> dict[str, str]:
    extra = {"storage_path": str(home / "songs")}
    connections = {
        f"AIRFLOW_CONN_{name}": json.dumps(
            {"conn_type": "riffusion", "host": emulator.url, "password": emulator.token, "extra": extra}
        )
        for name, emulator in {"RIFFUSION_DEFAULT": songs, "BROKEN_SONGS": broken, "SLOW_SONGS": slow}.items()
    }
    return {
        **connections,
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    }


def _has_come_so_far(deployment: Deployment) -> bool:
    """Return whether all runs stand as they must, and the composed song is waited for in the triggerer."""
    for dag_id, expected in _STATES.items():
        states = {run["state"] for run in deployment.call("GET", f"dags/{dag_id}/dagRuns")["dag_runs"]}
        if wrong := states & {"success", "failed"} - {expected}:
            raise BrokenRunError(f"a run of {dag_id} ended with {', '.join(wrong)}; see {deployment.logs}")
        if states != {expected}:
            return False
    return [task["state"] for task in deployment.task_instances("composed_song")] == ["deferred"]


if __name__ == "__main__":
    sys.exit(main())
