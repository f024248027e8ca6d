"""
Download one song, triggered by hand or by another DAG.

Needs an Airflow connection ``riffusion_default`` whose extra ``storage_path`` names the folder for songs.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator

with DAG(
    dag_id="riffusion_download_song",
    schedule=None,
    params={
        "song_id": Param("", type="string", description="Id of the song"),
        "download_format": Param("mp3", type="string", enum=["mp3", "wav", "stems"]),
    },
    # For what the next hour may mend, such as a server that is down. A broken account (HTTP 596) or a refused token
    # fails at the first try, whatever stands here.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["riffusion", "example"],
    doc_md=__doc__,
) as dag:
    # The result (path, size, SHA-256) is the task's XCom, for the tasks that come after.
    RiffusionDownloadOperator(
        task_id="download",
        song_id="{{ params.song_id }}",
        download_format="{{ params.download_format }}",
        # Other places than the connection's: storage_path="s3://aws_default@bucket/songs/{{ ds }}".
    )
