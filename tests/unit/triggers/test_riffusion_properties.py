"""A trigger survives its way through the database."""

from __future__ import annotations

from typing import Any

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
            "max_failures": st.none() | st.integers(1, 9),
            "cancel_on_kill": st.booleans(),
        }
    )
)
def test_a_trigger_is_made_again_from_what_it_serializes(arguments: dict[str, Any]) -> None:
    path, sent = RiffusionSongTrigger(**arguments).serialize()
    assert through_json(sent) == arguments
    assert RiffusionSongTrigger(**through_json(sent)).serialize() == (path, arguments)
