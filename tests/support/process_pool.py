"""A pool of processes that import a module once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def process_pool(
    module: str, size: int, initializer: Callable[[], None] | None = None
) -> Iterator[ProcessPoolExecutor]:
    """
    Run processes; what has not started at the end of the block never starts.

    They are not forked from here, where threads may hold locks, but from a process that has imported the module.

    :param module: the module whose functions they run
    :param size: how many run at the same time
    :param initializer: what each of them does first
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    pool = ProcessPoolExecutor(size, context, initializer=initializer)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
