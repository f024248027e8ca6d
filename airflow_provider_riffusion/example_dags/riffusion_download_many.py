"""
Download many songs, one mapped task each, behind one check of the account.

.. code-block:: bash

    airflow dags trigger riffusion_download_many
    airflow dags trigger riffusion_download_many --conf '{"song_ids": ["first-id", "second-id"]}'

Needs an Airflow connection ``riffusion_default`` whose extra ``storage_path`` names the folder for songs, and a pool:

.. code-block:: bash

    airflow pools set riffusion 4 "downloads from Riffusion at the same time"
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator

with DAG(
    dag_id="riffusion_download_many",
    schedule=None,
    params={
        "song_ids": Param([], type="array", items={"type": "string"}, description="Empty: the newest three"),
        "download_format": Param("mp3", type="string", enum=["mp3", "wav", "stems"]),
    },
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["riffusion", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def check_account() -> None:
        """Fail here, with one request, when the account is broken; no download is started then."""
        # Imported here, because Airflow reads this file over and over and needs no HTTP client for it.
        from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

        RiffusionHook().check_accounts()

    @task
    def choose_songs(params: dict[str, Any] | None = None) -> list[str]:
        """Return the ids to download: the given ones, or those of the newest three songs."""
        from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

        given: list[str] = (params or {})["song_ids"]
        return given or [song.id for song in RiffusionHook().list_songs(limit=10) if song.is_completed][:3]

    songs = choose_songs()
    check_account() >> songs

    # Each song is a task of its own: one that fails is retried alone, and shows in the grid.
    RiffusionDownloadOperator.partial(
        task_id="download",
        download_format="{{ params.download_format }}",
        # A second run is cheap, because it does not fetch files that exist.
        if_exists="skip",
        # How many run at the same time, over all DAGs that use this pool.
        pool="riffusion",
        # What the grid shows in place of 0, 1, 2. A DAG that renders native objects makes a number of digits alone.
        map_index_template="song {{ task.song_id }}",
    ).expand(song_id=songs)
