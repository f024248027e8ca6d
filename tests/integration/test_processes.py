"""What shows only from outside of the process: memory, imports, secrets, and Airflow's command line."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from airflow_provider_riffusion.emulator import Emulator, Song

pytestmark = pytest.mark.usefixtures("connection")

DOWNLOAD = """
    import sys
    from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator
    RiffusionDownloadOperator(
        task_id="t", song_id=sys.argv[1], download_format=sys.argv[2], storage_path=sys.argv[3]
    ).execute({})
"""


def command(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(code, *arguments), capture_output=True, text=True, timeout=120)


# --- memory

MEASURED_DOWNLOAD = (
    DOWNLOAD
    + """
    # Not ru_maxrss, which a child inherits from the process that forked it.
    print("PEAK", next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
)


def peak_megabytes(song_id: str, download_format: str, storage_path: str) -> float:
    done = python(MEASURED_DOWNLOAD, song_id, download_format, storage_path)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.rpartition("PEAK")[2]) / 1024


def test_memory_for_stems_is_at_most_three_times_the_document(emulator: Emulator, tmp_path: Path) -> None:
    emulator.add_song(Song("small"))
    emulator.add_song(Song("big", stem_padding=8 * 10**6))
    document = 4 * 8 * 4 / 3
    small, big = (peak_megabytes(name, "stems", str(tmp_path)) for name in ("small", "big"))
    print(f"{small:.0f} MB for a small document, {big:.0f} MB for {document:.0f} MB")
    assert big - small <= 3 * document + 16


# --- imports


def test_a_dag_file_pays_little_for_our_operators() -> None:
    code = """
        import sys
        import airflow.sdk
        from airflow.sdk import BaseOperator
        before = set(sys.modules)
        import airflow_provider_riffusion.operators.riffusion
        import airflow_provider_riffusion.sensors.riffusion
        print("MODULES", *sorted(set(sys.modules) - before))
    """
    modules = python(code).stdout.rpartition("MODULES")[2].split()
    assert "airflow_provider_riffusion.operators.riffusion" in modules
    heavy = ("requests", "urllib3", "fsspec", "tenacity", "airflow_provider_riffusion.hooks.riffusion")
    assert not set(modules) & {
        *heavy,
        *(
            f"airflow_provider_riffusion.{name}"
            for name in ("storage.storage", "transport.client", "triggers.riffusion")
        ),
    }


def test_the_provider_info_imports_nothing_else() -> None:
    code = """
        import sys
        from airflow_provider_riffusion.get_provider_info import get_provider_info
        print("MODULES", *(name for name in sys.modules if name.startswith(("airflow", "requests"))))
    """
    assert python(code).stdout.rpartition("MODULES")[2].split() == [
        "airflow_provider_riffusion",
        "airflow_provider_riffusion.get_provider_info",
    ]


# --- secrets

CANARY = "user:9f8e7d-canary-token"


@pytest.mark.parametrize(
    "fault",
    [None, {"what": "status", "status": 401}, {"what": "reset"}],
    ids=["none", "401", "reset"],
)
def test_the_token_is_in_no_log_line_at_debug_level(
    connect: Callable[..., None], tmp_path: Path, fault: dict[str, object] | None
) -> None:
    with Emulator(token=CANARY) as emulator:
        connect(emulator.url, CANARY)
        if fault:
            emulator.fault(**fault, path="music/download")
        code = (
            "import logging; logging.basicConfig(level=1)\n"
            "from airflow_provider_riffusion.transport import retry; retry.MAX_BACKOFF_SECONDS = 0.01\n"
        ) + textwrap.dedent(DOWNLOAD)
        done = subprocess.run(
            [sys.executable, "-c", code, emulator.songs[0].id, "stems", str(tmp_path)],
            capture_output=True,
            text=True,
            env={**os.environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"},
        )
    assert (done.returncode == 0) is (fault is None)
    output = done.stdout + done.stderr
    assert "music/download" in output
    assert CANARY not in output
    assert CANARY.partition(":")[2] not in output


def test_the_token_is_in_no_repr_and_no_pickle_of_the_operator(connect: Callable[..., None], tmp_path: Path) -> None:
    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
    from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator

    with Emulator(token=CANARY) as emulator:
        connect(emulator.url, CANARY)
        operator = RiffusionDownloadOperator(task_id="t", song_id=emulator.songs[0].id, storage_path=str(tmp_path))
        hook = RiffusionHook()
        hook.get_accounts()
        shown = [repr(operator), repr(vars(operator)), repr(hook), repr(vars(hook)), repr(vars(hook._client))]
        shown += [repr(pickle.dumps(operator.template_fields)), json.dumps(operator.execute({}))]
    assert not [text for text in shown if CANARY in text]


# --- Airflow's command line


def airflow(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "airflow", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "400"},
    )


def test_airflow_shows_the_provider() -> None:
    shown = airflow("providers", "get", "airflow-provider-riffusion", "--full", "--output", "json").stdout
    for part in ("hooks.riffusion.RiffusionHook", "airflow_provider_riffusion.operators.riffusion", "connection-type"):
        assert part in shown, shown


def test_airflow_tests_the_connection(emulator: Emulator, connect: Callable[..., None], airflow_db: None) -> None:
    assert airflow("connections", "test", "riffusion_default").returncode == 0
    connect(emulator.url, "wrong")
    done = airflow("connections", "test", "riffusion_default")
    assert "Check the API token" in done.stdout
    # Airflow 3.1 exits with 0 however the test went.
    assert done.returncode == (1 if metadata.version("apache-airflow-core") >= "3.2" else 0)
