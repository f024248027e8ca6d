"""The table: what was measured, and the page that shows it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from statistics import median

from tests.support.dag_runs import ROOT

PATH = ROOT / "docs" / "benchmarks.md"

_HEAD = ("Work", "This provider", "Beside it", "Ratio: median (range)", "Target")
_PACKAGES = ("apache-airflow", "apache-airflow-providers-amazon", "apache-airflow-providers-http", "boto3", "requests")
_PAGE = """# Benchmarks

`make benchmark WRITE=1` has written this page, from a run on {machine}.
The files came from {server}, over loopback, on the same cores; a real network makes the differences smaller. The ways
of a row took turns, round by round, in one process after its imports. Seconds are medians, with the CPU seconds in
brackets, and a ratio is that of the seconds of one round. `make benchmark ROWS=local,s3` runs some of the rows.

{table}
"""


@dataclass(frozen=True)
class Row:
    """
    A line of the table.

    :param work: what was done
    :param ours: what it took this provider, with a unit
    :param other: what did the same work, and what that took
    :param ratio: ours by the other's, or what stands for it
    :param target: what the ratio, or ours, should be
    """

    work: str
    ours: str
    other: str = ""
    ratio: str = ""
    target: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the cells in the order of the columns."""
        return self.work, self.ours, self.other, self.ratio, self.target


class NotRunError(Exception):
    """A row cannot be run here; the text says why."""


def spread(ratios: Sequence[float]) -> str:
    """Show ratios by their median and range."""
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def render(rows: Sequence[Row]) -> str:
    """Render rows as a Markdown table."""
    lines = [_HEAD, ("---",) * len(_HEAD), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """Tell the cores and the versions that the figures depend on."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    return f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {versions}"


def write(rows: Sequence[Row], server: str) -> None:
    """Write the page anew."""
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(_PAGE.format(machine=machine(), server=server, table=render(rows)))
