"""Every operation through every fault, each cell compared with what was written down before; and the page."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.programs.fault_matrix import expectations, page, runner
from tests.programs.fault_matrix.cells import Cell, Key
from tests.programs.fault_matrix.faults import FAULTS, GROUPS
from tests.programs.fault_matrix.operations import OLD, OPERATIONS, files_in, prepare_storage
from tests.programs.fault_matrix.secrecy import Log, leaks
from tests.programs.fault_matrix.world import SONG, TOKEN


@pytest.fixture(scope="module")
def started(untraced_processes: None) -> Iterator[Mapping[Key, Future[Cell]]]:
    """The cells, being run in the order of the tests."""
    with runner.running(runner.telling_keys()) as futures:
        yield futures


@pytest.mark.parametrize("key", runner.telling_keys(), ids=str)
def test_an_operation_ends_as_expected(started: Mapping[Key, Future[Cell]], key: Key) -> None:
    assert expectations.differences(key, started[key].result()) == []


def test_the_page_says_what_is_expected() -> None:
    """Each cell that ran is as expected, so the page that a whole run wrote holds for this run, too."""
    results = {key: expectations.expected_cell(key) for key in runner.all_keys()}
    assert page.tables(results) in page.PATH.read_text(), "run `make reliability`, and read what it changes"
    assert page.unknown_names(results) == set()


def test_the_telling_cells_are_of_every_rule_and_operation() -> None:
    keys = runner.telling_keys()
    assert {key.operation for key in keys} == set(OPERATIONS)
    for fault, other in expectations.ALIASES.items():
        assert expectations.EXPECTED[fault] == expectations.EXPECTED[other]
        assert other not in expectations.ALIASES
    assert len(keys) < 600
    run = {(key.operation, expectations.expected(key.fault, key.operation, once=key.once)) for key in keys}
    for key in runner.all_keys():
        assert (key.operation, expectations.expected(key.fault, key.operation, once=key.once)) in run
    for fault in set(FAULTS) - set(expectations.ALIASES):
        assert {"mp3", "poke", "create"} <= {key.operation for key in keys if key.fault == fault}


def test_no_cell_is_left_out() -> None:
    keys = set(runner.all_keys())
    for fault in FAULTS:
        for operation in OPERATIONS:
            is_run = {Key(fault, operation, once) in keys for once in (False, True)}
            assert is_run == {(fault, operation) not in expectations.NOT_APPLICABLE}
            has_expectation = expectations.expected(fault, operation, once=False) is not None
            assert is_run == {has_expectation}, f"{operation}: {fault}"
    assert expectations.EXPECTED.keys() == FAULTS.keys()
    assert {fault.group for fault in FAULTS.values()} == set(GROUPS)
    assert {fault for fault, _ in expectations.NOT_APPLICABLE} <= FAULTS.keys()


# --- what finds faults can find them


@pytest.mark.parametrize(
    "cell",
    [
        Cell("ok", 2, storage="new"),
        Cell("Server", 4, "retried", "old"),
        Cell("Server", 5, "at once", "old"),
        Cell("Server", 5, "retried", "new"),
        Cell("Server", 5, "retried", "old", pause=3.0),
        Cell("Server", 5, "retried", "old", problems=("the token shows",)),
    ],
    ids=str,
)
def test_a_wrong_cell_is_found(cell: Cell) -> None:
    key = Key("500", "mp3", once=False)
    assert expectations.differences(key, Cell("Server", 5, "retried", "old")) == []
    assert expectations.differences(key, cell) != []


def test_a_pause_that_is_too_short_is_found() -> None:
    key = Key("429, Retry-After: 3", "list", once=False)
    assert expectations.differences(key, Cell("RateLimit", 5, "retried", pause=3.5)) == []
    assert expectations.differences(key, Cell("RateLimit", 5, "retried", pause=1.0)) != []
    assert expectations.differences(key, Cell("RateLimit", 5, "retried")) != []


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"Authorization: Bearer {TOKEN}",
        TOKEN.replace(":", "%3A"),
        TOKEN[2:14],
        base64.b64encode(TOKEN.encode()).decode(),
        base64.b64encode(f"Bearer {TOKEN}".encode()).decode(),
        base64.b64encode(f"x {TOKEN}".encode()).decode(),
    ],
)
def test_a_token_is_found_in_every_form(text: str) -> None:
    assert leaks(TOKEN, ["nothing", f"before {text} after"]) != []
    assert leaks(TOKEN, ["user: a canary bird of 7319"]) == []


def test_a_token_is_found_in_a_log_line() -> None:
    log = Log()
    log.handle(logging.LogRecord("any", logging.DEBUG, "file", 1, "sent %s", (TOKEN,), None))
    assert leaks(TOKEN, log.lines) != []


@pytest.mark.parametrize("operation", ["mp3", "stems"])
def test_hidden_files_and_empty_folders_count_as_files(tmp_path: Path, operation: str) -> None:
    prepare_storage(OPERATIONS[operation], tmp_path)
    old = files_in(tmp_path)
    assert OLD in old.values()
    (tmp_path / f".{SONG}.part").mkdir()
    assert files_in(tmp_path) == {**old, f".{SONG}.part": b""}
