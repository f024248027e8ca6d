"""Make ``CLUSTER_SONGS`` songs on ``CLUSTER_ACCOUNTS`` accounts, wait for them deferred, and download each."""

import os
from datetime import timedelta

from airflow.sdk import DAG, task_group

from airflow_provider_riffusion.operators.riffusion import RiffusionCreatePromptOperator, RiffusionDownloadOperator

SONGS, ACCOUNTS = (int(os.environ[f"CLUSTER_{name}"]) for name in ("SONGS", "ACCOUNTS"))

# Songs that are finished go first, which Airflow's default would leave until all are started.
default_args = {"retries": 3, "retry_delay": timedelta(seconds=5), "weight_rule": "upstream"}

with DAG("cluster", schedule=None, default_args=default_args):

    @task_group
    def song(prompt: str, user_id: str) -> None:
        create = RiffusionCreatePromptOperator(
            task_id="create", prompt=prompt, user_id=user_id, deferrable=True, poll_interval=5, pool="riffusion"
        )
        create >> RiffusionDownloadOperator(
            task_id="download",
            song_id="{{ ti.xcom_pull(task_ids='song.create', map_indexes=ti.map_index)[0] }}",
            user_id=user_id,
            download_format="wav",
        )

    song.expand_kwargs(
        [{"prompt": f"song {number}", "user_id": f"user-{number % ACCOUNTS + 1}"} for number in range(SONGS)]
    )
