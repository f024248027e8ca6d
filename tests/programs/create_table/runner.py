"""Run cells in several processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager

from tests.programs.create_table import cells
from tests.programs.create_table.cells import Cell, Key
from tests.programs.create_table.servers import PLAIN
from tests.support.process_pool import process_pool

#: More than there are processors, because a cell mostly waits.
_PROCESSES = 4


@contextmanager
def running(keys: Iterable[Key]) -> Iterator[Mapping[Key, Future[Cell]]]:
    """Run cells, one at a time in each process, and yield their results to be."""
    with process_pool(cells.__name__, _PROCESSES) as pool:
        yield {key: pool.submit(cells.run_cell, key) for key in keys}


def run(keys: Iterable[Key]) -> Mapping[Key, Cell]:
    """Run cells, and wait for all."""
    with running(keys) as started:
        return {key: future.result() for key, future in started.items()}


def telling_keys() -> list[Key]:
    """
    List the cells that differ in what follows.

    Of the plain API, one for each way and each of its outcomes with a store and without, the modes by turns; of each
    variant one, the ways and the outcomes by turns.
    """
    plain: dict[tuple[str, str, bool], list[Key]] = {}
    varied: dict[str, dict[str, list[Key]]] = {}
    for key in cells.all_keys():
        if key.variant == PLAIN:
            plain.setdefault((key.way, cells.expected(key), key.store == "none"), []).append(key)
        else:
            varied.setdefault(key.variant, {}).setdefault(key.way, []).append(key)
    keys = [same[turn % len(same)] for turn, same in enumerate(plain.values())]
    for first, ways in enumerate(varied.values()):
        way = list(ways.values())[first % len(ways)]
        keys.append(way[first * 3 % len(way)])
    return keys
