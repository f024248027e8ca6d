"""Measure, print the table, and write the page if asked: ``python -m tests.programs.benchmarks --rows local,s3``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.programs.benchmarks.table import NotRunError, Row, machine, render, write


def main() -> None:
    """Run the rows that are asked for; one that cannot run here says why in its place."""
    # Sets Airflow's environment, which the processes of some rows inherit.
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
    import tests.support.environment  # noqa: F401  # for its effect
    from tests.programs.benchmarks import cost, downloads, library, resume, stems, waiting
    from tests.programs.benchmarks.servers import Servers

    kinds: Mapping[str, Callable[[Servers], Iterator[Row]]] = {
        "local": downloads.local,
        "s3": downloads.s3,
        "stems": stems.rows,
        "resume": resume.rows,
        "waiting": waiting.rows,
        "library": library.rows,
        "cost": cost.rows,
    }
    parser = argparse.ArgumentParser(prog="make benchmark", description="Compare speed and memory side by side.")
    parser.add_argument("--rows", default=",".join(kinds), help="which rows, divided by commas (%(default)s)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md, which holds all rows")
    arguments = parser.parse_args()
    names = arguments.rows.split(",")
    if unknown := [name for name in names if name not in kinds]:
        parser.error(f"there are no rows {', '.join(unknown)}; use {', '.join(kinds)}")
    if arguments.write and set(names) != set(kinds):
        parser.error("--write needs all rows")
    # Every way is measured without the lines that it would log.
    logging.disable(logging.INFO)
    with ExitStack() as stack:
        servers = Servers(stack, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        print(f"{machine()}\nFiles from {servers.name}\n", file=sys.stderr)
        found = [row for name in names for row in _noted(name, kinds[name](servers))]
        print(render(found))
        if arguments.write:
            write(found, servers.name)


def _noted(name: str, rows: Iterable[Row]) -> Iterator[Row]:
    try:
        for row in rows:
            print(*row.cells(), sep=" | ", file=sys.stderr, flush=True)
            yield row
    except NotRunError as error:
        yield Row(f"{name}: the rest was not run", str(error))


if __name__ == "__main__":
    main()
