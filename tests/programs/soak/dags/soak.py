"""Download the songs that the file ``SOAK_INPUT`` names, each in a mapped task of its own."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, task

from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator


def note_peak(context: object) -> None:
    """Append this process's peak memory to a file; not ru_maxrss, which a child inherits from whoever forked it."""
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    with Path(os.environ["SOAK_PEAKS"]).open("a") as peaks:
        peaks.write(f"{time.time()} {peak}\n")


with DAG("soak", schedule=None):

    @task
    def songs() -> list[dict[str, str]]:
        # Not in the run's conf, which Airflow sends to each task and at DEBUG writes into each log.
        found: list[dict[str, str]] = json.loads(Path(os.environ["SOAK_INPUT"]).read_text())["songs"]
        return found

    RiffusionDownloadOperator.partial(
        task_id="download", retries=3, retry_delay=timedelta(seconds=1), on_success_callback=note_peak
    ).expand_kwargs(songs())
