"""What was measured, and whether it is as it must be."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tests.support.deployment import BrokenRunError

_SEPARATOR = "\n          "


class Report:
    """Prints each finding at once and keeps what was wrong."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def title(self, text: str) -> None:
        """Begin a section."""
        print(f"\n{text}", flush=True)

    def note(self, name: str, value: object) -> None:
        """Print a figure that nothing depends on."""
        print(f"        {name}: {value}", flush=True)

    def check(self, name: str, is_good: bool, details: object = "") -> None:
        """Print whether something is as it must be."""
        print(f"  {'ok    ' if is_good else 'WRONG '}{name}{f': {details}' if details != '' else ''}", flush=True)
        if not is_good:
            self.problems.append(name)

    def check_none(self, name: str, wrong: list[str], details: object = "") -> None:
        """Print whether a list of what is wrong is empty, and its first twenty entries."""
        self.check(name, not wrong, f"{len(wrong)} wrong: {_SEPARATOR.join(['', *wrong[:20]])}" if wrong else details)


def report_of(name: str, run: Callable[[Path, Report], None]) -> int:
    """
    Run a program in a temporary folder, which is kept only when something is wrong.

    :param name: what the folder is named after
    :param run: gets the folder, and a report for what it finds
    :return: the exit code
    """
    signal.signal(signal.SIGTERM, _leave)
    start = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix=f"riffusion-{name}-")).resolve()
    report = Report()
    print(f"Logs and files are in {home}")
    try:
        run(home, report)
    except BrokenRunError as error:
        report.check("the run", False, error)
    except KeyboardInterrupt:
        report.check("the run", False, "interrupted")
    seconds = time.monotonic() - start
    if report.problems:
        print(f"\nFAILED after {seconds:.0f} s: {'; '.join(report.problems)}. Everything is kept in {home}")
        return 1
    shutil.rmtree(home)
    print(f"\nAll is well after {seconds:.0f} s")
    return 0


def _leave(number: int, _: object) -> NoReturn:
    """End on SIGTERM as on Ctrl-C, so that all processes are stopped."""
    raise KeyboardInterrupt
