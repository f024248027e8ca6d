"""What RiffusionRetryPolicy decides."""

from __future__ import annotations

import importlib
import sys
from datetime import timedelta

import pytest

from airflow_provider_riffusion.exceptions import RiffusionConnectionError, RiffusionDownloadError, RiffusionServerError
from tests.support.airflow_version import needs_airflow

MODULE = "airflow_provider_riffusion.retry_policy"
needs_policies = needs_airflow("3.3", "has retry policies")


@needs_policies
@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (RiffusionServerError("503", retry_after=0.0), 0),
        (RiffusionServerError("503", retry_after=3600.0), 3600),
        (RiffusionDownloadError("503 of the audio's server", retry_after=7.5), 7.5),
        (RiffusionServerError("503", retry_after=1e9), 24 * 3600),
        (RiffusionServerError("503"), None),
        (RiffusionConnectionError("no response"), None),
        (ValueError("not ours"), None),
    ],
    ids=str,
)
def test_only_the_servers_pause_changes_when_a_task_is_tried_again(error: Exception, seconds: float | None) -> None:
    from airflow_provider_riffusion.retry_policy import RiffusionRetryPolicy

    decision = RiffusionRetryPolicy().evaluate(error, 1, 3)
    assert decision.action.value == ("default" if seconds is None else "retry")
    assert decision.retry_delay == (None if seconds is None else timedelta(seconds=seconds))


def test_an_airflow_without_retry_policies_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    # None is what makes an import fail; Airflow's names are looked up in the module at each import.
    monkeypatch.setitem(sys.modules, "airflow.sdk.definitions.retry_policy", None)
    for name in ("RetryDecision", "RetryPolicy"):
        monkeypatch.delitem(vars(sys.modules["airflow.sdk"]), name, raising=False)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with pytest.raises(ImportError) as raised:
        importlib.import_module(MODULE)
    wrong, remedy = str(raised.value).splitlines()
    assert "needs Airflow 3.3" in wrong
    assert "retry_delay" in remedy
