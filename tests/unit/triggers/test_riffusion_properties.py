"""A trigger survives its way through the database."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_riffusion.triggers.riffusion import RiffusionSongTrigger
from tests.support.strategies import (
    plain_text,
    song_ids,
)
from tests.unit.tasks.test_events_properties import through_json


@given(
    arguments=st.fixed_dictionaries(
        {
            "ids": st.lists(song_ids, min_size=1, max_size=3),
            "riffusion_conn_id": plain_text,
            "user_id": st.none() | plain_text,
            "poll_interval": st.floats(0, 1e9),
            "deadline": st.floats(0, 1e12),
            "is_tolerant": st.booleans(),
            "cancel_on_kill": st.booleans(),
        }
    )
)
def test_a_trigger_is_made_again_from_what_it_serializes(arguments: dict[str, Any]) -> None:
    path, sent = RiffusionSongTrigger(**arguments).serialize()
    assert through_json(sent) == arguments
    assert RiffusionSongTrigger(**through_json(sent)).serialize() == (path, arguments)


@pytest.mark.parametrize(("max_failures", "is_tolerant"), [(5, False), (None, True)])
def test_a_trigger_of_version_0_1_0_goes_on(max_failures: int | None, is_tolerant: bool) -> None:
    trigger = RiffusionSongTrigger(
        ids=["a"],
        riffusion_conn_id="c",
        user_id=None,
        poll_interval=1,
        deadline=1,
        max_failures=max_failures,
        cancel_on_kill=True,
    )
    assert trigger.serialize()[1]["is_tolerant"] is is_tolerant
