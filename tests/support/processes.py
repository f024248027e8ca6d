"""Processes that a program starts, and whatever these start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):
            for child in map(int, (thread / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and was not waited for does not."""
    with suppress(OSError):
        return _status_fields(pid)[0] != "Z"
    return False


def processor_seconds() -> float:
    """Return what all processes that this one has started, and those that they have, have taken of the processors."""
    ticks = 0
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            # User and system time, of the process and of its children that have ended.
            ticks += sum(map(int, _status_fields(pid)[11:15]))
    ended = os.times()
    return ticks / os.sysconf("SC_CLK_TCK") + ended.children_user + ended.children_system


def freeze(process: subprocess.Popen[bytes]) -> set[int]:
    """Stop a process and whatever it has started, until SIGCONT, and return their ids."""
    frozen: set[int] = set()
    # Frozen processes start no others while these are looked for.
    while found := {process.pid, *descendants(process.pid)} - frozen:
        send_signal(found, signal.SIGSTOP)
        frozen |= found
    return frozen


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and whatever it has started, at once and without a word, as a machine dies."""
    send_signal(freeze(process), signal.SIGKILL)
    process.wait()


def end(processes: Collection[subprocess.Popen[bytes]], seconds: float) -> None:
    """
    End processes that lead groups of their own, these groups, and whatever they have started.

    :param processes: the processes
    :param seconds: how long they have between SIGTERM and SIGKILL
    """
    started = [process.pid for process in processes]
    alive = [*started, *(pid for parent in started for pid in descendants(parent))]
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while any(map(is_alive, alive)) and time.monotonic() < deadline:
        for process in processes:
            process.poll()
        time.sleep(0.1)
    send_signal(filter(is_alive, alive), signal.SIGKILL)
    for process in processes:
        process.wait()


def send_signal(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to those of the processes that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _status_fields(pid: int) -> list[str]:
    # Behind the name, which may hold spaces and brackets.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
