"""
Fetch songs with a real Airflow, from the bundled emulator or from your own account, and show what came.

Environment variables, all optional:

* RIFFUSION_API_TOKEN: use your own account, by this API token, instead of the emulator
* RIFFUSION_API_HOST: base URL of the API; default https://api.useapi.net
* SONG_IDS: ids, separated by commas or spaces; default the newest three
* STORAGE_PATH: absolute folder or URL; default the folder .demo/songs
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tests.support.dag_runs import EXAMPLES, ROOT, outcomes_of, results_of, run_dag

if TYPE_CHECKING:
    from airflow.models import DagRun

    from airflow_provider_riffusion.emulator import Emulator

WORK = ROOT / ".demo"
LOG = WORK / "airflow.log"
ONE = EXAMPLES / "riffusion_download_song.py"
MANY = EXAMPLES / "riffusion_download_many.py"
CONNECTION = "AIRFLOW_CONN_RIFFUSION_DEFAULT"


def main() -> int:
    """Run the demo and return the exit code."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    screen = send_output_to_log()
    configure_airflow()
    print(f"Airflow's own log goes to {LOG.relative_to(ROOT)}", file=screen)
    try:
        token = os.environ.get("RIFFUSION_API_TOKEN")
        if token:
            configure_connection(os.environ.get("RIFFUSION_API_HOST"), token)
            return 0 if show_downloads(screen) else 1

        from airflow_provider_riffusion.emulator import Emulator

        with Emulator(generation_seconds=1) as emulator:
            print("No RIFFUSION_API_TOKEN is set: the songs come from the bundled emulator.", file=screen)
            configure_connection(emulator.url, emulator.token)
            is_good = show_downloads(screen) and show_life_cycle(emulator, screen)
            return 0 if show_errors(emulator, screen) and is_good else 1
    except Exception as error:
        traceback.print_exc()
        print(f"\nThe demo broke: {error}\nThe whole story is at the end of {LOG}", file=screen)
        return 1


def send_output_to_log() -> TextIO:
    """Send all that Airflow prints to the log file, and return a stream to the screen."""
    screen = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    with LOG.open("wb") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    return screen


def configure_airflow() -> None:
    """Give Airflow a home of its own, before it is imported."""
    home = WORK / "airflow"
    os.environ.update(
        AIRFLOW_HOME=str(home),
        AIRFLOW__CORE__DAGS_FOLDER=str(EXAMPLES),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__UNIT_TEST_MODE="False",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{home}/airflow.db",
    )


def configure_connection(host: str | None, token: str) -> None:
    """Write the connection as an environment variable, where Airflow looks first."""
    storage_path = os.environ.get("STORAGE_PATH") or str(WORK / "songs")
    os.environ[CONNECTION] = json.dumps(
        {"conn_type": "riffusion", "host": host, "password": token, "extra": {"storage_path": storage_path}}
    )


def show_downloads(screen: TextIO) -> bool:
    """Run the example DAGs and print a table of what they stored; return whether all went well."""
    from airflow.models import Pool
    from airflow.utils.db import initdb

    initdb()
    Pool.create_or_update_pool("riffusion", slots=4, description="downloads at the same time", include_deferred=False)

    song_ids = os.environ.get("SONG_IDS", "").replace(",", " ").split()
    run = run_dag(MANY, {"song_ids": song_ids, "download_format": "mp3"})
    runs = [run]
    if run.state == "success" and (results := results_of(run)):
        # The first song in the other formats, too.
        song_id = results[0]["song_id"]
        runs += [
            run_dag(ONE, {"song_id": song_id, "download_format": download_format})
            for download_format in ("wav", "stems")
        ]

    print_table(runs, screen)
    return is_success(runs, screen)


def show_life_cycle(emulator: Emulator, screen: TextIO) -> bool:
    """Create songs, and archive the library twice; return whether all was as it should."""
    runs = [
        run_dag(EXAMPLES / f"riffusion_{name}.py", poll_interval=1) for name in ("generate_and_download", "compose")
    ]
    print("\nTwo DAGs that make songs first: one prompt as mp3 and wav, and a composition of three", file=screen)
    print_table(runs, screen)

    print("\nThe archive of the library, run twice", file=screen)
    requests = []
    for what in ("first run", "second run"):
        emulator.clear()
        run = run_dag(EXAMPLES / "riffusion_archive.py")
        runs.append(run)
        results = results_of(run)
        requests.append(emulator.count("music/download"))
        skipped = sum(result["skipped"] for result in results)
        print(f"  {what}: {len(results)} songs, {requests[-1]} download requests, {skipped} skipped", file=screen)
    return is_success(runs, screen) and requests[0] > 0 and requests[1] == 0


def print_table(runs: list[DagRun], screen: TextIO) -> None:
    """Print what the download tasks of some runs stored."""
    row = "{:<38}{:<8}{:>10}{:>9}  {:<14}{}"
    print("\n" + row.format("song", "format", "bytes", "seconds", "sha256", "file"), file=screen)
    for result in (result for run in runs for result in results_of(run)):
        print(
            row.format(
                result["song_id"],
                result["download_format"],
                result["size"],
                f"{result['seconds']:.2f}",
                (result["sha256"] or "(skipped)")[:12],
                result["path"].removeprefix(f"{Path.cwd()}/"),
            ),
            file=screen,
        )


def is_success(runs: list[DagRun], screen: TextIO) -> bool:
    """Return whether all runs succeeded, and say where to look when one did not."""
    if all(run.state == "success" for run in runs):
        return True
    print(f"A DAG run failed; the reason is at the end of {LOG}", file=screen)
    return False


def show_errors(emulator: Emulator, screen: TextIO) -> bool:
    """Run one task against a server that is down and against a broken account; return whether all was as it should."""
    conf = {"song_id": emulator.songs[0].id, "download_format": "mp3"}
    print("\nWhat the error type is for: the same task, with retries=2, and its server", file=screen)
    row = "  {:<42}{:>9}{:>7}  {}"
    print(row.format("", "requests", "tries", "state"), file=screen)
    is_good = True
    for what, tries, requests in (("answers 503", 3, 15), ("says the account is broken (596)", 1, 1)):
        emulator.clear()
        if tries == 1:
            emulator.break_account("user-1")
        else:
            emulator.fault("status", status=503, path="music/download", retry_after="0")
        run = run_dag(ONE, conf)
        found = (emulator.count("music/download"), *reversed(outcomes_of(run)["download"]))
        print(row.format(what, *found), file=screen)
        is_good &= found == (requests, tries, "failed")
    print(f"\nWhat a human reads in the task's log then:\n  {pending_message(conf['song_id'])}", file=screen)
    return is_good


def pending_message(song_id: str) -> str:
    """Let the hook meet the broken account once more, and return what its error says."""
    from airflow_provider_riffusion.exceptions import RiffusionPendingError
    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

    try:
        RiffusionHook().download(song_id, "mp3", WORK / "never.mp3")
    except RiffusionPendingError as error:
        return str(error)
    raise RuntimeError("the emulator's account should be broken")


if __name__ == "__main__":
    sys.exit(main())
