"""Creating songs on an API that was written apart from the emulator, so that nothing passes only because of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.creating import prompt_operator
from tests.support.other_api import other_api

pytestmark = pytest.mark.usefixtures("no_backoff")

VARIANTS: list[dict[str, Any]] = [
    {},
    {"names": "jobs"},
    {"names": "jobs", "shows": "when done", "unknown": "empty list"},
    {"names": "songs"},
    {"names": "both", "takes_job_ids": False},
    {"shows": "when done"},
    {"shows": "by job"},
    {"shows": "when done", "late_seconds": 0.2},
    {"late_seconds": 0.2, "unknown": "404 of a proxy"},
    {"late_seconds": 0.2, "unknown": "empty list"},
    {"apart_seconds": 0.03},
    {"shows": "when done", "apart_seconds": 0.2, "names": "both"},
]


@pytest.mark.parametrize("switches", VARIANTS, ids=lambda switches: ", ".join(map(str, switches.items())) or "plain")
def test_a_create_pays_once_and_returns_both_songs(connect: Callable[..., None], switches: dict[str, Any]) -> None:
    with other_api(**switches) as api:
        connect(api.url, api.token)
        assert sorted(prompt_operator(timeout=10).execute({})) == ["1-0", "1-1"]
    assert [create["prompt"] for create in api.creates] == ["a song about testing"]
