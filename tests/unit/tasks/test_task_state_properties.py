"""Whatever an earlier try kept: a task takes it up, or ends with a documented error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion.exceptions import (
    RiffusionCreateUncertainError,
    RiffusionError,
)
from airflow_provider_riffusion.tasks.task_state import SavedCreate, TaskState
from airflow_provider_riffusion.useapi.prompts import is_song_id
from tests.support.strategies import (
    json_values,
    mutated,
    outcome,
    plain_text,
    song_ids,
)
from tests.unit.tasks.test_events_properties import through_json

creates = st.builds(
    SavedCreate,
    reference=plain_text,
    sent_at=st.floats(0, 4e9),
    ids=st.lists(song_ids, max_size=2),
    finished=st.lists(song_ids, max_size=2),
    digest=st.none() | plain_text,
    has_ended=st.booleans(),
)


class Store:
    """Airflow's, which keeps JSON."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self.values = dict(values or {})

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any) -> None:
        self.values[key] = through_json(value)

    def delete(self, key: str) -> None:
        del self.values[key]


def state_of(store: Store) -> TaskState:
    context: Any = {"task_state_store": store}
    return TaskState(context, retries=0)


@given(create=creates)
def test_a_state_is_read_as_it_was_kept(create: SavedCreate) -> None:
    store = Store()
    state_of(store).save(create)
    assert state_of(store).load() == create
    state_of(store).forget()
    assert store.values == {}


@given(create=mutated(creates.map(asdict)) | json_values)
@example(create={"reference": "r", "sent_at": 1.0, "ids": ["a"], "field_of_a_later_version": 1})
@example(create={"reference": "r", "sent_at": "soon", "ids": ["a"]})
@example(create={"reference": "r", "sent_at": 1e300})
@example(create={"ids": ["a"]})
def test_a_state_that_another_version_kept_never_pays_twice(create: Any) -> None:
    store = Store({"riffusion_create": create})
    found = outcome(state_of(store).load)
    if isinstance(found, RiffusionError):
        assert type(found) is RiffusionCreateUncertainError
        # So that clearing the task, which a human does after a look, creates.
        assert "riffusion_create" not in store.values
    elif found is None:
        assert create is None
    else:
        assert isinstance(found.reference, str)
        assert 0 <= found.sent_at < 1e11
        assert all(map(is_song_id, [*found.ids, *found.finished]))
