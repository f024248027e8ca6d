"""
Run downloads as a worker does, each in a process forked from one that has everything imported, and kill some.

The forks come from a process of their own, because the tests' has threads, and forking such a process can end in a
deadlock. One such process serves all tests: to import Airflow and a provider anew takes seconds.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
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

    def start(self, *, run_id: str = "run", **parameters: Any) -> int:
        """
        Start a download with the environment that this process has now, and return the id of its process.

        :param run_id: the DAG run; a later download of the same run is the task's next try
        :param parameters: those of RiffusionDownloadOperator
        """
        return int(self._ask({"environment": dict(os.environ), "run_id": run_id, "parameters": parameters}))

    def end(self, pid: int) -> Ended:
        """
        Wait for a download.

        :param pid: what ``start`` returned
        """
        return Ended(*self._ask({"pid": pid}))

    def run(self, kill_after: float | None = None, **parameters: Any) -> Ended:
        """
        Start a download and wait for its end.

        :param kill_after: seconds until it gets SIGKILL
        :param parameters: those of ``start``
        """
        pid = self.start(**parameters)
        if kill_after is not None:
            time.sleep(kill_after)
            # Until it is waited for, no other process can have this id.
            os.kill(pid, signal.SIGKILL)
        return self.end(pid)

    def _ask(self, question: dict[str, Any]) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("started without pipes")
        print(json.dumps(question), file=self._process.stdin, flush=True)
        if not (line := self._process.stdout.readline()):
            raise RuntimeError("the worker is gone")
        return json.loads(line)


@contextmanager
def worker(*modules: str) -> Iterator[Worker]:
    """
    Start a worker.

    :param modules: what it imports before it forks
    """
    command = [sys.executable, "-m", "tests.support.worker", *modules]
    # The forks end without a word to coverage, so its tracer would only slow them down.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    with process:
        yield Worker(process)
        if process.stdin is not None:
            process.stdin.close()


def _download(run_id: str, parameters: dict[str, Any], peak: int) -> None:
    from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator

    context: Any = {"ti": SimpleNamespace(dag_id="songs", task_id="t", run_id=run_id, map_index=-1)}
    RiffusionDownloadOperator(task_id="t", **parameters).execute(context)
    # Not ru_maxrss, which a child inherits from the process that forked it.
    with Path("/proc/self/status").open() as status:
        high = next(line for line in status if line.startswith("VmHWM"))
    os.write(peak, high.split()[1].encode())


def _start(environment: dict[str, str], run_id: str, parameters: dict[str, Any]) -> tuple[int, int]:
    """Fork a download; return its process's id, and where to read its peak memory."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    # A download that hangs must not hang the tests.
    signal.alarm(120)
    faulthandler.dump_traceback_later(100)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = environment.get("TMPDIR")
    try:
        _download(run_id, parameters, writer)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _main(modules: list[str]) -> None:
    # Only answers go to the pipe; what an import or a download prints to standard output would be read as one.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    package = "airflow_provider_riffusion"
    for module in (f"{package}.hooks.riffusion", f"{package}.operators.riffusion", f"{package}.storage.manifest"):
        importlib.import_module(module)
    for module in modules:
        importlib.import_module(module)
    running: dict[int, tuple[float, int]] = {}
    for line in sys.stdin:
        question = json.loads(line)
        if "pid" not in question:
            started = time.monotonic()
            pid, reader = _start(**question)
            running[pid] = started, reader
            print(pid, file=answers, flush=True)
            continue
        started, reader = running.pop(question["pid"])
        _, status = os.waitpid(question["pid"], 0)
        seconds = time.monotonic() - started
        peak = os.read(reader, 100)
        os.close(reader)
        ended = [os.waitstatus_to_exitcode(status), seconds, int(peak) / 1024 if peak else None]
        print(json.dumps(ended), file=answers, flush=True)


if __name__ == "__main__":
    _main(sys.argv[1:])
