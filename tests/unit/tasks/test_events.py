from __future__ import annotations

import json

import pytest

from airflow_provider_riffusion import exceptions as errors
from airflow_provider_riffusion.tasks.events import songs_of_event


def test_events_survive_json() -> None:
    from airflow_provider_riffusion.tasks.events import event_of_error

    error = errors.RiffusionPendingError("m", http_status=596, code="c", api_message="a", request="r", retry_after=2.0)
    with pytest.raises(errors.RiffusionPendingError) as caught:
        songs_of_event(json.loads(json.dumps(event_of_error(error))))
    assert vars(caught.value) == vars(error)
    with pytest.raises(errors.RiffusionError, match="KeyError"):
        songs_of_event(json.loads(json.dumps(event_of_error(KeyError("x")))))
