"""The interpreters that this machine has, and an environment with the wheel and one Airflow for each cell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.dag_runs import ROOT

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
#: What makes a resolver take the versions that belong to each Airflow.
PINS: Mapping[str, Sequence[str]] = {
    "3.1.8": ("--constraints", str(ROOT / "tests/constraints-3.1.8.txt")),
    # As the package index was when it got this release, on 2026-05-29: uv writes the index's upload-time into the
    # output of `uv pip compile --no-deps --format pylock.toml`.
    "3.2.2": ("--exclude-newer", "2026-05-30T00:00:00Z"),
    "3.3.2": ("--constraints", str(ROOT / "constraints.txt")),
}
EXTRAS = ("s3", "gcs", "azure", "sftp", "socks", "openlineage")
_UV = (str(Path(sys.executable).with_name("uv")), "--quiet", "--no-progress")
#: Variables that could bring this checkout or this environment into a cell.
_FOREIGN = re.compile("AIRFLOW|COVERAGE|PYTHON|VIRTUAL_ENV|UV_")


class InstallError(Exception):
    """A combination does not install, and the message is the reason in one line."""


def interpreter(version: str) -> str | None:
    """
    Return the path of an interpreter, or None when this machine has none that answers.

    :param version: such as ``3.12``
    """
    command = [f"python{version}", "-c", "import sys; print(sys.executable)"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        # pyenv has a command of this name that fails for each version that PYENV_VERSION does not name.
        return None


class Environment:
    """
    A virtual environment with the wheel and one Airflow.

    :param folder: the folder to make it in
    :param wheel: the wheel
    :param airflow: version of Airflow, one of :data:`PINS`
    """

    def __init__(self, folder: Path, wheel: Path, airflow: str) -> None:
        self._folder = folder
        self._wheel = wheel
        self._airflow = airflow

    def install(self, python: str) -> None:
        """
        Make the environment.

        :param python: path of the interpreter
        :raises InstallError: the interpreter cannot have this Airflow, or the index cannot be reached
        """
        # With pip, because README's commands call it.
        _uv("venv", "--seed", "--python", python, str(self._folder))
        self._pip_install(str(self._wheel))

    def missing_extras(self) -> dict[str, str]:
        """Return the extras that cannot be installed into this environment, and why."""
        # All together costs one resolution, and tells of none when it fails.
        if self._why_missing("all") is None:
            return {}
        reasons = {extra: self._why_missing(extra) for extra in EXTRAS}
        return {extra: why for extra, why in reasons.items() if why is not None}

    def variables(self) -> dict[str, str]:
        """Return the variables of a process that runs in this environment, without a trace of the checkout."""
        own = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
        path = f"{self._folder / 'bin'}{os.pathsep}{own['PATH']}"
        return {**own, "PATH": path, "VIRTUAL_ENV": str(self._folder), "NO_PROXY": "127.0.0.1"}

    def _why_missing(self, extra: str) -> str | None:
        try:
            self._pip_install("--dry-run", f"airflow-provider-riffusion[{extra}] @ {self._wheel.as_uri()}")
        except InstallError as error:
            return str(error)
        return None

    def _pip_install(self, *what: str) -> None:
        python = str(self._folder / "bin/python")
        _uv("pip", "install", "--python", python, *PINS[self._airflow], f"apache-airflow=={self._airflow}", *what)


def _uv(*arguments: str) -> None:
    done = subprocess.run([*_UV, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise InstallError(reason(done.stderr))


def reason(text: str) -> str:
    """
    Return what uv says when it fails as one line, without the frame that uv draws.

    :param text: its error output
    """
    return " ".join(re.sub("[^ -~]", " ", text).split())
