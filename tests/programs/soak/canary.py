"""The canary: every operator and sensor against every fault, then a search for the token wherever Airflow writes."""

from __future__ import annotations

import json
import re
import shutil
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from typing import Any
from urllib.parse import quote

from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.emulator.server.faults import FAULTS
from airflow_provider_riffusion.emulator.server.ranges import RANGE_FAULTS
from tests.programs.soak.deployment import SoakDeployment
from tests.programs.soak.plan import FORMATS
from tests.programs.soak.search import Finding, Secret, count_rows
from tests.support.report import Report

_SECONDS = 600
_SENSORS = ("poke", "reschedule", "deferrable")
#: What a fault is bound to, where the request names no song.
_BINDINGS: Mapping[str, Mapping[str, Any]] = {
    "create": {"method": "POST"},
    "list": {"path": "/v1/riffusion/music"},
    "gate": {"path": "/v1/riffusion/accounts"},
}
#: Requests of one group do not meet the faults of another one in it.
_GROUPS = ((*FORMATS, *_SENSORS, "create"), ("list", "gate"))
#: How often a fault that lasts strikes: more often than anything asks.
_LASTING = 10_000


def _faults(token: str, url: str = "") -> list[dict[str, Any]]:
    """Return all kinds of faults; where the emulator, which is at the URL, can do it, the response echoes the token."""
    echo = {"message": f"no service for {token}, also known as {quote(token, safe='')}"}
    faults: list[dict[str, Any]] = [
        {"what": "status", "status": 400, **echo},
        {"what": "status", "status": 401, "body": "json-nested", **echo},
        {"what": "status", "status": 429, "retry_after": "0", **echo},
        {"what": "status", "status": 503, "retry_after": token, **echo},
        {"what": "status", "status": 596, **echo},
        {"what": "reset"},
        {"what": "truncate"},
        {"what": "stall", "seconds": 3},
        {"what": "drip", "bytes_per_second": 50},
        {"what": "gzip"},
        {"what": "gzip-cut"},
        {"what": "json-error", **echo},
        {"what": "html"},
        {"what": "empty"},
        {"what": "204"},
        {"what": "redirect", "url": f"{url}/files/{token}.mp3?token={quote(token, safe='')}"},
        {"what": "redirect-loop"},
        {"what": "wrong-format"},
        {"what": "endless"},
        {"what": "lost-reply"},
    ]
    # The canary's servers know no ranges; the tests of the transport tell every lie about them.
    missing = FAULTS.keys() - RANGE_FAULTS.keys() - {fault["what"] for fault in faults}
    if missing:
        raise ValueError(f"the canary leaves out the faults {missing}")
    return faults


#: How many kinds of faults there are.
COUNT = len(_faults(""))


