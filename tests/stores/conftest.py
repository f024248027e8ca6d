"""Which stores to test, their servers, and a worker that downloads into them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest

from tests.stores.servers import CONN_ID, S3, AzureBlob, Bucket, GoogleCloudStorage, LocalFolder, Sftp, Store
from tests.support.worker import Worker, worker

FIGURES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stores", help="of local, s3, azure, gcs and sftp, divided by commas; by default a local folder")
    parser.addoption("--kills", default=2, type=int, help="how many downloads of each kind are killed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store" in metafunc.fixturenames:
        needs_bucket = "bucket" in metafunc.fixturenames
        # All tests with a server take minutes, so that without the option S3 stands in only where a folder cannot.
        names = (metafunc.config.getoption("stores") or ("s3" if needs_bucket else "local")).split(",")
        names = [name for name in names if not needs_bucket or name != "local"]
        metafunc.parametrize("store", names, indirect=True, scope="session")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if FIGURES in config.stash:
        terminalreporter.section("figures")
        for line in config.stash[FIGURES]:
            terminalreporter.line(line)


@pytest.fixture
def figure(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Print a line at the end of the run."""
    return pytestconfig.stash.setdefault(FIGURES, []).append


@pytest.fixture(scope="session")
def open_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Store]]:
    """
    Open a store by its name; it stays open for all tests of a process.

    Airflow keeps the file system of a connection, and with it the address of a server that must not be another's later.
    """
    with ExitStack() as stack:

        @cache
        def opened(name: str) -> Store:
            folder = tmp_path_factory.mktemp("store")
            match name:
                case "local":
                    return LocalFolder(folder)
                case "s3":
                    return S3(stack)
                case "azure":
                    return AzureBlob(stack, folder)
                case "gcs":
                    return GoogleCloudStorage(stack)
                case "sftp":
                    return Sftp(stack, folder)
            raise pytest.UsageError(f"--stores: there is no {name!r}; use local, s3, azure, gcs and sftp")

        yield opened


@pytest.fixture(scope="session")
def store(request: pytest.FixtureRequest, open_store: Callable[[str], Store]) -> Store:
    """A store with an empty bucket."""
    return open_store(request.param)


@pytest.fixture
def bucket(store: Store) -> Bucket:
    """A store that is a server."""
    return cast("Bucket", store)


@pytest.fixture
def connect_store(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Mapping[str, Any]], None]:
    """Set a connection: ``connect_store(conn_id, value)``."""

    def connect(conn_id: str, value: Mapping[str, Any]) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(value))

    return connect


@pytest.fixture(autouse=True)
def connections(
    request: pytest.FixtureRequest,
    connection: None,
    connect_store: Callable[[str, Mapping[str, Any]], None],
) -> None:
    """The connections of the emulator and of the store."""
    store = request.getfixturevalue("store") if "store" in request.fixturenames else None
    if store is not None and store.name != "local":
        connect_store(CONN_ID, store.connection(store.endpoint))


@pytest.fixture(autouse=True)
def spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for temporary files that no other process uses."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A folder of the bucket that no other test uses."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)


@pytest.fixture
def storage_path(store: Store, prefix: str) -> str:
    return f"{store.url()}/{prefix}"


@pytest.fixture(scope="session")
def downloads(store: Store) -> Iterator[Worker]:
    """A worker, which starts each download with the connections of the test."""
    with worker(*store.modules) as running:
        yield running
