"""The name of the node on which this process runs; Airflow's ``hostname_callable``."""

from __future__ import annotations

import os

from tests.support.deployment import NAME_VARIABLE


def name() -> str:
    """Return the name of the process that the deployment has started, as if each had a machine of its own."""
    return os.environ[NAME_VARIABLE]
