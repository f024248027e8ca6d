"""What a user does with the wheel, done in one environment, in an empty folder."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.programs.matrix import readme
from tests.programs.matrix.environments import Environment
from tests.support.dag_runs import ROOT
from tests.support.processes import end, free_port

INSIDE = Path(__file__).with_name("inside")
#: Where README's commands find the emulator: the port that it takes by default.
_README_PORT = 8596
_START_SECONDS = 60
_STEP_SECONDS = 600
_STOP_SECONDS = 20
_SHOWN_CHARS = 600
_LEAST_SONG_BYTES = 1000


class SmokeError(Exception):
    """Something does not work, and the message says what."""


@dataclass
class Smoke:
    """
    The steps.

    :param environment: where the wheel is installed
    :param folder: an empty folder
    :param log: file that takes the output of all commands
    """

    environment: Environment
    folder: Path
    log: Path
    _variables: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        home = self.folder / "airflow"
        (home / "dags").mkdir(parents=True)
        self._variables = {
            **self.environment.variables(),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "COLUMNS": "400",
        }

    def run(self, version: str) -> None:
        """
        Do it all.

        :param version: the version that the wheel must have
        :raises SmokeError: something does not work
        """
        providers = self._call("airflow", "providers", "list", "--output", "json")
        if {"package_name": "airflow-provider-riffusion", "version": version}.items() - _entry(providers).items():
            raise SmokeError(f"airflow providers list does not show version {version}")
        self._call("airflow", "db", "migrate")
        with self._emulator() as (connection, song_id):
            url, token = connection["host"], connection["password"]
            behind_socks = {**connection, "extra": {"proxies": f"socks5h://127.0.0.1:{free_port()}"}}
            self._variables["AIRFLOW_CONN_BEHIND_SOCKS"] = json.dumps(behind_socks)
            # As a file of the folder, so that nothing beside it can be imported.
            shutil.copy(INSIDE / "look.py", self.folder)
            self._call("python", "look.py")
            # Airflow 3.1 exits with 0 however the test went.
            if "Connection success!" not in self._call("airflow", "connections", "test", "riffusion_default"):
                raise SmokeError("airflow connections test does not succeed")
            self._download(url, token, song_id)
        self._list_import_errors()

    def run_readme(self, wheel: Path) -> None:
        """
        Run README's commands for a newcomer, in a folder of their own.

        :param wheel: what they install
        :raises SmokeError: they do not work, or leave no song
        """
        text = readme.with_wheel(readme.commands((ROOT / "README.md").read_text()), str(wheel))
        folder = self.folder / "readme"
        folder.mkdir()
        script = ["bash", "-e", "-o", "pipefail", "-c", text]
        try:
            self._call(*script, folder=folder, variables=self.environment.variables())
        finally:
            # The emulator's own account of it.
            for path in folder.glob("*.log"):
                self._note(path.read_text(errors="replace"))
        songs = [path for path in folder.rglob("*.mp3") if _is_song(path.read_bytes())]
        if not songs:
            raise SmokeError("README's commands leave no song")

    def _download(self, url: str, token: str, song_id: str) -> None:
        shutil.copy(INSIDE / "download.py", self.folder / "airflow/dags")
        songs = self.folder / "songs"
        conf = json.dumps({"song_id": song_id, "folder": str(songs)})
        self._call("airflow", "dags", "test", "matrix_download", "--conf", conf)
        request = urllib.request.Request(
            f"{url}/v1/riffusion/music/download/?id={song_id}&download_format=mp3",
            headers={"Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=_START_SECONDS) as response:
            served = response.read()
        stored = songs / "song.mp3"
        if not _is_song(served) or not stored.exists() or stored.read_bytes() != served:
            raise SmokeError("the stored song is not the one that the emulator serves")

    def _list_import_errors(self) -> None:
        """Have Airflow read the package's examples, which a provider's DAG bundle holds on Airflow 3.3 alone."""
        where = "import airflow_provider_riffusion.example_dags as found; print(*found.__path__)"
        examples = self._call("python", "-c", where).split("\n")[-2]
        shutil.copytree(examples, self.folder / "airflow/dags/examples")
        self._call("airflow", "dags", "list-import-errors", "--local")

    @contextmanager
    def _emulator(self) -> Iterator[tuple[dict[str, str], str]]:
        """Start the emulator of the wheel; yields the connection that it prints, and the id of a song."""
        command = ["python", "-u", "-m", "airflow_provider_riffusion.emulator", "--port", "0", "--quiet"]
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                text = _greeting(process)
                self._note(text)
                name, _, value = shlex.split(_found(r"export (.*)", text))[0].partition("=")
                self._variables[name] = value
                yield json.loads(value), _found(r"song +(\S+)", text)
            finally:
                end([process], _STOP_SECONDS)

    def _call(self, *command: str, folder: Path | None = None, variables: Mapping[str, str] | None = None) -> str:
        """Run a command, and return what it printed."""
        self._note(f"$ {shlex.join(command)}")
        with subprocess.Popen(
            command,
            cwd=folder or self.folder,
            env=variables or self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                output = process.communicate(timeout=_STEP_SECONDS)[0].decode(errors="replace")
            except subprocess.TimeoutExpired:
                raise SmokeError(f"{_shown(command)} takes longer than {_STEP_SECONDS} s") from None
            finally:
                end([process], _STOP_SECONDS)
        self._note(output)
        if process.returncode:
            raise SmokeError(f"{_shown(command)} ends with {process.returncode}: {output.strip()[-_SHOWN_CHARS:]}")
        return output

    def _note(self, text: str) -> None:
        with self.log.open("a") as log:
            log.write(f"{text.rstrip()}\n")


def is_readme_port_free() -> bool:
    """Return whether README's commands would reach their own emulator."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", _README_PORT)) != 0


def _entry(output: str) -> dict[str, str]:
    """Return this provider's entry of Airflow's list, which warnings may precede."""
    found = re.search(r"^\[.*", output, re.MULTILINE | re.DOTALL)
    entries = json.loads(found[0]) if found else []
    return next((entry for entry in entries if "riffusion" in entry["package_name"]), {})


def _greeting(process: subprocess.Popen[bytes]) -> str:
    lines: list[str] = []
    while not lines or "/requests" not in lines[-1]:
        line = process.stdout.readline() if process.stdout else b""
        lines.append(line.decode())
        if not line:
            raise SmokeError(f"the emulator does not start: {''.join(lines)}")
    return "".join(lines)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SmokeError(f"the emulator does not print {pattern!r}: {text}")
    return match[1]


def _is_song(content: bytes) -> bool:
    return content.startswith(b"ID3") and len(content) > _LEAST_SONG_BYTES


def _shown(command: tuple[str, ...]) -> str:
    return "README's commands" if command[0] == "bash" else " ".join(command[:3])
