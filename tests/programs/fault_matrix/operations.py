"""The columns: each operation as Airflow runs it, and what it leaves behind."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from airflow_provider_riffusion.operators.riffusion import (
    RiffusionCreatePromptOperator,
    RiffusionDownloadOperator,
    RiffusionListSongsOperator,
)
from airflow_provider_riffusion.sensors.riffusion import RiffusionAccountSensor, RiffusionSongSensor
from airflow_provider_riffusion.triggers.riffusion import RiffusionSongTrigger, defer
from tests.programs.fault_matrix.world import OTHER_SONG, SONG, World
from tests.support.task_state_store import Store

try:
    # Missing or untyped, by the version of Airflow.
    from airflow.sdk.exceptions import AirflowRescheduleException  # type: ignore[attr-defined, unused-ignore]  # see above
except ImportError:  # Airflow 3.1
    from airflow.exceptions import AirflowRescheduleException

MAX_BYTES = 2**22
_POLL = 0.01
#: Seconds between two looks of a triggerer; a song is asked for alone meanwhile, also on a busy machine.
_LOOK = 1.0
OLD = b"the older file"


class TaskInstance:
    """What a task instance has to do with these operations."""

    dag_id, task_id, run_id, map_index, max_tries = "songs", "operation", "run", -1, 3

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}
        self._start = datetime.now(UTC)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def get_first_reschedule_date(self, context: Any) -> datetime:
        return self._start


@dataclass
class Run:
    """
    One run of an operation, and all that it shows to anyone.

    :param world: what it meets
    :param folder: where it stores
    :param patience: a sensor's timeout, seconds
    """

    world: World
    folder: Path
    patience: float
    ti: TaskInstance = field(default_factory=TaskInstance)
    store: Store = field(default_factory=Store)
    shown: list[object] = field(default_factory=list)
    hooks: list[RiffusionHook] = field(default_factory=list)

    @property
    def context(self) -> Any:
        return {"ti": self.ti, "task_state_store": self.store}

    def start(self, task: Any) -> Any:
        """Remember an operator or sensor, and return it."""
        self.hooks.append(task.hook)
        self.shown.append(task)
        return task

    def texts(self) -> list[str]:
        """Return all that anyone can see of the operation."""
        texts = [json.dumps(self.ti.pushed), json.dumps(self.store.values)]
        for thing in self.shown:
            texts += [repr(thing), str(thing), repr(vars(thing)) if hasattr(thing, "__dict__") else ""]
            texts += [repr(getattr(thing, name)) for name in getattr(thing, "template_fields", ())]
        for hook in self.hooks:
            texts += [repr(hook), repr(vars(hook)), repr(hook.settings), str(hook.settings)]
        return texts


def _download(run: Run, download_format: str) -> Any:
    operator = RiffusionDownloadOperator(
        task_id="download",
        song_id=SONG,
        download_format=download_format,
        storage_path=str(run.folder),
        max_bytes=MAX_BYTES,
    )
    return run.start(operator).execute(run.context)


def _create(run: Run) -> Any:
    operator = RiffusionCreatePromptOperator(
        task_id="create",
        prompt="a song about faults",
        wait_for_completion=False,
        poll_interval=_POLL,
        timeout=run.patience,
    )
    # Without the names of a task instance, no job list is read before the create request, which the fault must strike.
    return run.start(operator).execute(run.context | {"ti": SimpleNamespace(max_tries=3, try_number=1)})


def _sensor(run: Run, **options: Any) -> RiffusionSongSensor:
    sensor = RiffusionSongSensor(task_id="wait", song_id=SONG, poke_interval=_POLL, timeout=run.patience, **options)
    run.start(sensor)
    return sensor


def _poke(run: Run) -> Any:
    return _sensor(run).execute(run.context)


def _reschedule(run: Run) -> Any:
    while True:
        try:
            # A new one each time, as Airflow has it.
            return _sensor(run, mode="reschedule").execute(run.context)
        except AirflowRescheduleException:
            continue


def _deferrable(run: Run) -> Any:
    try:
        # As after a look that told nothing: the fault must strike the trigger.
        sensor = _sensor(run, deferrable=True)
        defer(sensor, time.time() + run.patience, {"ids": [sensor.song_id], "poll_interval": _LOOK})
    except TaskDeferred as deferral:
        _, arguments = deferral.trigger.serialize()
    trigger = RiffusionSongTrigger(**json.loads(json.dumps(arguments)))
    run.shown += [trigger, trigger.serialize()]

    async def events() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    try:
        (payload,) = asyncio.run(events())
    except Exception as error:
        # Airflow would retry the task, whatever the error.
        raise AssertionError("the trigger did not end with one event") from error
    run.shown.append(payload)
    run.hooks += [part for part in vars(trigger).values() if isinstance(part, RiffusionHook)]
    event = json.loads(json.dumps(payload, allow_nan=False))
    return _sensor(run, deferrable=True).resume_execution("execute_complete", {"event": event}, run.context)


def _list(run: Run) -> Any:
    return run.start(RiffusionListSongsOperator(task_id="list", limit=2)).execute(run.context)


def _gate(run: Run) -> Any:
    return run.start(RiffusionAccountSensor(task_id="gate", poke_interval=_POLL, timeout=run.patience)).execute(
        run.context
    )


def _test_connection(run: Run) -> Any:
    hook = RiffusionHook()
    run.hooks.append(hook)
    return hook.test_connection()


@dataclass(frozen=True)
class Operation:
    """
    A column.

    :param title: its head
    :param run: runs it
    :param stores: ``mp3``, ``wav`` or ``stems``; None: nothing
    :param settings: of the emulator
    :param is_right: whether a result is what a good API leads to
    """

    title: str
    run: Callable[[Run], Any]
    stores: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_right: Callable[[Any], bool] = bool

    @property
    def by_url(self) -> bool:
        return self.settings.get("stems_reply") == "urls"


def _is_song(result: Any) -> bool:
    return [song["id"] for song in result] == [SONG]


OPERATIONS: Mapping[str, Operation] = {
    "mp3": Operation("mp3", lambda run: _download(run, "mp3"), "mp3"),
    "wav": Operation("wav", lambda run: _download(run, "wav"), "wav"),
    "stems": Operation("stems", lambda run: _download(run, "stems"), "stems"),
    "urls": Operation("stem by URL", lambda run: _download(run, "stems"), "stems", {"stems_reply": "urls"}),
    "create": Operation("create", _create, settings={"generation_seconds": 60}),
    "poke": Operation("wait (poke)", _poke, is_right=_is_song),
    "reschedule": Operation("wait (reschedule)", _reschedule, is_right=_is_song),
    "deferrable": Operation("wait (deferrable)", _deferrable, is_right=_is_song),
    "list": Operation("list", _list, is_right=lambda result: result == [SONG, OTHER_SONG]),
    "gate": Operation("account gate", _gate, is_right=lambda result: result is None),
    "test": Operation("connection test", _test_connection, is_right=lambda result: isinstance(result, tuple)),
}


def prepare_storage(operation: Operation, folder: Path) -> None:
    """Put what an earlier run has stored into the folder."""
    if operation.stores in ("mp3", "wav"):
        (folder / f"{SONG}.{operation.stores}").write_bytes(OLD)
    elif operation.stores:
        stems = folder / f"{SONG}.stems"
        stems.mkdir()
        names = ("vocals", "strings")
        files = [
            {"name": name, "path": f"{name}.m4a", "size": len(OLD), "sha256": hashlib.sha256(OLD).hexdigest()}
            for name in names
        ]
        for name in names:
            (stems / f"{name}.m4a").write_bytes(OLD)
        (stems / "manifest.json").write_text(json.dumps({"song_id": SONG, "files": files}))


def files_in(folder: Path) -> dict[str, bytes]:
    """Return all files and, as empty ones, folders without any."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }


