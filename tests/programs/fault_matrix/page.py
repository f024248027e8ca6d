"""The page for users: the results of a run as Markdown; of what was expected, only why a cell was not run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from airflow_provider_riffusion import exceptions
from tests.programs.fault_matrix.cells import Cell, Key
from tests.programs.fault_matrix.expectations import NOT_APPLICABLE
from tests.programs.fault_matrix.faults import FAULTS, GROUPS
from tests.programs.fault_matrix.operations import OPERATIONS
from tests.support.dag_runs import ROOT

PATH = ROOT / "docs/reliability.md"

Results = Mapping[Key, Cell]

_INTRODUCTION = """\
# Reliability: what happens on every fault

Look your fault up before it happens to you. Each cell was run: the real operator, sensor or hook, over a real socket,
against the bundled emulator or a server that sends the wrong bytes. `make reliability` writes this page from what that
run gave ({count:,} runs); `make test` repeats a third of the runs, and fails when a cell is not as it stands here.

## In every cell

{guarantees}

## How to read a cell

`RateLimit · 5 · retried` means: five requests were sent, then the task failed with `RiffusionRateLimitError`.

| In a cell | Meaning |
|---|---|
| a name | error class, without `Riffusion` and `Error`; [what to do about it](errors.md) |
| a number | requests in one try of the task; attempts to connect, where nothing can be reached |
| `retried` | Airflow tries the task again, if it has `retries` left |
| `at once` | the task has failed, whatever its `retries`: {final} |
| `once:` | the fault struck once, and the next request was good; without this line, that makes no difference |
| `polls on` | requests go on until the task's `timeout` |
| `waited` | the pauses between requests were as long as `Retry-After` asked, which may be 120 s at most |
| `not ok` | the connection test says so, and why; it raises nothing |
| n/a | {reasons} |

| Column | Meaning |
|---|---|
| stem by URL | download of stems whose response names a URL for each; the fault strikes the fetch of one. The first request is for the names |
| create | without waiting for the songs, and with the task state store of Airflow 3.3. `ok · 2`: the response was lost, the songs were found. `CreateUncertain`: they were found nowhere, and nothing is sent again. Songs are made in the rows where the good response comes damaged or not at all, and not where another response comes from the start, such as a status |
| wait | `RiffusionSongSensor`, by poke, reschedule and deferrable. The triggerer reads a page of songs for all waits; where only the page may be at fault, it also reads the job list and asks for the song alone, so that these are three requests |
| account gate | `RiffusionAccountSensor` |
"""  # noqa: E501  # lines of a table


_GUARANTEES = """\
- **Storage.** Before each of {stored} downloads an older file, or an older set of stems, was at the final path. After
  it exactly the new bytes were there ({new} times, every `ok`) or exactly the old ones ({old} times, every error), and
  nothing else, no hidden file either. Only {kept} adds a file: the unknown response, as `<song_id>.stems.unknown.json`.
- **Money.** No try sent the request that starts songs again, unless the API had refused it for lack of a slot (429).
- **Secrets.** The API token went to no other server, and showed nowhere, whole or in part, plain, URL-quoted or in
  base64: in no log line of any logger at DEBUG, no error or traceback, no result, XCom, trigger, event, task state,
  repr or rendered field.
- **Errors.** Every error was one of this provider's own, or Airflow's sensor timeout."""


def render(results: Results) -> str:
    """Render all results."""
    introduction = _INTRODUCTION.format(
        count=len(results),
        guarantees=_guarantees(results),
        final=_final(results),
        reasons="; ".join(sorted(set(NOT_APPLICABLE.values()))),
    )
    return f"{introduction}\n{tables(results)}"


def tables(results: Results) -> str:
    """Render what happened, a table for each group of faults."""
    return "\n".join(f"## {group}\n\n{_table(results, group)}" for group in GROUPS)


def _final(results: Results) -> str:
    names = sorted({cell.outcome for cell in results.values() if cell.end == "at once"})
    return ", ".join(f"`{name}`" for name in names)


def _guarantees(results: Results) -> str:
    """Say what was true in all cells; of what was not, say where."""
    cells = results.values()
    if broken := sorted(
        f"- **BROKEN**: {key}: {problem}" for key, cell in results.items() for problem in cell.problems
    ):
        return "\n".join(broken)
    stored = [cell for cell in cells if cell.storage]
    new = sum(cell.storage == "new" for cell in stored)
    kept = sorted({f"`{cell.outcome}`" for cell in stored if cell.storage not in ("new", "old")})
    return _GUARANTEES.format(stored=len(stored), new=new, old=len(stored) - new, kept=", ".join(kept))


def _table(results: Results, group: str) -> str:
    faults = [fault.name for fault in FAULTS.values() if fault.group == group]
    grid = {name: [_cell(results, fault, name) for fault in faults] for name in OPERATIONS}
    columns = _merged((OPERATIONS[name].title, cells) for name, cells in grid.items())
    rows = _merged((fault, [cells[row] for _, cells in columns]) for row, fault in enumerate(faults))
    head = ["", *(_title(titles) for titles, _ in columns)]
    lines = [head, ["---"] * len(head), *(["<br>".join(names), *cells] for names, cells in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _merged(lines: Iterable[tuple[str, Sequence[str]]]) -> list[tuple[list[str], Sequence[str]]]:
    """Put lines together that are the same in every cell."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name, cells in lines:
        found.setdefault(tuple(cells), []).append(name)
    return [(names, cells) for cells, names in found.items()]


def _title(titles: Sequence[str]) -> str:
    return ", ".join(titles).replace("wait (poke), wait (reschedule), wait (deferrable)", "wait (all modes)")


def _cell(results: Results, fault: str, operation: str) -> str:
    if (fault, operation) in NOT_APPLICABLE:
        return "n/a"
    lasting, once = (_text(results[Key(fault, operation, once)]) for once in (False, True))
    return lasting if lasting == once else f"{lasting}<br>once: {once}"


def _text(cell: Cell) -> str:
    text = f"{cell}, waited" if cell.pause else str(cell)
    return text.replace(", ", " · ")


def unknown_names(results: Results) -> set[str]:
    """Return the names of errors that stand for no class; the page would lead nowhere."""
    names = {name for cell in results.values() for name in cell.outcome.split(" or ")}
    known = {name for name in names if hasattr(exceptions, f"Riffusion{name}Error")}
    return names - known - {"ok", "not ok", "SensorTimeout"}
