"""Whatever Retry-After says: a number of seconds, or nothing."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion.transport.retry import parse_retry_after
from tests.support.strategies import (
    any_text,
)
from tests.unit.test_parameters_properties import time_texts, times


@given(text=any_text | time_texts | times.map(format_datetime) | st.floats().map(str) | st.integers().map(str))
@example(text="9" * 400)
@example(text="Mon, 01 Jan 0001 00:00:00 +2359")
def test_retry_after_is_absent_or_a_number_of_seconds(text: str) -> None:
    seconds = parse_retry_after(text)
    assert seconds is None or 0 <= seconds <= 1e9


@given(seconds=st.integers(0, 10**9), minutes=st.integers(-1439, 1439))
def test_retry_after_is_read_as_seconds_and_as_a_date(seconds: int, minutes: int) -> None:
    assert parse_retry_after(str(seconds)) == seconds
    date = datetime.now(timezone(timedelta(minutes=minutes))) + timedelta(seconds=seconds)
    found = parse_retry_after(format_datetime(date))
    # An hour for the time that has passed since.
    assert found is not None
    assert seconds - 3600 < found <= seconds
