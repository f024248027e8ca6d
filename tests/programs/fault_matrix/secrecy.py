"""Look for the API token wherever it must not be."""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import structlog

#: A part of the token is as bad from this length on.
_PART = 10


class Log(logging.Handler):
    """Every line that any logger writes, at any level, as text."""

    def __init__(self) -> None:
        super().__init__(level=logging.NOTSET)
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # Together with what a handler that writes JSON would add.
        self.lines.append(f"{self.format(record)} {record.args!r}")

    def install(self) -> None:
        """Take all lines of this process, and show none."""
        for name in (None, *logging.root.manager.loggerDict):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate, logger.disabled = [], True, False
            logger.setLevel(logging.DEBUG)
        logging.root.handlers = [self]
        # Airflow's own classes log past the standard library.
        structlog.configure(
            processors=[structlog.processors.format_exc_info, self._keep],
            wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
            logger_factory=structlog.ReturnLoggerFactory(),
            cache_logger_on_first_use=False,
        )

    def _keep(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        self.lines.append(repr(event))
        raise structlog.DropEvent


LOG = Log()


@contextmanager
def logged() -> Iterator[list[str]]:
    """Collect the lines of a block; they are complete at its end."""
    LOG.lines = []
    yield LOG.lines


def texts_of(error: BaseException) -> list[str]:
    """Return all texts of an error, and of those behind it."""
    texts = ["".join(traceback.format_exception(error))]
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is not None:
            texts += [str(current), repr(current), repr(current.args), repr(vars(current))]
            # Also what `from None` has put out of sight.
            pending += [current.__cause__, None if current.__suppress_context__ else current.__context__]
    return texts


def forms_of(token: str) -> set[str]:
    """Return the forms in which a token, or a telling part of it, may stand in a text."""
    texts = {token, quote(token, safe="")}
    parts = {text[start : start + _PART] for text in texts for start in range(len(text) - _PART + 1)}
    encoded = set()
    for shift in range(3):
        # The first and the last characters depend on what stands before and after.
        text = base64.b64encode(b"\0" * shift + token.encode()).decode().rstrip("=")
        encoded |= {text[4:-2], text[4:-2].replace("+", "-").replace("/", "_")}
    return parts | encoded


def leaks(token: str, texts: Iterable[str]) -> list[str]:
    """Return the surroundings of the token, wherever it stands in texts."""
    forms = forms_of(token)
    found = []
    for text in texts:
        position = min((at for form in forms if (at := text.find(form)) >= 0), default=-1)
        if position >= 0:
            found.append(text[max(0, position - 80) : position + 40])
    return found
