"""
Install the built wheel on each interpreter and each Airflow, and use it: ``python -m tests.programs.matrix``.

Each cell gets an environment of its own in a temporary folder, from which this checkout cannot be seen; what its
commands print is kept in ``.matrix``. Takes one to two minutes a cell on two cores. Needs a package index.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.programs.matrix.environments import PINS, PYTHONS, Environment, InstallError, interpreter
from tests.programs.matrix.smoke import Smoke, SmokeError, is_readme_port_free
from tests.programs.matrix.table import FAILED, NO_INTERPRETER, NOT_INSTALLABLE, OK, Outcome, table
from tests.support.dag_runs import ROOT

LOGS = ROOT / ".matrix"


def main() -> int:
    """Run the cells, print the table and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.programs.matrix", description=__doc__)
    parser.add_argument("--pythons", default=",".join(PYTHONS), help="divided by commas (%(default)s)")
    parser.add_argument("--airflows", default=",".join(PINS), help="divided by commas (%(default)s)")
    arguments = parser.parse_args()
    wheels = list((ROOT / "dist").glob("*.whl"))
    if len(wheels) != 1:
        parser.error(f"dist holds {len(wheels)} wheels, and not one; run make dist")
    if not is_readme_port_free():
        parser.error("another program listens where README's commands start the emulator; end it first")
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir()
    outcomes: dict[tuple[str, str], Outcome] = {}
    airflows = arguments.airflows.split(",")
    for version in arguments.pythons.split(","):
        python = interpreter(version)
        for airflow in airflows:
            start = time.monotonic()
            outcome = Outcome(NO_INTERPRETER) if python is None else cell(wheels[0], python, airflow)
            outcomes[version, airflow] = outcome
            seconds = time.monotonic() - start
            print(f"Python {version}, Airflow {airflow}: {outcome.word}, {seconds:.0f} s", flush=True)
    print(f"\n{table(outcomes, airflows)}")
    words = {outcome.word for outcome in outcomes.values()}
    return 0 if OK in words and FAILED not in words else 1


def cell(wheel: Path, python: str, airflow: str) -> Outcome:
    """
    Install and use the wheel.

    :param wheel: the wheel
    :param python: path of the interpreter
    :param airflow: version of Airflow
    """
    log = LOGS / f"{Path(python).name}-airflow-{airflow}.log"
    with tempfile.TemporaryDirectory(prefix="riffusion-matrix-") as name:
        folder = Path(name).resolve()
        environment = Environment(folder / "environment", wheel, airflow)
        try:
            environment.install(python)
            work = folder / "work"
            work.mkdir()
            smoke = Smoke(environment, work, log)
            smoke.run(wheel.name.split("-")[1])
            smoke.run_readme(wheel)
        except InstallError as error:
            return Outcome(NOT_INSTALLABLE, str(error))
        except SmokeError as error:
            return Outcome(FAILED, f"{error} ({log.relative_to(ROOT)})")
        missing = environment.missing_extras()
    return Outcome(OK, "; ".join(f"the extra {extra} does not install: {why}" for extra, why in missing.items()))


if __name__ == "__main__":
    sys.exit(main())
