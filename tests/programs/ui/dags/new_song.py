"""Download a song, and tell with an asset that it is new."""

from airflow.sdk import DAG, AssetAlias

from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator

with DAG("new_song", schedule=None):
    RiffusionDownloadOperator(task_id="download", song_id="midnight-harbor", outlets=[AssetAlias("new_song")])
