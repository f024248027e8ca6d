"""
Run downloads as a worker does, each in a process forked from one that has everything imported, and kill some.

A process of its own, because the tests' has threads, and forking such a process can end in a deadlock.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any


@dataclass(frozen=True)
class Ended:
    """
    How a download ended.

    :param code: exit code; negative for a signal
    :param seconds: how long it ran
    :param peak_megabytes: most memory that the process had, None when it was killed
    """

    code: int
    seconds: float
    peak_megabytes: float | None


class Worker:
    """The forking process, from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, kill_after: float | None = None, **parameters: Any) -> None:
        """
        Start a download.

        :param kill_after: seconds until it gets SIGKILL
        :param parameters: those of RiffusionDownloadOperator
        """
        if self._process.stdin is None:
            raise RuntimeError("started without a pipe")
        print(json.dumps([kill_after, parameters]), file=self._process.stdin, flush=True)

    def end(self) -> Ended:
        """Wait for the download that was started."""
        if self._process.stdout is None or not (line := self._process.stdout.readline()):
            raise RuntimeError("the worker is gone")
        return Ended(*json.loads(line))

    def run(self, kill_after: float | None = None, **parameters: Any) -> Ended:
        """Start a download and wait for its end."""
        self.start(kill_after, **parameters)
        return self.end()


@contextmanager
def worker(*modules: str) -> Iterator[Worker]:
    """
    Start a worker.

    :param modules: what it imports before it forks
    """
    command = [sys.executable, "-m", "tests.stores.worker", *modules]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        yield Worker(process)
        if process.stdin is not None:
            process.stdin.close()


def _download(parameters: dict[str, Any], peak: int) -> None:
    from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator

    # One task instance for each worker, so that its next download is the next try.
    ti = SimpleNamespace(dag_id="songs", task_id="t", run_id=str(os.getppid()), map_index=-1)
    RiffusionDownloadOperator(task_id="t", **parameters).execute({"ti": ti})
    # Not ru_maxrss, which a child inherits from the process that forked it.
    with Path("/proc/self/status").open() as status:
        high = next(line for line in status if line.startswith("VmHWM"))
    os.write(peak, high.split()[1].encode())


def _main(modules: list[str]) -> None:
    for module in (
        "airflow_provider_riffusion.hooks.riffusion",
        "airflow_provider_riffusion.storage.manifest",
        *modules,
    ):
        importlib.import_module(module)
    # Imports every provider, so do that once.
    importlib.import_module("airflow.providers.common.compat.sdk").get_hook_lineage_collector()
    for line in sys.stdin:
        kill_after, parameters = json.loads(line)
        reader, writer = os.pipe()
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            # A download that hangs must not hang the tests.
            signal.alarm(120)
            faulthandler.dump_traceback_later(100)
            os.dup2(2, 1)
            try:
                _download(parameters, writer)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(writer)
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        peak = os.read(reader, 100)
        os.close(reader)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps([code, time.monotonic() - started, int(peak) / 1024 if peak else None]), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1:])
