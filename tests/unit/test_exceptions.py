from __future__ import annotations

import pickle
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_riffusion import exceptions
from airflow_provider_riffusion.exceptions import (
    RiffusionApiError,
    RiffusionBatchError,
    RiffusionError,
    RiffusionStemsError,
)

ALL = [value for value in vars(exceptions).values() if isinstance(value, type) and issubclass(value, RiffusionError)]
FAIL_FAST = {
    "RiffusionConfigurationError",
    "RiffusionUnauthorizedError",
    "RiffusionSubscriptionError",
    "RiffusionModerationError",
    "RiffusionPendingError",
    "RiffusionTooLargeError",
    "RiffusionStemsError",
    "RiffusionFileExistsError",
    "RiffusionSongFailedError",
    "RiffusionCreateUncertainError",
    "RiffusionBatchFailedError",
}


def test_which_errors_end_a_task_at_its_first_try() -> None:
    assert {error.__name__ for error in ALL if issubclass(error, AirflowFailException)} == FAIL_FAST


@pytest.mark.parametrize("error_class", ALL)
def test_errors_survive_pickle_with_all_their_fields(error_class: type[RiffusionError]) -> None:
    fields: dict[str, Any] = {}
    if issubclass(error_class, RiffusionApiError):
        fields = {"http_status": 596, "code": "x", "api_message": "words", "request": "GET /", "retry_after": 2.0}
    elif issubclass(error_class, RiffusionStemsError):
        fields = {"raw_path": "/x"}
    elif issubclass(error_class, RiffusionBatchError):
        fields = {"song_ids": ("a", "b"), "manifest": "/x"}
    error = error_class("what happened", **fields)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is error_class
    assert str(copy) == "what happened"
    assert vars(copy) == vars(error)
    assert set(fields.values()) <= set(vars(copy).values())


def test_http_status_is_not_hidden_by_airflows_class_attribute() -> None:
    error = exceptions.RiffusionPendingError("x", http_status=596)
    assert error.http_status == 596
    assert AirflowException.status_code == 500, "the reason for the attribute's name is gone"
