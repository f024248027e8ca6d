"""Memory of processes over time, and whether it grows."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

from tests.support.processes import descendants

_INTERVAL = 1.0
Samples = list[tuple[float, float]]


class MemoryWatch:
    """
    Notes what long-lived processes take, in a thread, while the block runs.

    :param processes: the processes by their names; it may change meanwhile
    """

    def __init__(self, processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
        self._processes = processes
        #: Seconds and megabytes of each process, of the largest one that each has started, and of these all together.
        self.samples: dict[str, Samples] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_INTERVAL):
            now = time.time()
            for name, process in tuple(self._processes.items()):
                children = descendants(process.pid)
                self._note(name, now, _resident_megabytes(process.pid))
                self._note(f"{name}, largest child", now, max(map(_resident_megabytes, children), default=0))
                self._note(f"{name}, with all children", now, sum(map(_own_megabytes, [process.pid, *children])))

    def _note(self, name: str, now: float, megabytes: float) -> None:
        if megabytes:
            self.samples.setdefault(name, []).append((now, megabytes))


def read_peaks(path: Path) -> Samples:
    """Read the peaks that the tasks of the soak noted: seconds and megabytes."""
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted((float(when), int(kilobytes) / 1024) for when, kilobytes in map(str.split, lines))


def fifths(samples: Samples) -> tuple[float, float]:
    """Return the medians of the first and of the last fifth of some samples."""
    sizes = [size for _, size in samples]
    share = max(1, len(sizes) // 5)
    return median(sizes[:share]), median(sizes[-share:])


def _resident_megabytes(pid: int) -> float:
    return _megabytes(Path(f"/proc/{pid}/status"), "VmRSS:")


def _own_megabytes(pid: int) -> float:
    """Return the memory of a process in which each page that several processes share counts in parts."""
    return _megabytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")


def _megabytes(path: Path, name: str) -> float:
    with suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    return 0.0
