"""Run all cells, in several processes."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.programs.fault_matrix import cells
from tests.programs.fault_matrix.cells import Cell, Key
from tests.programs.fault_matrix.expectations import NOT_APPLICABLE
from tests.programs.fault_matrix.faults import FAULTS
from tests.programs.fault_matrix.operations import OPERATIONS
from tests.programs.fault_matrix.world import Certificates

#: More than there are processors, because cells with a stall only wait.
_PROCESSES = 6


def all_keys() -> list[Key]:
    """List the cells that can be run."""
    return [
        Key(fault.name, name, once)
        for fault in FAULTS.values()
        for name in OPERATIONS
        for once in (False, True)
        if (fault.name, name) not in NOT_APPLICABLE
    ]


@contextmanager
def running(keys: Iterable[Key]) -> Iterator[Mapping[Key, Future[Cell]]]:
    """
    Run cells, and yield their results to be.

    Each process runs one cell at a time, because what is replaced in it (the resolver, pauses, the log, the connection
    in the environment) is there only once.
    """
    with tempfile.TemporaryDirectory() as folder:
        certificates = Certificates.make(Path(folder))
        # Not forked from here, where threads may hold locks.
        context = multiprocessing.get_context("forkserver")
        pool = ProcessPoolExecutor(_PROCESSES, context, initializer=cells.set_up)
        try:
            yield {key: pool.submit(cells.run_cell, key, certificates) for key in keys}
        finally:
            pool.shutdown(cancel_futures=True)


def run(keys: Iterable[Key]) -> Mapping[Key, Cell]:
    """Run cells, and wait for all."""
    with running(keys) as started:
        return {key: future.result() for key, future in started.items()}
