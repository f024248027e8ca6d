"""Download a song of an account whose cookie has expired: HTTP 596."""

from airflow.sdk import DAG

from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator

with DAG("broken_account", schedule=None):
    RiffusionDownloadOperator(
        task_id="download", song_id="midnight-harbor", riffusion_conn_id="broken_songs", retries=3
    )
