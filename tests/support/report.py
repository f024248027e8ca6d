"""What was measured, and whether it is as it must be."""

from __future__ import annotations

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
