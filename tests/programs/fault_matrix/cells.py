"""One cell: run an operation through a fault and note what happened."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tenacity
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSensorTimeout

from airflow_provider_riffusion.exceptions import RiffusionError
from airflow_provider_riffusion.transport import retry as retries
from tests.programs.fault_matrix.faults import FAULTS, Fault, with_variants
from tests.programs.fault_matrix.operations import OPERATIONS, Operation, Run, files_in, prepare_storage, storage_after
from tests.programs.fault_matrix.secrecy import LOG, leaks, logged, texts_of
from tests.programs.fault_matrix.world import NAMES, TOKEN, Certificates, World, world_of

_CONNECTION = "AIRFLOW_CONN_RIFFUSION_DEFAULT"
#: From here on a pause is one that the server asked for; the others are made short.
_LONG = 1.0


@dataclass(frozen=True, order=True)
class Key:
    """
    A cell's place.

    :param fault: row
    :param operation: column
    :param once: whether the fault strikes once, and the next request is good
    """

    fault: str
    operation: str
    once: bool

    def __str__(self) -> str:
        return f"{self.operation}: {self.fault}, {'once' if self.once else 'lasting'}"


@dataclass(frozen=True)
class Cell:
    """
    What happened.

    :param outcome: ``ok``, or the error's class without ``Riffusion`` and ``Error``
    :param requests: how many reached the servers; None: as many as there was time for
    :param end: ``retried`` by Airflow, ``at once`` failed for good, or empty
    :param storage: what is stored afterwards; empty for an operation that stores nothing
    :param pause: the shortest pause that was made because the server asked for it, seconds
    :param problems: what must not be in any cell
    """

    outcome: str
    requests: int | None
    end: str = ""
    storage: str = ""
    pause: float | None = None
    problems: tuple[str, ...] = ()

    @property
    def severity(self) -> tuple[int, bool, int]:
        ends = ("", "retried", "at once")
        return len(self.problems), self.outcome != "ok", ends.index(self.end)

    def __str__(self) -> str:
        requests = "polls on" if self.requests is None else str(self.requests)
        return ", ".join(filter(None, (self.outcome, requests, self.end)))


_PAUSES: list[float] = []


def set_up() -> None:
    """Make this process fit for cells: pauses are noted instead of made, names and log lines are ours."""
    retries.MAX_BACKOFF_SECONDS = 0.01
    setattr(tenacity, "sleep_using_event", lambda event: _PAUSES.append)  # noqa: B010  # mypy sees a class there
    NAMES.install()
    LOG.install()


def run_cell(key: Key, certificates: Certificates) -> Cell:
    """Run a cell; of a fault with variants, all of them, and return the worst."""
    fault, operation = FAULTS[key.fault], OPERATIONS[key.operation]
    if not fault.has_variants:
        return _run(fault, operation, key, certificates)
    fault, variants = with_variants(fault)
    cells = [_run(fault, operation, key, certificates)]
    for number in range(len(variants.found)):
        variants.chosen = number
        cells.append(_run(fault, operation, key, certificates))
    severity = max(cell.severity for cell in cells)
    worst = [cell for cell in cells if cell.severity == severity]
    return replace(
        max(worst, key=lambda cell: cell.requests or 0),
        outcome=" or ".join(sorted({cell.outcome for cell in worst})),
    )


def _run(fault: Fault, operation: Operation, key: Key, certificates: Certificates) -> Cell:
    audio = operation.stores if operation.stores in ("mp3", "wav") else "m4a"
    settings = {**operation.settings, **(fault.settings if operation.stores in ("mp3", "wav") else {})}
    # What asks for a pause is waited for, but not longer than the timeout; a create request is to be sent twice in it,
    # also on a busy machine, and a song that is waited for to be asked for alone.
    lasting = 0.6 if key.operation in ("create", "deferrable") else 0.15
    patience = 30.0 if key.once and "Retry-After" not in key.fault else 2.0 if key.once else lasting
    _PAUSES.clear()
    with (
        tempfile.TemporaryDirectory() as folder,
        world_of(
            fault,
            once=key.once,
            by_url=operation.by_url,
            settings=settings,
            audio=audio,
            certificates=certificates,
        ) as world,
    ):
        run = Run(world, Path(folder), patience)
        _connect(world, is_slow=fault.is_slow)
        prepare_storage(operation, run.folder)
        old = files_in(run.folder)
        with logged() as lines:
            cell, result, texts = _observe(operation, run)
        if key.operation == "create" and not key.once and cell.end == "retried" and (cell.requests or 0) > 1:
            cell = replace(cell, requests=None)
        # Before it is compared, so that a variant may leave a song or a stem out.
        problems = [] if fault.has_variants or cell.outcome != "ok" or operation.is_right(result) else ["wrong result"]
        if leaked := leaks(TOKEN, [*lines, *texts, *run.texts()]):
            problems += [f"the token shows: {text}" for text in leaked]
        # Only a refusal for lack of a slot makes it safe to ask again.
        if world.creates > 1 and not key.fault.startswith("429"):
            problems.append(f"{world.creates} create requests were sent")
        if any(b"authorization" in request.lower() for request in world.elsewhere.requests):
            problems.append("the token went to another server")
        storage = storage_after(operation, run, old, result)
        if operation.stores and not storage.startswith("new" if cell.outcome == "ok" else "old"):
            problems.append(f"in the storage after {cell.outcome}: {storage}")
        pauses = [pause for pause in _PAUSES if pause >= _LONG]
        return replace(
            cell,
            storage=storage,
            pause=min(pauses, default=None),
            problems=(*cell.problems, *problems),
        )


def _connect(world: World, *, is_slow: bool) -> None:
    seconds = 0.4 if is_slow else 20
    connection = {
        "conn_type": "riffusion",
        "host": world.url,
        "password": TOKEN,
        "extra": {"timeout": seconds, "low_speed_time": seconds, **world.extra},
    }
    os.environ[_CONNECTION] = json.dumps(connection)


def _observe(operation: Operation, run: Run) -> tuple[Cell, Any, list[str]]:
    try:
        result = operation.run(run)
    except Exception as error:
        return _failed(error, run), None, texts_of(error)
    texts = [repr(result), json.dumps(result, default=repr)]
    outcome = "ok" if not isinstance(result, tuple) or result[0] else "not ok"
    return Cell(outcome, run.world.requests, problems=_json_problems(result)), result, texts


def _json_problems(result: Any) -> tuple[str, ...]:
    try:
        json.dumps(result, allow_nan=False)
    except ValueError as error:
        return (f"the result is no JSON: {error}",)
    return ()


def _failed(error: Exception, run: Run) -> Cell:
    is_over = isinstance(error, AirflowFailException | AirflowSensorTimeout)
    is_timeout = isinstance(error, AirflowSensorTimeout)
    return Cell(
        type(error).__name__.removeprefix("Riffusion").removeprefix("Airflow").removesuffix("Error"),
        None if is_timeout else run.world.requests,
        "at once" if is_over else "retried",
        problems=() if isinstance(error, RiffusionError) or is_timeout else (f"{type(error).__name__}: {error}",),
    )
