"""Rehearse DAGs in tests: an Airflow connection that leads to the emulator."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

# The pytest plugin is imported at every start of pytest, so that the emulator is imported by whoever uses it.
if TYPE_CHECKING:
    from airflow_provider_riffusion.emulator import Emulator

__all__ = ["emulated_connection"]


@contextmanager
def emulated_connection(
    emulator: Emulator | None = None, conn_id: str = "riffusion_default", **extra: Any
) -> Iterator[Emulator]:
    """
    Let an Airflow connection lead to an emulator; afterwards the environment is as it was.

    The connection is one of this process's environment, which Airflow prefers to its database. Processes that are
    started inside the block inherit it.

    .. code-block:: python

        with emulated_connection(storage_path="/tmp/songs") as emulator:
            emulator.break_account("user-1")
            ...  # run a task, then look at emulator.requests

    :param emulator: a running emulator; None: one is started, and stopped afterwards
    :param conn_id: name of the connection
    :param extra: extras of the connection, such as ``storage_path`` or ``user_id``
    :return: the emulator
    """
    from airflow_provider_riffusion.emulator import Emulator

    with ExitStack() as stack:
        if emulator is None:
            emulator = stack.enter_context(Emulator())
        connection = {"conn_type": "riffusion", "host": emulator.url, "password": emulator.token, "extra": extra}
        stack.enter_context(_environment(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection, default=os.fspath)))
        # A proxy of the developer's network cannot reach this machine's loopback.
        others = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
        stack.enter_context(_environment("no_proxy", "*" if others.strip() == "*" else f"127.0.0.1,{others}"))
        yield emulator


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
