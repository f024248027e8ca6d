"""Tasks in processes of their own, each killed at a random moment, and tried again."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from airflow_provider_riffusion.emulator import Emulator
from tests.programs.create_table.cells import connected
from tests.programs.create_table.life import Life, Mode, StoreKind
from tests.support.creating import CREATE
from tests.support.task_state_store import Store

_GENERATION_SECONDS = 1.0
#: How long the struck request is held up, so that a kill can come meanwhile.
_STALL_SECONDS = 0.3
_MOMENTS = ("before", "during", "after")
_SIGNALS = (signal.SIGKILL, signal.SIGTERM)
_MODES: tuple[Mode, ...] = ("sync", "deferred")
_STORES: tuple[StoreKind, ...] = ("kept", "none")
#: A process that hangs must not hang the program.
_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Address:
    """Where a server listens, for another process."""

    url: str
    token: str


class FileStore(Store):
    """
    A store that outlives its process, as Airflow's does.

    :param path: where it is kept; each change is whole or is not there
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        if path.exists():
            self.values = json.loads(path.read_text())

    def set(self, key: str, value: Any) -> None:
        super().set(key, value)
        self._write()

    def delete(self, key: str) -> None:
        super().delete(key)
        self._write()

    def _write(self) -> None:
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self.values))
        part.replace(self._path)


def run(numbers: Iterable[int]) -> list[str]:
    """
    Kill some tasks, several at once, and return what is wrong.

    :param numbers: of the tasks; the same number gives the same moment, as far as a clock can
    """
    _context()
    with ThreadPoolExecutor(4) as pool:
        return [problem for problems in pool.map(random_kill, numbers) for problem in problems]


def random_kill(number: int) -> list[str]:
    """Start a task, kill it, let Airflow try again, and return what is wrong."""
    chance = random.Random(number)  # no secret
    moment, end = _MOMENTS[number % 3], _SIGNALS[number // 3 % 2]
    mode, kind = _MODES[number // 6 % 2], _STORES[number // 12 % 2]
    with tempfile.TemporaryDirectory() as folder, Emulator(songs=[], generation_seconds=_GENERATION_SECONDS) as api:
        path = Path(folder) / "store.json"
        if moment != "after":
            api.fault("stall", seconds=_STALL_SECONDS, times=1, path="scheduler" if moment == "before" else CREATE)
        process, answers = _start(api, mode, kind, path, 1)
        answers.recv()
        if moment != "before":
            _wait_for_create(api)
        span = _GENERATION_SECONDS if moment == "after" else _STALL_SECONDS
        time.sleep(chance.uniform(0, span))
        # Does nothing when the task has ended before.
        (process.kill if end is signal.SIGKILL else process.terminate)()
        result = _result_of(process, answers)
        kept = FileStore(path).get("riffusion_create") or {}
        for try_number in (2, 3):
            if result is None or result["how"] in ("killed", "retried"):
                process, answers = _start(api, mode, kind, path, try_number)
                answers.recv()
                result = _result_of(process, answers)
        return [
            f"kill {number} ({end.name} {moment} the send, {mode}, {kind}): {problem}"
            for problem in _problems(api, result, has_ids=bool(kept.get("ids")))
        ]


def _problems(api: Emulator, result: dict[str, Any] | None, *, has_ids: bool) -> list[str]:
    creates = api.accepted_creates
    problems = [f"{len(creates)} create requests were accepted"] if len(creates) > 1 else []
    if result is None:
        return [*problems, "no try has ended"]
    if result["how"] == "songs":
        is_right = bool(creates) and sorted(result["ids"]) == sorted(creates[0].song_ids)
        return problems if is_right else [*problems, f"returned {result['ids']}"]
    if has_ids or result["error"] != "RiffusionCreateUncertainError":
        problems.append(f"ended {result['how']}: {result['error']}")
    return problems


def _wait_for_create(api: Emulator) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while not api.accepted_creates and time.monotonic() < end:
        time.sleep(0.002)


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _start(api: Emulator, mode: Mode, kind: StoreKind, path: Path, try_number: int) -> tuple[Any, Connection]:
    context = _context()
    here, there = context.Pipe()
    process = context.Process(target=_try, args=(api.url, api.token, mode, kind, path, try_number, there))
    process.start()
    there.close()
    return process, here


def _result_of(process: Any, answers: Connection) -> dict[str, Any] | None:
    """Wait for a process, and return its answer; None when it was killed before."""
    try:
        result: dict[str, Any] | None = answers.recv() if answers.poll(_PATIENCE_SECONDS) else None
    except EOFError:
        result = None
    process.join(5)
    process.kill()
    process.join()
    answers.close()
    return result


def _try(url: str, token: str, mode: Mode, kind: StoreKind, path: Path, try_number: int, answers: Connection) -> None:
    """Run a try as the task's process does."""
    life = Life(mode, kind, try_number=try_number, store=FileStore(path))
    places = {"deferred": False}

    def stop(*_: object) -> None:
        if places["deferred"]:
            # No process runs the task now, and the triggerer that is told to stop ends its triggers.
            os._exit(1)
        if life.operator is not None:
            life.operator.on_kill()

    signal.signal(signal.SIGTERM, stop)
    with (
        connected(Address(url, token)),
        life.struck("deferred", lambda: places.update(deferred=True)),
        life.struck("reported", lambda: places.update(deferred=False)),
    ):
        answers.send("ready")
        end = life.run()
    answers.send({"how": end.how, "ids": list(end.ids), "error": type(end.error).__name__})
