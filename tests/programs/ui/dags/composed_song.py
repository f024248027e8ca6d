"""Compose a song whose lyrics are in a file, and wait for it in the triggerer, longer than anybody looks."""

from airflow.sdk import DAG

from airflow_provider_riffusion.operators.riffusion import RiffusionCreateComposeOperator

with DAG("composed_song", schedule=None):
    RiffusionCreateComposeOperator(
        task_id="compose",
        prompts=[
            {"text": "a slow waltz for {{ dag_run.run_after | ds }}", "strength": 80, "end": 60},
            {"text": "a brass band", "start": 60},
        ],
        lyrics="harbor.lyrics",
        title="Midnight Harbor",
        riffusion_conn_id="slow_songs",
        deferrable=True,
        poll_interval=2,
    )
