"""Memory of processes over time, and whether it grows."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

from tests.programs.soak.deployment import Deployment, descendants

_INTERVAL = 1.0
Samples = list[tuple[float, float]]


class MemoryWatch:
    """
    Notes what the long-lived processes of a deployment take, in a thread, while the block runs.

    :param deployment: the deployment
    """

    def __init__(self, deployment: Deployment) -> None:
        self._pids = {name: process.pid for name, process in deployment.processes.items()}
        #: Seconds and megabytes of each component, and of the largest process that each one has started.
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
            for name, pid in self._pids.items():
                self._note(name, now, [pid])
                self._note(f"{name}, largest child", now, descendants(pid))

    def _note(self, name: str, now: float, pids: list[int]) -> None:
        if sizes := [size for size in map(_resident_megabytes, pids) if size]:
            self.samples.setdefault(name, []).append((now, max(sizes)))


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
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
    return 0.0
