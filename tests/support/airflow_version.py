"""Which version of Airflow the tests run on."""

from __future__ import annotations

from importlib import metadata

import pytest
from packaging.version import Version

AIRFLOW = Version(metadata.version("apache-airflow-core"))


def needs_airflow(version: str, what: str) -> pytest.MarkDecorator:
    """
    Skip a test on an older Airflow.

    :param version: the first that can run it
    :param what: what that version is the first to do
    """
    return pytest.mark.skipif(Version(version) > AIRFLOW, reason=f"Airflow {version} is the first that {what}")