def storage_after(operation: Operation, run: Run, old: Mapping[str, bytes], result: Any) -> str:
    """Say what is in the storage, compared with what was there and with what the API has."""
    if operation.stores is None:
        return "" if not files_in(run.folder) else f"unexpected files: {sorted(files_in(run.folder))}"
    found = files_in(run.folder)
    if found == old:
        return "old"
    if set(found) - set(old) == {f"{SONG}.stems.unknown.json"} and old.items() <= found.items():
        return "old, and the unknown response"
    return "new" if result and found == _new_files(operation, run, found, result) else f"broken: {sorted(found)}"


def _new_files(operation: Operation, run: Run, found: Mapping[str, bytes], result: Any) -> dict[str, bytes]:
    emulator = run.world.emulator
    if operation.stores != "stems":
        return {f"{SONG}.{operation.stores}": emulator.audio(SONG, str(operation.stores))}
    folder = f"{SONG}.stems"
    # A response may leave stems out; those that it names are whole, and the manifest names the same.
    contents = {name: content for name, content in emulator.stems(SONG).items() if name in _names(result["files"])}
    files = {f"{folder}/{name}.m4a": content for name, content in contents.items()}
    manifest = found.get(f"{folder}/manifest.json", b"{}")
    sizes = {entry["name"]: (entry["size"], entry["sha256"]) for entry in json.loads(manifest).get("files", ())}
    right = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in contents.items()}
    return {**files, f"{folder}/manifest.json": manifest} if sizes == right else {}


def _names(files: list[dict[str, Any]]) -> set[str]:
    return {file["name"] for file in files}
