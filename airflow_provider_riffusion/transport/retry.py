"""Decide when a GET is repeated, and after which pause."""

import logging
import math
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import tenacity

from airflow_provider_riffusion.exceptions import RiffusionApiError, RiffusionError, RiffusionRateLimitError

log = logging.getLogger(__name__)

ATTEMPTS = 5
MAX_BACKOFF_SECONDS = 30.0
MAX_RETRY_AFTER_SECONDS = 120.0
MAX_WAITING_SECONDS = 300.0


def retrying(attempts: int, aborted: threading.Event, note_progress: Callable[[], bool]) -> tenacity.Retrying:
    """
    Return the policy for one GET.

    :param attempts: how often the GET is sent at most, not counting attempts that made progress
    :param aborted: ends pauses and attempts when it is set
    :param note_progress: is called after each attempt that failed; returns whether it made progress all the same
    """

    def start_anew_after_progress(state: tenacity.RetryCallState) -> None:
        if note_progress():
            state.attempt_number, state.idle_for = 0, 0.0

    def log_pause(state: tenacity.RetryCallState) -> None:
        number, seconds, error = state.attempt_number, state.upcoming_sleep, state.outcome and state.outcome.exception()
        attempt = f"Attempt {number} of {attempts}" if number else "An attempt that brought a part of the body"
        log.warning("%s failed, next in %.1f s: %s", attempt, seconds, error)

    def is_enough(state: tenacity.RetryCallState) -> bool:
        has_waited_enough = state.idle_for + state.upcoming_sleep > MAX_WAITING_SECONDS
        return state.attempt_number >= attempts or aborted.is_set() or has_waited_enough

    def pause(state: tenacity.RetryCallState) -> float:
        asked = getattr(state.outcome and state.outcome.exception(), "retry_after", None)
        # A server asks hundreds of tasks for the same pause; spread, they do not come back in the same millisecond.
        return backoff(state) if asked is None else asked + spread(state)

    backoff = tenacity.wait_random_exponential(multiplier=1, max=MAX_BACKOFF_SECONDS)
    spread = tenacity.wait_random(0, 1)
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_worth_repeating),
        after=start_anew_after_progress,
        wait=pause,
        stop=is_enough,
        before_sleep=log_pause,
        sleep=tenacity.sleep_using_event(aborted),
        reraise=True,
    )


def _is_worth_repeating(error: BaseException) -> bool:
    if not isinstance(error, RiffusionError) or not error.transient:
        return False
    is_soon = (error.retry_after or 0) <= MAX_RETRY_AFTER_SECONDS
    if is_soon or not isinstance(error, RiffusionApiError):
        return is_soon
    raise RiffusionRateLimitError(
        f"{error} The server asks to wait {error.retry_after:.0f} s, longer than the {MAX_RETRY_AFTER_SECONDS:.0f} s "
        "that a task should sleep: let Airflow retry the task later.",
        **{**vars(error), "transient": False},
    )


def parse_retry_after(text: str | None) -> float | None:
    """Read Retry-After, seconds or an HTTP date (RFC 9110, 10.2.3), as seconds; None when it is neither."""
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
            seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    # Capped, because the number goes into a trigger's event, and JSON has no infinity.
    return None if math.isnan(seconds) else min(max(0.0, seconds), 1e9)
