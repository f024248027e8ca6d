"""
Download a whole library, whatever its size: a task for each thousand songs, which skips those that are there.

A mapped task for each song would cost the scheduler half a second for each, and Airflow maps no more than 1,024
(``max_map_length``). A retry fetches only what is missing, and each task leaves a manifest: a line of JSON for each
song, with its path, size, digest, title and lyrics.

.. code-block:: bash

    airflow dags trigger riffusion_download_library

Needs an Airflow connection ``riffusion_default`` whose extra ``storage_path`` names the folder for songs, and a pool:

.. code-block:: bash

    airflow pools set riffusion 4 "downloads from Riffusion at the same time"
"""

from datetime import timedelta

from airflow.sdk import DAG, task

from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadSongsOperator, RiffusionListSongsOperator

SONGS_PER_TASK = 1000
WORKERS = 4

with DAG(
    dag_id="riffusion_download_library",
    schedule=None,
    # Two runs would download the same songs twice.
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["riffusion", "example"],
    doc_md=__doc__,
) as dag:
    songs = RiffusionListSongsOperator(task_id="songs")

    @task
    def split(song_ids: list[str]) -> list[list[str]]:
        """Return the songs of each task."""
        return [song_ids[start : start + SONGS_PER_TASK] for start in range(0, len(song_ids), SONGS_PER_TASK)]

    RiffusionDownloadSongsOperator.partial(
        task_id="download",
        # A second run fetches only new songs.
        if_exists="skip",
        max_workers=WORKERS,
        # As many as it downloads at the same time, over all DAGs that use this pool.
        pool="riffusion",
        pool_slots=WORKERS,
        map_index_template="{{ task.song_ids | length }} songs from {{ task.song_ids[0] }}",
    ).expand(song_ids=split(songs.output))  # type: ignore[arg-type]  # Airflow puts the result there.
