"""Run a command in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs a function that may end its process: ``run(function, *arguments)``."""
    # The commands set it, and the tests after them look for connections elsewhere.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")

    def run(function: Callable[..., object], *arguments: object) -> Ended:
        code: object = 0
        try:
            function(*arguments)
        except SystemExit as error:
            code = error.code or 0
        return Ended(code if isinstance(code, int) else 1, *capsys.readouterr())

    return run
