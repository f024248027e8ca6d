"""Checks of request parameters; whatever does not fit is refused with 400 [D]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_riffusion.emulator.server.response import RefusedError

_MAX_REFERENCE = 1024


def query_number(query: Mapping[str, str], name: str, default: int, lowest: int) -> int:
    """
    Return a whole number of the query.

    :param query: the query parameters
    :param name: the parameter
    :param default: its value when it is absent
    :param lowest: its lowest value
    """
    text = query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or int(text) < lowest:
        raise RefusedError(400, f"Parameter {name} is a whole number from {lowest}, not {text!r}")
    return int(text)


class Fields:
    """
    The fields of a JSON body.

    :param body: the parsed body; anything but an object is refused
    """

    def __init__(self, body: Any) -> None:
        if not isinstance(body, dict):
            raise RefusedError(400, "Request body is a JSON object")
        self._values: dict[str, Any] = body

    def text(self, name: str, *, longest: int | None = None) -> str | None:
        """
        Return a text, None when it is absent.

        :param name: the field
        :param longest: the most characters that it may have; None: any number
        """
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise RefusedError(400, f"Parameter {name} is a text")
        if longest is not None and len(value) > longest:
            raise RefusedError(400, f"Parameter {name} has at most {longest} characters, not {len(value)}")
        return value

    def required(self, name: str) -> str:
        """
        Return a text that must be there and not be blank.

        :param name: the field
        """
        value = self.text(name)
        if value is None or not value.strip():
            raise RefusedError(400, f"Parameter {name} is required")
        return value

    def reference(self, name: str) -> str | None:
        """
        Return ``replyUrl`` or ``replyRef``, 1024 characters at most [D].

        :param name: the field
        """
        return self.text(name, longest=_MAX_REFERENCE)

    def number(self, name: str, lowest: int, highest: int) -> int | None:
        """
        Return a whole number within bounds, None when it is absent.

        :param name: the field
        :param lowest: its lowest value
        :param highest: its highest value
        """
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise RefusedError(400, f"Parameter {name} is a whole number from {lowest} to {highest}, not {value!r}")
        return value

    def flag(self, name: str) -> bool:
        """
        Return a boolean, False when it is absent.

        :param name: the field
        """
        value = self._values.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise RefusedError(400, f"Parameter {name} is true or false, not {value!r}")
        return value
