"""What all operators share: how their errors leave them."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import pytest

from airflow_provider_riffusion.exceptions import RiffusionPendingError, RiffusionStorageError
from airflow_provider_riffusion.tasks.base import RiffusionOperator


def deeply(error: Exception, depth: int = 30) -> None:
    if depth:
        deeply(error, depth - 1)
    try:
        raise OSError("disk full")
    except OSError as cause:
        raise error from cause


class Failing(RiffusionOperator):
    # As an operator of this provider.
    __module__ = "airflow_provider_riffusion.operators.failing"
    error: Exception

    def execute(self, context: Any) -> None:
        deeply(self.error)

    def execute_complete(self, context: Any, event: object = None) -> None:
        deeply(self.error)


@pytest.mark.parametrize("method", ["execute", "execute_complete"])
@pytest.mark.parametrize("error", [RiffusionPendingError("m", http_status=596), RiffusionStorageError("m")])
def test_an_error_that_tells_what_to_do_hides_it_below_no_frames(
    error: Exception, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    operator = Failing(task_id="failing")
    operator.error = error
    with caplog.at_level(logging.DEBUG), pytest.raises(type(error)) as caught:
        getattr(operator, method)({})
    assert caught.value is error
    assert isinstance(error.__cause__, OSError)
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert "deeply" not in names
    assert names[-1] == "wrapper"
    # Who looks for a bug of this provider finds the frames at DEBUG.
    assert "in deeply" in caplog.text


def test_an_error_that_explains_nothing_keeps_its_frames() -> None:
    operator = Failing(task_id="failing")
    operator.error = KeyError("a bug")
    with pytest.raises(KeyError) as caught:
        operator.execute({})
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "deeply"


def test_the_frames_of_a_users_subclass_stay() -> None:
    class Users(Failing):
        __module__ = "dags"

        def execute(self, context: Any) -> None:
            super().execute(context)

    operator = Users(task_id="failing")
    operator.error = RiffusionStorageError("m")
    with pytest.raises(RiffusionStorageError) as caught:
        operator.execute({})
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["execute", "wrapper"]
    assert "deeply" not in names
