"""
Make songs on a cluster, and kill parts of it on the way: ``python -m tests.programs.cluster``.

Starts PostgreSQL, Redis, and an Airflow with CeleryExecutor, two workers and two triggerers, all on 127.0.0.1 and in a
temporary folder, which is kept only when something is wrong. Needs Linux, for its /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

from airflow_provider_riffusion.emulator import Emulator
from airflow_provider_riffusion.emulator.emulator import example_accounts
from tests.programs.cluster import outcome
from tests.programs.cluster.deployment import DAG_ID, POOL, ClusterDeployment
from tests.programs.cluster.services import postgres, redis
from tests.support.memory import MemoryWatch
from tests.support.processes import processor_seconds
from tests.support.report import Report, report_of

ACCOUNTS = 10
#: The most that the vendor allows.
MAX_JOBS = 10
#: As the vendor's songs take, and longer than it takes to notice a dead worker and to start its tasks anew.
GENERATION_SECONDS = 60
#: Of each song; its wav then has the 5 MB of an mp3 of the vendor's.
SONG_SECONDS = 30
#: What is killed once so large a share of the songs was paid for, and what is started instead.
ACCIDENTS = ((0.25, "worker-1", "worker-3"), (0.5, "triggerer-1", "triggerer-3"))
#: How long it takes to bring a node instead of one that has died.
REPLACEMENT_SECONDS = 10

_SECONDS = 600
_SECONDS_FOR_A_SONG = 3


def main() -> int:
    """Run it all and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.programs.cluster", description=__doc__)
    parser.add_argument("--songs", type=int, default=200, help="songs to make, at most 1024 (%(default)s)")
    arguments = parser.parse_args()
    print(f"Cluster with --songs {arguments.songs}")
    return report_of("cluster", lambda home, report: run(home, arguments.songs, report))


def run(home: Path, songs: int, report: Report) -> None:
    """Start the cluster, make the songs, and report."""
    storage = home / "storage"
    accounts = example_accounts(ACCOUNTS, MAX_JOBS)
    settings: dict[str, Any] = {"generation_seconds": GENERATION_SECONDS, "song_seconds": SONG_SECONDS}
    start = time.monotonic()
    with ExitStack() as stack:
        database, broker = stack.enter_context(postgres(home)), stack.enter_context(redis(home))
        emulator = stack.enter_context(Emulator(songs=[], accounts=accounts, songs_per_job=1, **settings))
        connection = {"conn_type": "riffusion", "host": emulator.url, "password": emulator.token}
        environment = {
            "AIRFLOW_CONN_RIFFUSION_DEFAULT": json.dumps({**connection, "extra": {"storage_path": str(storage)}}),
            "CLUSTER_ACCOUNTS": str(ACCOUNTS),
            "CLUSTER_SONGS": str(songs),
        }
        deployment = stack.enter_context(ClusterDeployment(home, database, broker, environment))
        pool = {"name": POOL, "slots": ACCOUNTS * MAX_JOBS, "include_deferred": True}
        deployment.call("POST", "pools", pool)
        report.title(
            f"{songs} songs of {GENERATION_SECONDS} s on {ACCOUNTS} accounts with {MAX_JOBS} slots each, "
            f"Airflow {metadata.version('apache-airflow')}, CeleryExecutor"
        )
        report.note("seconds until the cluster was ready", f"{time.monotonic() - start:.0f}")
        make_songs(deployment, emulator, songs, storage, report)


def make_songs(deployment: ClusterDeployment, emulator: Emulator, songs: int, storage: Path, report: Report) -> None:
    """Run the DAG, kill on the way, and check what came of it."""
    limit = _SECONDS + _SECONDS_FOR_A_SONG * songs
    start, spent = time.monotonic(), processor_seconds()
    hit: list[dict[str, Any]] = []
    with MemoryWatch(deployment.processes) as watch:
        deployment.trigger(DAG_ID, DAG_ID)
        for share, node, other in ACCIDENTS:
            wait_for_work(deployment, emulator, share * songs, node, limit)
            tasks = deployment.kill(node)
            when = f"{len(tasks)}, {time.monotonic() - start:.0f} s after the start"
            report.check(f"tasks on {node} when it was killed", bool(tasks), when)
            hit += tasks
            deployment.start_another(other, REPLACEMENT_SECONDS)
        state = deployment.wait_for_run(DAG_ID, limit)
        # A task that died just before its request has ended uncertain; a human looks into the library, and clears it.
        if uncertain := outcome.unpaid(deployment.task_instances(DAG_ID), emulator.accepted_creates):
            deployment.clear(uncertain)
            state = deployment.wait_for_run(DAG_ID, limit)
    seconds, spent = time.monotonic() - start, processor_seconds() - spent
    report.check("state of the DAG run", state == "success", f"{state} after {seconds:.0f} s")
    report.note("tasks that ended uncertain without having paid, and were cleared", len(uncertain))
    check_songs(emulator, songs, storage, report)
    for line in outcome.tries_after(hit, deployment.task_instances(DAG_ID)):
        report.note("hit by a kill", line)
    for endpoint, count in outcome.requests_by_endpoint(emulator.requests).items():
        report.note(endpoint, count)
    for kind, peaks in outcome.peaks_by_kind(watch.samples).items():
        report.note(f"peak memory of {kind}", peaks)
    report.note("songs an hour", f"{3600 * songs / seconds:.0f}, on {os.cpu_count()} cores")
    report.note("processor seconds of the cluster for a song", f"{spent / songs:.1f}, in all {spent:.0f}")


def wait_for_work(deployment: ClusterDeployment, emulator: Emulator, creates: float, node: str, seconds: float) -> None:
    """Wait until so many songs were paid for and a node has tasks, and freeze it."""

    def is_at_work() -> bool:
        return len(emulator.accepted_creates) >= creates and deployment.has_caught(node)

    deployment.wait_until(is_at_work, seconds, f"tasks on {node}")


def check_songs(emulator: Emulator, songs: int, storage: Path, report: Report) -> None:
    """Check that each task paid once, and that whatever was paid for is in the storage, and nothing else."""
    creates = emulator.accepted_creates
    report.check("creates paid for, of as many tasks", len(creates) == songs, f"{len(creates)} of {songs}")
    report.check_none("tasks that paid twice", outcome.paid_twice(creates), "none")
    files = [path for path in storage.rglob("*") if path.is_file()]
    missing = outcome.undelivered(creates, storage, lambda song_id: emulator.audio(song_id, "wav"))
    size = sum(path.stat().st_size for path in files) / 1e6
    report.check_none("songs delivered, by their SHA-256", missing, f"{len(creates)}, {size:.0f} MB")
    report.check("files beside them", len(files) == len(creates), len(files) - len(creates) + len(missing))


if __name__ == "__main__":
    sys.exit(main())
