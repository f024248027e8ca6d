"""What a create request costs when a try ends early: a cell for each outcome, and the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace

import pytest

from tests.programs.create_table import cells, kills, page, runner, ways
from tests.programs.create_table.cells import Cell, Key
from tests.programs.create_table.servers import VARIANTS

#: Of every moment, both signals and both modes, with and without a store.
_KILLS = (1, 3, 8, 10, 17)


@pytest.fixture(scope="module")
def started(untraced_processes: None) -> Iterator[Mapping[Key, Future[Cell]]]:
    """The cells, being run in the order of the tests."""
    with runner.running(runner.telling_keys()) as futures:
        yield futures


@pytest.mark.parametrize("key", runner.telling_keys(), ids=str)
def test_the_next_try_does_what_the_rules_say(started: Mapping[Key, Future[Cell]], key: Key) -> None:
    assert cells.differences(key, started[key].result()) == []


def test_a_task_that_is_really_killed_pays_once() -> None:
    assert kills.run(_KILLS) == []


def test_the_page_says_what_is_expected() -> None:
    """Each cell that ran is as expected, so the page that a whole run wrote holds for this run, too."""
    results = {key: Cell(cells.expected(key)) for key in cells.all_keys()}
    assert page.table(results) in page.PATH.read_text(), "run `make reliability`, and read what it changes"


def test_the_telling_cells_are_of_every_way_and_outcome_and_variant() -> None:
    keys = runner.telling_keys()
    for way in ways.WAYS:
        assert {cells.expected(key) for key in keys if key.way == way.name} == set(way.follows) & set(ways.WORDS)
    assert {key.variant for key in keys} == set(VARIANTS)
    assert {key.mode for key in keys} == {"sync", "deferred"}
    assert {(key.following, key.store) for key in keys} == set(ways.COLUMNS)


def test_no_row_lets_a_retry_pay_again() -> None:
    for way in ways.WAYS:
        for (following, _), word in zip(ways.COLUMNS, way.follows, strict=True):
            assert following == "clear" or word not in (ways.NEW, ways.AGAIN), way.name


def test_only_what_the_docs_name_pays_again() -> None:
    named = [way.name for way in ways.WAYS if ways.AGAIN in way.follows]
    assert all("cancel_on_kill" in name or "reply_ref" in name for name in named), named


def test_a_wrong_cell_is_found() -> None:
    key = next(iter(runner.telling_keys()))
    right = Cell(cells.expected(key))
    assert cells.differences(key, right) == []
    assert cells.differences(key, replace(right, word=ways.NEW)) != []
    assert cells.differences(key, replace(right, problems=("one try has paid 2 times",))) != []
