"""
Keep a copy of the whole library: every day, download the songs that are new.

Needs an Airflow connection ``riffusion_default`` whose extra ``storage_path`` names the folder of the archive, and a
pool:

.. code-block:: bash

    airflow pools set riffusion 4 "downloads from Riffusion at the same time"
"""

from datetime import datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator, RiffusionListSongsOperator
from airflow_provider_riffusion.sensors.riffusion import RiffusionAccountSensor

with DAG(
    dag_id="riffusion_archive",
    schedule="@daily",
    start_date=datetime(2025, 1, 1),
    catchup=False,
    # Two runs would download the same songs twice.
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["riffusion", "example"],
    doc_md=__doc__,
) as dag:
    # One request instead of hundreds when the account is broken. With wait_for_repair=True the run waits for a human.
    gate = RiffusionAccountSensor(task_id="account", poke_interval=300, timeout=12 * 3600, mode="reschedule")

    new_songs = RiffusionListSongsOperator(
        task_id="new_songs",
        # A day more than the last success, for songs that were not finished then; the first run takes all.
        created_after=(
            "{{ (prev_data_interval_start_success or macros.datetime(2000, 1, 2)) - macros.timedelta(days=1) }}"
        ),
    )

    gate >> new_songs

    RiffusionDownloadOperator.partial(
        task_id="download",
        download_format="mp3",
        # What is in the archive already costs no request.
        if_exists="skip",
        pool="riffusion",
    ).expand(song_id=new_songs.output)
