"""What operators and sensors share: their hook, and the checks before and after Airflow fills templates in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError
from airflow_provider_riffusion.safe_text import shown_value
from airflow_provider_riffusion.useapi.riffusion import responses as api

if TYPE_CHECKING:
    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

#: By parameter: whether a value is right, and the remedy when it is not.
Checks = Mapping[str, tuple[Callable[[object], bool], str]]


class UsesHook:
    """A task with the parameter ``riffusion_conn_id``."""

    riffusion_conn_id: str

    @cached_property
    def hook(self) -> RiffusionHook:
        """The hook for the connection; imported when it is needed, because a DAG file never needs it."""
        from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

        return RiffusionHook(self.riffusion_conn_id)


def check_parameters(task: object, checks: Checks, *, only_literals: bool) -> None:
    """
    Check the attributes of a task.

    :param task: operator or sensor
    :param checks: what to check
    :param only_literals: leave values alone that Airflow fills in later
    :raises RiffusionConfigurationError: a value is wrong
    """
    for name, (is_right, remedy) in checks.items():
        value = getattr(task, name)
        if not (only_literals and is_template(value)) and not is_right(value):
            raise RiffusionConfigurationError(f"{name} is {shown_value(value)}; {remedy}.")


def is_template(*values: object) -> bool:
    """Whether Airflow fills a value in later: Jinja, or an XComArg, DagParam or mapped argument, also inside."""
    return any(_is_template(value) for value in values)


def _is_template(value: object) -> bool:
    if isinstance(value, str):
        return any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, Mapping):
        return is_template(*value.values())
    if isinstance(value, list | tuple):
        return is_template(*value)
    return hasattr(value, "iter_references")


def is_text_or_none(value: object) -> bool:
    """Whether a value is text without control characters, or None."""
    return value is None or (isinstance(value, str) and 0 < len(value) <= 1024 and value.isprintable())


def is_positive(value: object) -> bool:
    """Whether a value, or the text that a template rendered, is a number above 0."""
    try:
        return not isinstance(value, bool) and isinstance(value, int | float | str) and 0 < float(value) < 1e9
    except (ValueError, OverflowError):
        return False


SONG_ID = (api.is_song_id, "use letters, digits, '.', '_' and '-', at most 128, as the API's ids are made")
ACCOUNT_CHECKS: Checks = {
    "user_id": (is_text_or_none, "use the user_id of an account configured at useapi.net, or None"),
    "riffusion_conn_id": (
        lambda value: value is not None and is_text_or_none(value),
        "use the id of an Airflow connection",
    ),
}
