"""The section for users: what a run gave, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from tests.programs.create_table.cells import Cell, Key
from tests.programs.create_table.servers import VARIANTS
from tests.programs.create_table.ways import COLUMNS, WAYS, WORDS, Way
from tests.support.dag_runs import ROOT

PATH = ROOT / "docs/reliability.md"

Results = Mapping[Key, Cell]

_HEADING = "## What a create request costs when a try ends early\n"

_INTRODUCTION = """
A try of a task that creates songs ends in one of these ways, and another one follows: a retry, or the try of a task
that a human has cleared. Each cell was run ({cells:,} runs), waiting in the worker and deferred, and the create requests
that the API accepted were counted: **never did a retry pay again**, and a clear only where the cell says so.
{kills} further tasks ran in processes of their own, each killed at a random moment, half of them with SIGKILL and half
with SIGTERM, and tried again: none paid twice.

| Column | Meaning |
|---|---|
| 3.3 | the task state store of Airflow 3.3 |
| emptied | a store that Airflow empties when a human clears the task: what its next release does, unless the task keeps its state |
| 3.1, 3.2 | no store |

| In a cell | Meaning |
|---|---|
{words}
| n/a | no such try follows |

Rows with * were run with each of {variants} ways in which the API may name and show songs: a job, a job for each song,
songs, or both; at once, when they are finished, by their job, late, or one after another; the emulator's, and those of
a server that was written apart from it.
"""  # noqa: E501  # lines of a table

_TITLES = {"kept": "3.3", "emptied": "emptied", "none": "3.1, 3.2"}


def render(results: Results, kills: int) -> str:
    """Render all results."""
    introduction = _INTRODUCTION.format(
        cells=len(results),
        kills=kills,
        words="\n".join(f"| {word} | {meaning} |" for word, meaning in WORDS.items()),
        variants=len(VARIANTS),
    )
    return f"{_HEADING}{introduction}\n{table(results)}"


def table(results: Results) -> str:
    """Render what followed, a row for each way."""
    head = ["How the try ended", *(f"{following}, {_TITLES[store]}" for following, store in COLUMNS)]
    lines = [head, ["---"] * len(head), *(_row(results, way) for way in WAYS)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def write(section: str) -> None:
    """Put the section at the end of the page, in place of an older one."""
    before = PATH.read_text().partition(_HEADING)[0].rstrip("\n")
    PATH.write_text(f"{before}\n\n{section}")


def _row(results: Results, way: Way) -> list[str]:
    by_column = [
        sorted({cell.word for key, cell in results.items() if key.way == way.name and key.column == column})
        for column in COLUMNS
    ]
    return [f"{way.name}{' *' if way.has_variants else ''}", *(" or ".join(words) or "n/a" for words in by_column)]
