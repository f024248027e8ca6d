"""When a GET is repeated, after which pause, and when no more."""

from __future__ import annotations

import logging
import math
import threading
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import tenacity

from airflow_provider_riffusion.exceptions import (
    RiffusionApiError,
    RiffusionDownloadError,
    RiffusionError,
    RiffusionRateLimitError,
)

log = logging.getLogger(__name__)

ATTEMPTS = 5
#: Seconds.
MAX_BACKOFF = 30.0
MAX_RETRY_AFTER = 120.0
MAX_WAITING = 300.0


def retrying(attempts: int, aborted: threading.Event) -> tenacity.Retrying:
    """
    Make the policy for one GET.

    :param attempts: how often it is sent at most
    :param aborted: ends pauses and attempts when it is set
    """

    def log_pause(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning(
            "Attempt %s of %s failed, next in %.1f s: %s", state.attempt_number, attempts, state.upcoming_sleep, error
        )

    def pause(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked: float | None = getattr(error, "retry_after", None)
        # Four hundred tasks that were told the same second must not come back in the same millisecond.
        return backoff(state) if asked is None else asked + spread(state)

    backoff = tenacity.wait_random_exponential(multiplier=1, max=MAX_BACKOFF)
    spread = tenacity.wait_random(0, 1)
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_worth_repeating),
        wait=pause,
        stop=tenacity.stop_any(
            tenacity.stop_after_attempt(attempts), _WaitedEnough(), tenacity.stop_when_event_set(aborted)
        ),
        before_sleep=log_pause,
        sleep=tenacity.sleep_using_event(aborted),
        reraise=True,
    )


class _WaitedEnough(tenacity.stop.stop_base):
    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        return retry_state.idle_for + retry_state.upcoming_sleep > MAX_WAITING


def _is_worth_repeating(error: BaseException) -> bool:
    if not isinstance(error, RiffusionError) or not error.transient:
        return False
    if isinstance(error, RiffusionDownloadError) and (error.retry_after or 0) > MAX_RETRY_AFTER:
        return False
    if isinstance(error, RiffusionApiError) and (error.retry_after or 0) > MAX_RETRY_AFTER:
        raise RiffusionRateLimitError(
            f"{error} The server asks to wait {error.retry_after:.0f} s, longer than the {MAX_RETRY_AFTER:.0f} s that "
            "a task should sleep: let it be retried later.",
            http_status=error.http_status,
            code=error.code,
            api_message=error.message,
            request=error.request,
            retry_after=error.retry_after,
        )
    return True


def parse_retry_after(text: str | None) -> float | None:
    """Read Retry-After, seconds or an HTTP date (RFC 9110, 10.2.3); None when it is absent or makes no sense."""
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
    # Finite, because it travels in a trigger's event, as JSON.
    return None if math.isnan(seconds) else min(max(0.0, seconds), 1e9)
