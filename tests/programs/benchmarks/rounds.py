"""Time ways to do the same work, in alternation, and run measurements in processes of their own."""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.programs.benchmarks.table import Row, spread

Way = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """
    What one way took in each round.

    :param seconds: by the clock
    :param cpu_seconds: of this process and of the processes that it has started
    """

    seconds: list[float]
    cpu_seconds: list[float]

    def __str__(self) -> str:
        return f"{median(self.seconds):.3f} s ({median(self.cpu_seconds):.2f})"


def alternate(ways: dict[str, Way], rounds: int) -> dict[str, Times]:
    """
    Run each way once in each round, after a round that is not counted.

    :param ways: by name
    :param rounds: how many
    """
    times = {name: Times([], []) for name in ways}
    for number in range(rounds + 1):
        # Whoever comes first in a round finds other caches than the rest, so the order changes.
        for name in [*ways] if number % 2 else [*reversed(ways)]:
            # Otherwise a collection of all of Airflow's objects hits the same way in every round.
            gc.collect()
            seconds, cpu_seconds = _timed(ways[name])
            if number:
                times[name].seconds.append(seconds)
                times[name].cpu_seconds.append(cpu_seconds)
    return times


def compare(work: str, ways: dict[str, Way], targets: Mapping[str, str], rounds: int) -> Iterator[Row]:
    """
    Yield a row for each pair of the first way, which is ours, and another one.

    :param work: what they do
    :param ways: by name
    :param targets: what the ratio should be, by the name of the other way
    :param rounds: how many
    """
    (_, ours), *others = alternate(ways, rounds).items()
    for name, other in others:
        ratios = [mine / its for mine, its in zip(ours.seconds, other.seconds, strict=True)]
        cpu = f"CPU {median(ours.cpu_seconds) / median(other.cpu_seconds):.2f}"
        yield Row(work, str(ours), f"{name}: {other}", f"{spread(ratios)}; {cpu}", targets.get(name, ""))


def in_process(module: str, *arguments: object) -> Any:
    """
    Run a module of this package in a new process, and return what it gives to ``tell``.

    :param module: its last name
    :param arguments: its command line
    """
    command = [sys.executable, "-m", f"tests.programs.benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.rpartition("RESULT")[2])


def tell(result: object) -> None:
    """Give a result to the process that called ``in_process``."""
    print("RESULT", json.dumps(result))


def _timed(way: Way) -> tuple[float, float]:
    cpu_start, start = _cpu_seconds(), time.perf_counter()
    way()
    return time.perf_counter() - start, _cpu_seconds() - cpu_start


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
