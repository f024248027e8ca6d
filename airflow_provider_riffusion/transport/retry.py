"""Decide when a GET is repeated, and after which pause."""

import logging
import math
import threading
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import tenacity

from airflow_provider_riffusion.exceptions import RiffusionApiError, RiffusionError, RiffusionRateLimitError

log = logging.getLogger(__name__)

ATTEMPTS = 5
MAX_BACKOFF_SECONDS = 30.0
MAX_RETRY_AFTER_SECONDS = 120.0
MAX_WAITING_SECONDS = 300.0


def retrying(attempts: int, aborted: threading.Event) -> tenacity.Retrying:
    """
    Return the policy for one GET.

    :param attempts: how often the GET is sent at most
    :param aborted: ends pauses and attempts when it is set
    """

    def log_pause(state: tenacity.RetryCallState) -> None:
        number, seconds, error = state.attempt_number, state.upcoming_sleep, state.outcome and state.outcome.exception()
        log.warning("Attempt %s of %s failed, next in %.1f s: %s", number, attempts, seconds, error)

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