@dataclass
class Canary:
    """
    Servers and connections, one for each fault, lasting or once; and the cases of the DAG ``canary``.

    :param token: the token that must show nowhere
    :param control: a value that must be found, to show that the search finds
    :param numbers: which of all kinds of faults
    """

    token: str
    control: str
    numbers: Sequence[int]
    connections: dict[str, dict[str, Any]] = field(default_factory=dict)
    cases: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    _emulators: list[Emulator] = field(default_factory=list)

    @property
    def control_id(self) -> str:
        """The part of the control value that can be the id of a song and of a DAG run."""
        return self.control.rpartition("-")[2]

    def start(self, stack: ExitStack) -> None:
        """Start the servers; the stack stops them."""
        for number, times, group in product(self.numbers, (_LASTING, 1), _GROUPS):
            # A create is sent once, whatever happens.
            operations = [operation for operation in group if (operation, times) != ("create", 1)]
            name = f"fault-{number}-{'once' if times == 1 else 'lasting'}-{group[-1]}"
            emulator = self._start(stack, name, {"timeout": 1, "low_speed_time": 1})
            fault = _faults(self.token, emulator.url)[number]
            for operation in operations:
                song_id = f"{name}-{operation}"
                self._add_song(emulator, song_id, operation)
                binding = _BINDINGS.get(operation, {"song_id": song_id})
                emulator.fault(**fault, **binding, times=times)
                self._add_case(operation, song_id, _conn_id(name))
        control = self._start(stack, "control", {})
        control.add_song(Song(self.control_id, status="queued"))
        control.add_song(Song(f"{self.control_id}.done"))

    def let_songs_finish(self) -> None:
        """End the waiting of all deferred tasks."""
        for emulator in self._emulators:
            for song in emulator.songs:
                if song.status == "queued":
                    emulator.set_song_status(song.id, "complete")

    def unstruck(self) -> list[str]:
        """Return the faults that have struck nothing."""
        return [
            f"{fault['what']} of {fault.get('song_id') or fault.get('path') or fault.get('method')} on {emulator.url}"
            for emulator in self._emulators
            for fault in _faults_left(emulator)
            if fault["times"] in (1, _LASTING)
        ]

    def _start(self, stack: ExitStack, name: str, extra: dict[str, Any]) -> Emulator:
        emulator = stack.enter_context(Emulator(token=self.token, songs=[], generation_seconds=0.5))
        self._emulators.append(emulator)
        self.connections[_conn_id(name)] = {
            "conn_type": "riffusion",
            "host": emulator.url,
            "password": self.token,
            "extra": extra,
        }
        return emulator

    def _add_song(self, emulator: Emulator, song_id: str, operation: str) -> None:
        # Not in the title of a song that is downloaded: it is in the mp3, which is stored as it came.
        echo = f"for {self.token}" if operation in _SENSORS else "for the canary"
        status = "queued" if operation == "deferrable" else "complete"
        emulator.add_song(Song(song_id, title=echo, lyrics=echo, duration_s=0.1, status=status))

    def _add_case(self, operation: str, song_id: str, conn_id: str) -> None:
        case = {"riffusion_conn_id": conn_id}
        if operation in (*FORMATS, *_SENSORS):
            case["song_id"] = song_id
        if operation in FORMATS:
            case["download_format"], operation = operation, "download"
        self.cases.setdefault(operation, []).append(case)


def run(deployment: SoakDeployment, canary: Canary, report: Report) -> None:
    """Run the DAG ``canary``, and copy the database while its deferred tasks wait."""
    count = sum(map(len, canary.cases.values()))
    report.title(
        f"Canary: {count} tasks against {len(canary.numbers)} faults, lasting and once, at logging level DEBUG"
    )
    start = time.monotonic()
    deployment.call("POST", "variables", {"key": "control", "value": canary.control})
    deployment.trigger("canary", canary.control_id)
    deferrable = len(canary.cases["deferrable"]) + 1

    def are_settled() -> bool:
        """Whether all deferrable tasks wait or have ended already."""
        states = deployment.query(
            "select state from task_instance where dag_id = 'canary' and task_id in (?, ?)",
            "deferrable",
            "control_deferrable",
        )
        moving = {None, "scheduled", "queued", "running", "restarting"}
        return len(states) == deferrable and not any(state in moving for (state,) in states)

    def are_known() -> bool:
        """Whether the scheduler knows that each worker of a deferrable task has ended."""
        events = r"Received executor event with state (?:success|failed) for .*(task_id='(?:control_)?deferrable'.*?)\)"
        return len(set(re.findall(events, deployment.output("scheduler")))) == deferrable

    deployment.wait_until(are_settled, _SECONDS, "the deferrable tasks to wait")
    # Airflow fails a task that its trigger resumes before the scheduler has heard that the worker ended.
    deployment.wait_until(are_known, _SECONDS, "the scheduler to hear from the deferrable tasks")
    _copy_database(deployment, "waiting")
    canary.let_songs_finish()
    deployment.wait_for_run("canary", _SECONDS)
    report.note("seconds", f"{time.monotonic() - start:.0f}")
    rows = deployment.query("select task_id, state from task_instance where dag_id = 'canary' order by task_id")
    for task_id in dict.fromkeys(task_id for task_id, _ in rows):
        states = Counter(state for name, state in rows if name == task_id)
        if task_id in canary.cases:
            details = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
            report.check(f"{task_id} ended", set(states) <= {"success", "failed"}, details)
        else:
            report.check(f"{task_id} succeeded", set(states) == {"success"}, *states)
    report.check_none("faults that have struck nothing", canary.unstruck(), "none")


