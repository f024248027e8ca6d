"""
Download one song, triggered by hand or by another DAG, and use the result.

.. code-block:: bash

    airflow dags trigger riffusion_download_song --conf '{"song_id": "the-songs-id", "download_format": "wav"}'

Needs an Airflow connection ``riffusion_default`` whose extra ``storage_path`` names the folder for songs.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param, task

from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator

with DAG(
    dag_id="riffusion_download_song",
    schedule=None,
    params={
        "song_id": Param(type="string", minLength=1, description="Id of the song"),
        "download_format": Param("mp3", type="string", enum=["mp3", "wav", "stems"]),
    },
    # For failures that pass, such as a server that is down. A broken account (HTTP 596) or a refused token ends the
    # task at its first try.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["riffusion", "example"],
    doc_md=__doc__,
) as dag:
    download = RiffusionDownloadOperator(
        task_id="download",
        song_id="{{ params.song_id }}",
        download_format="{{ params.download_format }}",
        # Other places than the connection's: storage_path="s3://aws_default@bucket/songs/{{ dag_run.run_after | ds }}".
        # The result (path, size, SHA-256 and more) is one XCom; this makes each of them an XCom of its own, too.
        multiple_outputs=True,
    )

    @task
    def use(path: str) -> str:
        """Do something with the file."""
        return f"The song is at {path}."

    use(download.output["path"])  # type: ignore[index]  # Airflow does not declare it.
