"""
Run every operator and sensor against the servers that the file ``SOAK_INPUT`` names, each of which goes wrong in a way
of its own; and control tasks, which put another value wherever the token must not be.
"""

import base64
import json
import logging
import os
from pathlib import Path
from urllib.parse import quote

from airflow.sdk import DAG, task

from airflow_provider_riffusion.operators.riffusion import (
    RiffusionCreatePromptOperator,
    RiffusionDownloadOperator,
    RiffusionListSongsOperator,
)
from airflow_provider_riffusion.sensors.riffusion import RiffusionAccountSensor, RiffusionSongSensor

CONTROL = os.environ["SOAK_CONTROL"]
CONTROL_ID = CONTROL.rpartition("-")[2]

logging.getLogger(__name__).warning("control value in the log of whoever reads this file: %s", CONTROL)

OPERATIONS = ("download", "create", "poke", "reschedule", "deferrable", "list", "gate")

with DAG("canary", schedule=None, default_args={"retries": 0}):

    @task
    def cases(operation: str) -> list[dict[str, str]]:
        cases: list[dict[str, str]] = json.loads(Path(os.environ["SOAK_INPUT"]).read_text())[operation]
        return cases

    found = {operation: cases.override(task_id=f"cases_{operation}")(operation) for operation in OPERATIONS}
    RiffusionDownloadOperator.partial(task_id="download", max_bytes=500_000).expand_kwargs(found["download"])
    RiffusionCreatePromptOperator.partial(
        task_id="create", prompt="a song for the soak", poll_interval=0.5, timeout=5
    ).expand_kwargs(found["create"])
    sensor = {"poke_interval": 1, "timeout": 30}
    RiffusionSongSensor.partial(task_id="poke", **sensor).expand_kwargs(found["poke"])
    # Each look is a process of its own: two are enough.
    RiffusionSongSensor.partial(task_id="reschedule", mode="reschedule", poke_interval=1, timeout=2).expand_kwargs(
        found["reschedule"]
    )
    # First, so that all of them wait at the same time; none ends before it is told to.
    RiffusionSongSensor.partial(
        task_id="deferrable", deferrable=True, priority_weight=100, poke_interval=1, timeout=120
    ).expand_kwargs(found["deferrable"])
    RiffusionListSongsOperator.partial(task_id="list").expand_kwargs(found["list"])
    RiffusionAccountSensor.partial(task_id="gate", **sensor).expand_kwargs(found["gate"])

    @task
    def control() -> list[str]:
        forms = [CONTROL, quote(CONTROL, safe=""), base64.b64encode(f"Bearer {CONTROL}".encode()).decode()]
        print("control value in the log of a task:", *forms)
        return forms

    control()
    RiffusionDownloadOperator(task_id="control_download", song_id=f"{CONTROL_ID}.done", riffusion_conn_id="control")
    RiffusionSongSensor(
        task_id="control_deferrable",
        song_id=CONTROL_ID,
        riffusion_conn_id="control",
        deferrable=True,
        priority_weight=100,
        poke_interval=1,
        timeout=300,
    )
