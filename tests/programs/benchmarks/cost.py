"""What a task costs beside its transfer: an execute without much of a file, and the import in a DAG file."""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from tests.programs.benchmarks.files import OURS, REQUESTS, ways
from tests.programs.benchmarks.rounds import Way, compare, in_process, tell
from tests.programs.benchmarks.servers import Servers
from tests.programs.benchmarks.table import Row, spread

_ROUNDS = 21
_IMPORTS = 5
_MODULES = ("airflow_provider_riffusion.operators.riffusion", "airflow.providers.http.operators.http")


def rows(servers: Servers) -> Iterator[Row]:
    """Measure what does not depend on the size of a file."""
    with tempfile.TemporaryDirectory() as folder:
        found = ways("local", servers.url, Path(folder))
        tiny: dict[str, Way] = {name: partial(found[name], "tiny") for name in (OURS, REQUESTS)}
        yield from compare("execute for 1 kB", tiny, {}, _ROUNDS)
    ours, its = zip(*([in_process("cost", module) for module in _MODULES] for _ in range(_IMPORTS)), strict=True)
    ratios = [mine / other for mine, other in zip(ours, its, strict=True)]
    beside = f"http provider's operators: {median(its) * 1000:.0f} ms"
    yield Row("import after airflow.sdk: CPU", f"{median(ours) * 1000:.0f} ms", beside, spread(ratios), "<= 20 ms")


def _measure(module: str) -> None:
    """Tell the CPU seconds of an import, in a process of its own."""
    from airflow.sdk import BaseOperator  # noqa: F401  # what every DAG file has paid for

    start = time.process_time()
    importlib.import_module(module)
    tell(time.process_time() - start)


if __name__ == "__main__":
    _measure(sys.argv[1])