def search(deployment: SoakDeployment, canary: Canary, report: Report) -> None:
    """Search everything that a stopped Airflow has left for the token and for the control value."""
    _copy_database(deployment, "end")
    report.title("Search for the token, plain, quoted, in base64 and cut in halves")
    start = time.monotonic()
    triggers = count_rows(deployment.home / "waiting" / "snapshot.db", "trigger")
    report.check("triggers that waited when the database was copied", triggers > 1, triggers)
    _check_control(list(_findings(deployment, Secret(canary.control))), report)
    found: dict[str, str] = {}
    for finding in _findings(deployment, Secret(canary.token)):
        # One form of each place is enough to look at.
        found.setdefault(finding.place, str(finding))
    report.check_none("places with the token", list(found.values()), "none")
    files = [path for path in deployment.home.rglob("*") if path.is_file()]
    report.note("searched", f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.0f} MB")
    report.note("seconds", f"{time.monotonic() - start:.0f}")


#: Where the control value must be found, so that not finding the token means something. The triggerer's output is none
#: of them: all lines of a trigger go to the log of its task.
_CONTROL_PLACES = {
    "XCom": ("end: xcom.value", ("plain", "URL-quoted", "base64")),
    "rendered fields": ("end: rendered_task_instance_fields", ("half",)),
    "serialized DAG": ("end: serialized_dag", ("half",)),
    "trigger that waits": (r"waiting: trigger\.kwargs", ("half",)),
    "encrypted variable": (r"end: variable\.val, decrypted", ("plain",)),
    "database file as bytes": (r"end/airflow\.db", ("plain", "URL-quoted", "base64")),
    "log of a task": (r"logs/.*task_id=control/.*\.log", ("plain", "URL-quoted", "base64")),
    "log of the triggerer": (r"logs/.*task_id=control_deferrable/.*trigger.*", ("half",)),
    "log of the DAG processor": (r"logs/dag_processor/.*canary\.py\.log", ("plain",)),
    "output of the API server": (r"logs/api-server\.out", ("half",)),
    "output of the scheduler": (r"logs/scheduler\.out", ("half",)),
    "stored file": (r"storage/.*\.mp3", ("half",)),
    "name of a stored file": ("the name storage/", ("half",)),
}


def _check_control(findings: list[Finding], report: Report) -> None:
    for name, (place, forms) in _CONTROL_PLACES.items():
        missing = [
            form
            for form in forms
            if not any(re.match(place, finding.place) and form in finding.form for finding in findings)
        ]
        report.check_none(f"control value in: {name}", missing, ", ".join(forms))


def _findings(deployment: SoakDeployment, secret: Secret) -> Iterator[Finding]:
    for path in sorted(deployment.home.rglob("*")):
        if path.is_file():
            yield from secret.in_file(path, str(path.relative_to(deployment.home)))
    for moment in ("waiting", "end"):
        yield from _once(secret.in_database(deployment.home / moment / "snapshot.db", deployment.fernet_key, moment))


def _once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Leave out further rows of the same column."""
    seen = set()
    for finding in findings:
        if (finding.place, finding.form) not in seen:
            seen.add((finding.place, finding.form))
            yield finding


def _copy_database(deployment: SoakDeployment, moment: str) -> None:
    """Keep the database as it stands: as one consistent copy, and as the bytes of its files, write-ahead log too."""
    folder = deployment.home / moment
    folder.mkdir()
    deployment.snapshot(folder / "snapshot.db")
    for path in deployment.home.glob("airflow.db*"):
        shutil.copy(path, folder)


def _faults_left(emulator: Emulator) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{emulator.url}/_emulator/faults", timeout=60) as response:
        faults: list[dict[str, Any]] = json.loads(response.read())
    return faults


def _conn_id(name: str) -> str:
    return name.replace("-", "_")
