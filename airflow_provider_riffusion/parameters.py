"""Check a value, or raise the one error that names the parameter, its value and the remedy."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError
from airflow_provider_riffusion.safe_text import shown_value


def wrong(name: str, shown: str, remedy: str) -> RiffusionConfigurationError:
    """
    Build the error for a value that is wrong.

    :param name: name of the parameter
    :param shown: its value, safe to show
    :param remedy: what to write instead, without a full stop
    """
    # A log shows about 100 characters of a line.
    separator = " " if len(name) + len(shown) + len(remedy) < 90 else "\n"
    return RiffusionConfigurationError(f"{name} is {shown};{separator}{remedy}.")


@dataclass(frozen=True)
class Rule:
    """
    What a parameter may be.

    :param convert: returns the checked value; raises ValueError, TypeError or OverflowError when the value is wrong
    :param remedy: what to write instead, without a full stop
    """

    convert: Callable[[Any], Any]
    remedy: str

    def check(self, name: str, value: object, shown: Callable[[object], str] = shown_value) -> Any:
        """
        Return the checked value.

        :param name: name of the parameter
        :param value: its value
        :param shown: shows a wrong value in the error
        :raises RiffusionConfigurationError: the value is wrong
        """
        try:
            return self.convert(value)
        except RiffusionConfigurationError:
            # A part of the value is wrong, and the error names that part.
            raise
        except (ValueError, TypeError, OverflowError):
            raise wrong(name, shown(value), self.remedy) from None


#: Rules by the name of the parameter.
Rules = Mapping[str, Rule]


def rule(is_right: Callable[[str], bool], remedy: str) -> Rule:
    """Make a rule for text that is right."""

    def convert(value: object) -> str:
        found = text(value)
        if not is_right(found):
            raise ValueError
        return found

    return Rule(convert, remedy)


def optional(of: Rule) -> Rule:
    """Make a rule that also takes None."""
    return Rule(lambda value: None if value is None else of.convert(value), f"{of.remedy}, or None")


def one_of(choices: Collection[str]) -> Rule:
    """Make a rule for one of a few words."""
    return rule(lambda value: value in choices, f"use one of {', '.join(choices)}")


def whole_number(lowest: int, highest: int, remedy: str = "") -> Rule:
    """Make a rule for a whole number, or the text of one, which is what Jinja renders; the remedy names the range."""

    def convert(value: Any) -> int:
        # int() would cut a float, and takes True for 1.
        if isinstance(value, bool) or not isinstance(value, int | str) or not lowest <= int(value) <= highest:
            raise ValueError
        return int(value)

    return Rule(convert, remedy or f"use a whole number from {lowest} to {highest}")


def is_line(value: object) -> bool:
    """Return whether a value is one line of printable text, of at most 1,024 characters."""
    return isinstance(value, str) and 0 < len(value) <= 1024 and value.isprintable()


def is_file_name(value: object) -> bool:
    """Return whether a value is one name of a file or folder, without slashes, of at most 255 bytes."""
    is_name = is_line(value) and value not in (".", "..") and set(str(value)).isdisjoint("/\\")
    return is_name and len(os.fsencode(str(value))) <= 255


def text(value: object) -> str:
    """Return text, also of a number, which is what native rendering makes of digits; raises TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    return str(value)


def positive(value: Any) -> float:
    """Return a number above 0, its text, or a timedelta's seconds; raises ValueError, TypeError or OverflowError."""
    value = value.total_seconds() if isinstance(value, timedelta) else value
    number = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str) or not 0 < number < 1e9:
        raise ValueError
    return number


def boolean(value: Any) -> bool:
    """Return True or False, also from the text that Jinja renders; raises ValueError."""
    found = {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise ValueError
    return found


def parse_time(value: datetime | str | None) -> datetime | None:
    """Return a time such as ``created_at`` as a datetime, in UTC if it has no zone; None when it is no ISO 8601."""
    try:
        return _time(value)
    except (ValueError, TypeError):
        return None


def _time(value: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(text(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


TEXT = rule(lambda value: value.strip() != "", "use text that is not empty")
FILE_NAME = rule(is_file_name, "use one name without slashes, of at most 255 bytes")
BOOLEAN = Rule(boolean, "use True or False")
SECONDS = Rule(positive, "use seconds above 0, or a timedelta")
TIME = Rule(_time, "use a datetime or ISO 8601 such as 2025-04-01T00:00:00Z")
