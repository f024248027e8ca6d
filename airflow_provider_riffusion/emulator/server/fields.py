"""Checks of request parameters; whatever does not fit is refused with 400 [D]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from airflow_provider_riffusion.emulator.server.response import RefusedError

T = TypeVar("T")


def json_object(body: Any) -> dict[str, Any]:
    """Return a parsed body, which must be a JSON object."""
    if not isinstance(body, dict):
        raise RefusedError(400, "Request body is a JSON object")
    return body


def query_number(query: Mapping[str, str], name: str, default: int, lowest: int) -> int:
    """Return a parameter of the query that is a whole number from ``lowest``."""
    text = query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < lowest:
        raise RefusedError(400, f"Parameter {name} is a whole number from {lowest}, not {text!r}")
    return int(text)


class Fields:
    """
    The fields of a JSON body.

    :param body: the parsed body; anything but an object is refused
    """

    def __init__(self, body: Any) -> None:
        self.body = json_object(body)

    def _value(self, name: str, kind: type[T], description: str) -> T | None:
        value = self.body.get(name)
        # An isinstance() check would take true and false for numbers.
        if value is not None and type(value) is not kind:
            raise RefusedError(400, f"Parameter {name} is {description}, not {value!r}")
        return value

    def text(self, name: str, *, longest: int | None = None) -> str | None:
        """Return a text of at most ``longest`` characters; None when it is absent."""
        value = self._value(name, str, "a text")
        if value is not None and longest is not None and len(value) > longest:
            raise RefusedError(400, f"Parameter {name} has at most {longest} characters, not {len(value)}")
        return value

    def required(self, name: str) -> str:
        """Return a text that must be there and not be blank."""
        value = self.text(name)
        if value is None or not value.strip():
            raise RefusedError(400, f"Parameter {name} is required")
        return value

    def number(self, name: str, lowest: int, highest: int) -> int | None:
        """Return a whole number from ``lowest`` to ``highest``; None when it is absent."""
        description = f"a whole number from {lowest} to {highest}"
        value = self._value(name, int, description)
        if value is not None and not lowest <= value <= highest:
            raise RefusedError(400, f"Parameter {name} is {description}, not {value!r}")
        return value

    def flag(self, name: str) -> bool:
        """Return a boolean; False when it is absent."""
        return self._value(name, bool, "true or false") or False
