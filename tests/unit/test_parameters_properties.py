"""Whatever a time looks like, it is read or it is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion.parameters import parse_time
from tests.support.strategies import (
    any_text,
)

times = st.datetimes(timezones=st.none() | st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))))


time_texts = times.map(datetime.isoformat) | times.map(lambda moment: moment.isoformat(" ")) | any_text


@given(moment=times)
def test_a_time_is_read_as_it_was_written(moment: datetime) -> None:
    expected = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    assert parse_time(moment) == parse_time(moment.isoformat()) == expected


@given(texts=st.lists(time_texts | st.none(), max_size=4))
@example(texts=["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_any_times_can_be_compared(texts: list[str | None]) -> None:
    found = [moment for text in texts if (moment := parse_time(text)) is not None]
    assert sorted(found) == sorted(found, key=datetime.timestamp)
