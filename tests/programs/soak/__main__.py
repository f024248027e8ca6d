"""
Soak a real Airflow, and search all that it leaves behind for the API token: ``python -m tests.programs.soak``.

Starts an Airflow of its own with scheduler, LocalExecutor and triggerer in a temporary folder, which is kept only when
something is wrong. Takes about ten minutes on two cores. Needs Linux, for its /proc.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from airflow_provider_riffusion.emulator import Emulator
from tests.programs.soak import canary, downloads
from tests.programs.soak.deployment import SoakDeployment
from tests.programs.soak.plan import PROBABILITY, make_plan
from tests.support.report import Report, report_of


def main() -> int:
    """Run it all and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.programs.soak", description=__doc__)
    parser.add_argument("--songs", type=int, default=500, help="downloads of the soak, at most 1024 (%(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="which faults come when (random)")
    parser.add_argument(
        "--faults",
        type=int,
        default=canary.COUNT,
        choices=range(1, canary.COUNT + 1),
        metavar="FAULTS",
        help="kinds of faults, by chance, that the canary meets, at most all (%(default)s)",
    )
    arguments = parser.parse_args()
    print(f"Soak with --songs {arguments.songs} --faults {arguments.faults} --seed {arguments.seed}")
    chosen = (arguments.songs, arguments.faults, arguments.seed)
    return report_of("soak", lambda home, report: run(home, *chosen, report))


def run(home: Path, songs: int, faults: int, seed: int, report: Report) -> None:
    """Run soak, canary and search."""
    plan = make_plan(songs, seed)
    token, control = f"user:1234-{secrets.token_hex(16)}", f"control:1234-{secrets.token_hex(16)}"
    hunted = canary.Canary(token, control, sorted(random.Random(seed).sample(range(canary.COUNT), faults)))
    storage = home / "storage"
    with ExitStack() as stack:
        emulator = stack.enter_context(Emulator(token=token, songs=[]))
        downloads.prepare(emulator, plan)
        hunted.start(stack)
        connections = {**hunted.connections, "riffusion_default": _connection(emulator)}
        for name, connection in connections.items():
            connection["extra"]["storage_path"] = str(storage / ("soak" if name == "riffusion_default" else "canary"))
        environment = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()}
        (home / "input.json").write_text(json.dumps({"songs": downloads.cases(plan), **hunted.cases}))
        environment |= {
            "SOAK_CONTROL": control,
            "SOAK_INPUT": str(home / "input.json"),
            "SOAK_PEAKS": str(home / "peaks"),
        }
        report.title(f"Airflow of {sys.executable}, faults for {PROBABILITY:.0%} of all requests")
        start = time.monotonic()
        with SoakDeployment(home, environment) as deployment:
            report.note("seconds until it was ready", f"{time.monotonic() - start:.0f}")
            downloads.run(deployment, emulator, plan, storage / "soak", report)
            canary.run(deployment, hunted, report)
    canary.search(deployment, hunted, report)


def _connection(emulator: Emulator) -> dict[str, Any]:
    # Patient enough for two busy cores, and short enough for a server that stalls.
    extra = {"timeout": 3, "low_speed_time": 3}
    return {"conn_type": "riffusion", "host": emulator.url, "password": emulator.token, "extra": extra}


if __name__ == "__main__":
    sys.exit(main())
