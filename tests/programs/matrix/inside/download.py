"""A DAG for the cells: download the song that the run's conf names."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator

with DAG("matrix_download", schedule=None, params={"song_id": Param(type="string"), "folder": Param(type="string")}):
    RiffusionDownloadOperator(
        task_id="download", song_id="{{ params.song_id }}", storage_path="{{ params.folder }}", file_name="song"
    )
