"""What all tests share."""

from __future__ import annotations

import functools
import gc
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

import tests.support.environment  # noqa: F401  # for its effect, before Airflow is imported


@contextmanager
def untraced() -> Iterator[None]:
    """Measure no coverage meanwhile, because tracing doubles the time."""
    trace, thread_trace = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        yield
    finally:
        sys.settrace(trace)
        threading.settrace(thread_trace)


with untraced():
    # The largest part of what the tests import, and none of it is ours.
    import airflow.models.dag
    import airflow.sdk.execution_time.task_runner  # noqa: F401  # for the time that it takes

from airflow_provider_riffusion.emulator import Emulator  # noqa: E402  # after the untraced imports
from airflow_provider_riffusion.transport import retry as retries  # noqa: E402  # after the untraced imports

#: Folders and files.
UNTRACED = ("airflow", "docs", "stores", "test_create_table.py", "test_pay_once.py")
CONNECTION = "AIRFLOW_CONN_RIFFUSION_DEFAULT"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A running emulator."""
    with Emulator() as running:
        yield running


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the default connection: ``connect(url, token, extra=…)``."""

    def set_connection(url: str, token: str, **extra: Any) -> None:
        extra = {"timeout": 20, "low_speed_time": 10, **extra}
        value = {"conn_type": "riffusion", "host": url, "password": token, "extra": extra}
        monkeypatch.setenv(CONNECTION, json.dumps(value))

    return set_connection


@pytest.fixture
def connection(emulator: Emulator, connect: Callable[..., None]) -> None:
    """The default connection leads to the emulator, with limits that make a test short."""
    connect(emulator.url, emulator.token)


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not sleep between attempts; waits that a server asks for stay."""
    monkeypatch.setattr(retries, "MAX_BACKOFF_SECONDS", 0.01)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note the pauses between attempts, in seconds, instead of making them."""
    noted: list[float] = []
    monkeypatch.setattr("tenacity.sleep_using_event", lambda event: noted.append)
    return noted


@pytest.fixture
def short_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a moment, and not a minute, for another writer of a set."""
    monkeypatch.setattr("airflow_provider_riffusion.storage.local_folder._LOCK_SECONDS", 0.1)


@pytest.fixture(scope="module")
def untraced_processes() -> Iterator[None]:
    """Start processes without coverage's tracer: they end without a word to coverage, so it would only slow them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("COVERAGE_PROCESS")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """A migrated metadata database with the examples' pool."""
    from airflow.models import Pool
    from airflow.sdk.execution_time import supervisor
    from airflow.utils.db import initdb

    # Airflow 3.1 makes a server for each task, which takes seconds; 3.3 keeps one, too.
    supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)

    initdb()
    Pool.create_or_update_pool("riffusion", slots=4, description="", include_deferred=False)


def pytest_sessionstart() -> None:
    """Collect no garbage until all tests are collected, because there is none until then."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Keep what was imported and collected out of all later garbage collections, which take a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """
    Measure no coverage in tests that run only what others run too.

    pytest-cov's ``no_cover`` does nothing in the processes of pytest-xdist: two are started there, and it ends one.
    """
    is_untraced = item.path.name.endswith("_properties.py") or {item.path.name, item.path.parent.name} & set(UNTRACED)
    with untraced() if is_untraced else nullcontext():
        return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Keep the tests in one process that share what takes long to make."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
        """Like pytest-xdist's own groups, which do nothing with pytest 9.2: it has no ``_nodeid`` that they set."""

        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Groups(config, log)


def group_of(nodeid: str) -> str:
    """Return the group of a test; most tests are alone in theirs."""
    path, _, name = nodeid.partition("::")
    if path.startswith(("tests/airflow/", "tests/pages/")) or path == "tests/stores/test_dags.py":
        # Each process makes a database of its own, which takes longer than it gains.
        return "Airflow's database"
    if path.startswith("tests/stores/") and (store := re.search(r"\[(local|s3|azure|gcs|sftp)\b", name)):
        return f"the store {store[1]} and its worker"
    if path in ("tests/integration/test_fault_matrix.py", "tests/integration/test_create_table.py"):
        return "the processes of the tables"
    return nodeid
