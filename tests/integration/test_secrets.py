"""The API token shows nowhere: not in what a process writes, not in what an operator is."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator

CANARY = "user:9f8e7d-canary-token"
FAULTS = {"good": None, "refused": {"what": "status", "status": 401}, "broken": {"what": "reset"}}
#: Downloads the stems of each song in turn, with all loggers at their lowest level.
DOWNLOADS = """
    import logging, sys
    logging.basicConfig(level=1)
    from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator
    from airflow_provider_riffusion.transport import retry
    retry.MAX_BACKOFF_SECONDS = 0.01
    for song_id in sys.argv[2:]:
        try:
            RiffusionDownloadOperator(
                task_id="t", song_id=song_id, download_format="stems", storage_path=sys.argv[1]
            ).execute({})
            print("ENDED", song_id, "well")
        except Exception as error:
            logging.exception("The download failed")
            print("ENDED", song_id, type(error).__name__)
"""


def test_the_token_is_in_no_log_line_at_debug_level(connect: Callable[..., None], tmp_path: Path) -> None:
    with Emulator(token=CANARY, songs=[Song(name) for name in FAULTS]) as emulator:
        connect(emulator.url, CANARY)
        for name, fault in FAULTS.items():
            if fault:
                emulator.fault(**fault, song_id=name, path="music/download")
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(DOWNLOADS), str(tmp_path), *FAULTS],
            capture_output=True,
            text=True,
            env={**os.environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"},
        )
    output = done.stdout + done.stderr
    assert [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("ENDED")] == [
        ["good", "well"],
        ["refused", "RiffusionUnauthorizedError"],
        ["broken", "RiffusionConnectionError"],
    ], output
    assert "Traceback" in output
    assert output.count("music/download") > len(FAULTS)
    assert CANARY not in output
    assert CANARY.partition(":")[2] not in output


def test_the_token_is_in_no_repr_and_no_pickle_of_the_operator(connect: Callable[..., None], tmp_path: Path) -> None:
    with Emulator(token=CANARY) as emulator:
        connect(emulator.url, CANARY)
        operator = RiffusionDownloadOperator(task_id="t", song_id=emulator.songs[0].id, storage_path=str(tmp_path))
        hook = RiffusionHook()
        hook.get_accounts()
        shown = [repr(operator), repr(vars(operator)), repr(hook)]
        shown += [repr(part) for part in (vars(hook), *vars(hook).values())]
        # The settings hold the token, and only their repr hides it.
        shown += [
            repr(vars(part)) for part in vars(hook).values() if hasattr(part, "__dict__") and part != hook.settings
        ]
        shown += [repr(pickle.dumps(operator.template_fields)), json.dumps(operator.execute({}))]
    assert not [text for text in shown if CANARY in text]
