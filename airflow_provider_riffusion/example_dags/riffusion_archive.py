"""
Keep a copy of the whole library: every day, download the songs that the archive lacks.

A run takes 1,000 songs, the oldest first, because Airflow maps no more than 1,024 (``max_map_length``). So the archive
of a library of 4,000 songs is whole after four runs; start the first ones by hand:

.. code-block:: bash

    airflow dags trigger riffusion_archive

Needs an Airflow connection ``riffusion_default`` whose extra ``storage_path`` names the folder of the archive, and a
pool:

.. code-block:: bash

    airflow pools set riffusion 4 "downloads from Riffusion at the same time"
"""

from datetime import datetime, timedelta

from airflow.sdk import DAG, task

from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator, RiffusionListSongsOperator
from airflow_provider_riffusion.sensors.riffusion import RiffusionAccountSensor

SONGS_PER_RUN = 1000

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

    songs = RiffusionListSongsOperator(task_id="songs")

    @task
    def choose_missing(song_ids: list[str]) -> list[str]:
        """Return the oldest songs that the archive lacks; a song that failed in one run is there again in the next."""
        # Imported here, because Airflow reads this file over and over and needs no HTTP client for it.
        from airflow.sdk import ObjectStoragePath

        from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

        folder = ObjectStoragePath(str(RiffusionHook().settings.storage_path))
        archived = {path.name for path in folder.iterdir()} if folder.exists() else set()
        return [song_id for song_id in reversed(song_ids) if f"{song_id}.mp3" not in archived][:SONGS_PER_RUN]

    missing = choose_missing(songs.output)  # type: ignore[arg-type]  # Airflow puts the result there.
    gate >> songs

    RiffusionDownloadOperator.partial(
        task_id="download",
        download_format="mp3",
        if_exists="skip",
        pool="riffusion",
        map_index_template="song {{ task.song_id }}",
    ).expand(song_id=missing)
