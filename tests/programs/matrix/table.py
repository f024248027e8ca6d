"""The outcome of each cell, and the table of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

OK = "ok"
FAILED = "FAILED"
NOT_INSTALLABLE = "does not install"
NO_INTERPRETER = "not installed"


@dataclass(frozen=True)
class Outcome:
    """
    How a cell ended.

    :param word: one of the words above
    :param note: the reason, in one line; empty when there is nothing to tell
    """

    word: str
    note: str = ""


def table(outcomes: Mapping[tuple[str, str], Outcome], airflows: Sequence[str]) -> str:
    """
    Return a Markdown table with a row for each interpreter, and below it the numbered reasons.

    :param outcomes: by interpreter and Airflow
    :param airflows: the columns
    """
    notes: list[str] = []

    def shown(outcome: Outcome) -> str:
        if not outcome.note:
            return outcome.word
        if outcome.note not in notes:
            notes.append(outcome.note)
        return f"{outcome.word} [{notes.index(outcome.note) + 1}]"

    lines = [["", *(f"Airflow {airflow}" for airflow in airflows)], ["---"] * (len(airflows) + 1)]
    for python in dict.fromkeys(python for python, _ in outcomes):
        lines.append([f"Python {python}", *(shown(outcomes[python, airflow]) for airflow in airflows)])
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([*rows, "", *(f"[{number}] {note}" for number, note in enumerate(notes, 1))])
