"""DAGs for tests/airflow/test_dags.py; the params say what to download."""

import inspect
import re
from datetime import datetime
from typing import Any

from airflow.sdk import DAG, AssetAlias, Param, task

from airflow_provider_riffusion.operators.riffusion import (
    RiffusionDownloadOperator,
    RiffusionDownloadSongsOperator,
    RiffusionListSongsOperator,
)

params = {
    "song_id": Param("s", type="string"),
    "download_format": Param("mp3", type="string"),
    "storage_path": Param("/", type="string"),
}

with DAG("download", params=params, schedule=None) as download:
    RiffusionDownloadOperator(
        task_id="download",
        song_id="{{ params.song_id }}",
        download_format="{{ params.download_format }}",
        storage_path="{{ params.storage_path }}",
        retries=3,
    )

with DAG("batch", params=params, schedule=None) as batch:
    RiffusionDownloadSongsOperator(
        task_id="download",
        song_ids="{{ params.song_id.split() | tojson }}",
        storage_path="{{ params.storage_path }}",
        max_workers=2,
        retries=2,
    )

with DAG("expand", params=params, schedule=None) as expand:

    @task
    def formats(params: dict[str, str] | None = None) -> list[str]:
        return params["download_format"].split() if params else []

    RiffusionDownloadOperator.partial(
        task_id="download",
        song_id="{{ params.song_id }}",
        storage_path="{{ params.storage_path }}",
        retries=3,
        outlets=[AssetAlias("stored")],
    ).expand(download_format=formats())


#: What the operator's docstring says.
SINCE_THE_LAST_SUCCESS = re.findall("``({{ prev.+?}})``", inspect.getdoc(RiffusionListSongsOperator) or "")[0]

with DAG("new_songs", schedule="@daily", start_date=datetime(2025, 1, 1), catchup=False) as new_songs:
    RiffusionListSongsOperator(task_id="list", created_after=SINCE_THE_LAST_SUCCESS)


def make_sensor_dag(mode: str, **parameters: Any) -> DAG:
    with DAG(f"sensor_{mode}_{'_'.join(parameters)}", schedule=None) as dag:

        @task.sensor(poke_interval=0.2, timeout=60, mode=mode, retries=3, **parameters)
        def song_is_there() -> bool:
            from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

            return any(song.is_completed for song in RiffusionHook().list_songs())

        song_is_there()
    return dag


sensor_poke = make_sensor_dag("poke")
sensor_reschedule = make_sensor_dag("reschedule")
sensor_poke_silent = make_sensor_dag("poke", silent_fail=True)
sensor_reschedule_silent = make_sensor_dag("reschedule", silent_fail=True)
