"""
Run a DAG whenever a song is stored: one DAG downloads songs, and another starts for each that is new.

.. code-block:: bash

    airflow dags trigger riffusion_new_song --conf '{"song_id": "the-song-id"}'

The download has an asset alias among its outlets, so Airflow gets an asset event with the URI of the stored file. A
song that is there already is skipped, and then nothing starts.

Needs an Airflow connection ``riffusion_default`` whose extra ``storage_path`` names the folder for songs.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, AssetAlias, Param, task

from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator

NEW_SONG = AssetAlias("riffusion_new_song")

with DAG(
    dag_id="riffusion_new_song",
    schedule=None,
    params={"song_id": Param(type="string", minLength=1, description="Id of the song")},
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["riffusion", "example"],
    doc_md=__doc__,
) as dag:
    RiffusionDownloadOperator(task_id="download", song_id="{{ params.song_id }}", if_exists="skip", outlets=[NEW_SONG])

with DAG(
    dag_id="riffusion_on_new_song", schedule=[NEW_SONG], tags=["riffusion", "example"], doc_md=__doc__
) as on_new_song:

    @task
    def use(triggering_asset_events: Any = None) -> list[str]:
        """Do something with the files; several, when they were stored faster than this DAG ran."""
        events = triggering_asset_events[NEW_SONG]
        return [f"Song {event.extra['song_id']} is at {event.asset.uri}." for event in events]

    use()
