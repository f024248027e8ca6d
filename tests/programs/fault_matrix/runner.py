"""Run all cells, in several processes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from tests.programs.fault_matrix import cells
from tests.programs.fault_matrix.cells import Cell, Key
from tests.programs.fault_matrix.expectations import ALIASES, NOT_APPLICABLE, expected
from tests.programs.fault_matrix.faults import FAULTS
from tests.programs.fault_matrix.operations import OPERATIONS
from tests.programs.fault_matrix.world import Certificates
from tests.support.process_pool import process_pool

#: More than there are processors, because cells with a stall only wait.
_PROCESSES = 6
_TELLING_OPERATIONS = ("mp3", "urls", "poke", "create")


def all_keys() -> list[Key]:
    """List the cells that can be run."""
    return [
        Key(fault.name, name, once)
        for fault in FAULTS.values()
        for name in OPERATIONS
        for once in (False, True)
        if (fault.name, name) not in NOT_APPLICABLE
    ]


def telling_keys() -> list[Key]:
    """
    List the cells that differ in more than a number or a column.

    Every fault meets a download, a stem by URL, a poll and a create request. The other operations share their code with
    these, so each of them meets one fault for each way in which it can end. Where a fault that strikes once is expected
    to end as one that lasts, only the latter runs: it counts the requests, and so it shows a repetition, too.
    """
    ends: set[tuple[str, str | None, str | None]] = set()
    keys = []
    for key in all_keys():
        lasting, once = (expected(key.fault, key.operation, once=once) for once in (False, True))
        end = (key.operation, lasting, once)
        is_new = key.operation in _TELLING_OPERATIONS or end not in ends
        is_last = key.once or lasting == once
        if key.fault not in ALIASES and is_new and not (key.once and lasting == once):
            keys.append(key)
            if is_last:
                ends.add(end)
    return keys


@contextmanager
def running(keys: Iterable[Key]) -> Iterator[Mapping[Key, Future[Cell]]]:
    """
    Run cells, and yield their results to be.

    Each process runs one cell at a time, because what is replaced in it (the resolver, pauses, the log, the connection
    in the environment) is there only once.
    """
    with tempfile.TemporaryDirectory() as folder, process_pool(cells.__name__, _PROCESSES, cells.set_up) as pool:
        certificates = Certificates.make(Path(folder))
        yield {key: pool.submit(cells.run_cell, key, certificates) for key in keys}


def run(keys: Iterable[Key]) -> Mapping[Key, Cell]:
    """Run cells, and wait for all."""
    with running(keys) as started:
        return {key: future.result() for key, future in started.items()}
