"""PostgreSQL and Redis from the system's packages, on 127.0.0.1, with passwords, for as long as a block runs."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.deployment import BrokenRunError
from tests.support.processes import end, free_port

_START_SECONDS = 60
_STOP_SECONDS = 20
#: Debian keeps the programs of PostgreSQL's server off the PATH, in a folder for each version.
_POSTGRES_FOLDERS = "/usr/lib/postgresql/*/bin"
#: PostgreSQL refuses to run as root; Debian's package makes this user.
_POSTGRES_USER = "postgres"


@contextmanager
def postgres(home: Path) -> Iterator[str]:
    """
    Run PostgreSQL.

    :param home: the folder for its log
    :returns: the URL for SQLAlchemy
    :raises BrokenRunError: it is not installed, or does not start
    """
    programs, log = _postgres_folder(), home / "postgres.out"
    user = _POSTGRES_USER if os.geteuid() == 0 else None
    port, password = free_port(), secrets.token_hex(16)
    # Not in the home, into which that user may not look.
    with tempfile.TemporaryDirectory(prefix="riffusion-postgres-") as folder:
        data, password_file = Path(folder) / "data", Path(folder) / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        if user is not None:
            shutil.chown(folder, user)
            shutil.chown(password_file, user)
        access = ("--username", "airflow", "--auth", "scram-sha-256", "--pwfile", password_file)
        with log.open("wb") as output:
            done = subprocess.run(
                [programs / "initdb", "--pgdata", data, "--encoding", "UTF8", "--no-locale", *access],
                cwd=folder,
                user=user,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if done.returncode:
            raise BrokenRunError(f"initdb failed; see {log}")

        def is_ready() -> bool:
            address = ("--host", "127.0.0.1", "--port", str(port))
            return subprocess.run([programs / "pg_isready", *address, "--quiet"]).returncode == 0

        # Without the socket in a folder that the system's own PostgreSQL uses.
        command: list[str | Path] = [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", ""]
        with _running(command, log, is_ready, user=user):
            yield f"postgresql+psycopg2://airflow:{password}@127.0.0.1:{port}/postgres"


@contextmanager
def redis(home: Path) -> Iterator[str]:
    """
    Run Redis.

    :param home: the folder for its log
    :returns: the URL for Celery
    :raises BrokenRunError: it is not installed, or does not start
    """
    program = shutil.which("redis-server")
    if program is None:
        raise BrokenRunError("redis-server is missing.\nInstall it: apt-get install redis-server")
    port, password = free_port(), secrets.token_hex(16)
    # On standard input, because other users can read a command line.
    settings = f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\ndir {home}\n'

    def is_ready() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    with _running([Path(program), "-"], home / "redis.out", is_ready, settings=settings):
        yield f"redis://:{password}@127.0.0.1:{port}/0"


def _postgres_folder() -> Path:
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else [*Path("/").glob(_POSTGRES_FOLDERS.lstrip("/"))]
    if not folders:
        raise BrokenRunError(
            "PostgreSQL's server is missing: initdb is neither on the PATH nor in /usr/lib/postgresql.\n"
            "Install it: apt-get install postgresql"
        )
    return max(folders, key=lambda folder: folder.parent.name.zfill(3))


@contextmanager
def _running(
    command: list[str | Path], log: Path, is_ready: Callable[[], bool], *, user: str | None = None, settings: str = ""
) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd="/",
            user=user,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        if process.stdin is not None:
            process.stdin.write(settings.encode())
            process.stdin.close()
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise BrokenRunError(f"{Path(command[0]).name} does not start; see {log}")
            time.sleep(0.1)
        yield
    finally:
        end([process], _STOP_SECONDS)
