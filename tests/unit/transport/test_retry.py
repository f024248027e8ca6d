from __future__ import annotations

import pytest

from airflow_provider_riffusion.transport import retry as retries


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("3", 3),
        ("2.5", 2.5),
        ("-5", 0),
        ("1e9", 1e9),
        ("inf", 1e9),
        ("nan", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00", 0),
        ("Wed, 99 Oct 99999 07:28:00 GMT", None),
    ],
)
def test_retry_after_in_all_its_forms(text: str | None, seconds: float | None) -> None:
    assert retries.parse_retry_after(text) == seconds
