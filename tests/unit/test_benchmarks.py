"""How the benchmarks take turns, and what their table shows."""

from __future__ import annotations

from functools import partial

from tests.programs.benchmarks.rounds import Way, compare
from tests.programs.benchmarks.table import Row, render, spread


def test_ways_take_turns_and_the_first_round_is_not_counted() -> None:
    done: list[str] = []
    ways: dict[str, Way] = {name: partial(done.append, name) for name in ("ours", "a", "b")}
    rows = list(compare("work", ways, {"a": "<= 1.10"}, 2))
    assert done == ["b", "a", "ours", "ours", "a", "b", "b", "a", "ours"]
    assert [(row.work, row.other.partition(":")[0], row.target) for row in rows] == [
        ("work", "a", "<= 1.10"),
        ("work", "b", ""),
    ]


def test_a_row_shows_the_median_and_the_range() -> None:
    assert spread([1.0, 3.0, 1.1]) == "1.10 (1.00 to 3.00)"
    assert render([Row("work", "1 s", "curl: 1 s", "1.00", "<= 1.10")]).splitlines() == [
        "| Work | This provider | Beside it | Ratio: median (range) | Target |",
        "| --- | --- | --- | --- | --- |",
        "| work | 1 s | curl: 1 s | 1.00 | <= 1.10 |",
    ]
