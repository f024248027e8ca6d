"""
Compose a song of three parts with lyrics, and download it.

Needs an Airflow connection ``riffusion_default`` whose extra ``storage_path`` names the folder for songs. Each run is
paid for:

.. code-block:: bash

    airflow dags trigger riffusion_compose

Three tasks create at the same time at most, which is how many songs an account makes by default. Deferred tasks are not
counted; where you defer, or several DAGs create, give the task a pool that is made with ``--include-deferred``.
"""

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_riffusion.operators.riffusion import RiffusionCreateComposeOperator, RiffusionDownloadOperator

# Wait in the triggerer, without a worker; needs a triggerer.
DEFERRABLE = False

with DAG(
    dag_id="riffusion_compose",
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    tags=["riffusion", "example"],
    doc_md=__doc__,
) as dag:
    compose = RiffusionCreateComposeOperator(
        task_id="compose",
        title="Night train",
        lyrics="[Verse]\nLights go by the window\n\n[Chorus]\nWe are going home",
        # One to three; start and end are percent of the song.
        prompts=[
            {"text": "slow ambient synthesizer", "strength": 60, "start": 0, "end": 30},
            {"text": "driving drums and bass", "strength": 80, "start": 30, "end": 80},
            {"text": "solo piano", "start": 80, "end": 100},
        ],
        lyrics_strength=70,
        deferrable=DEFERRABLE,
        max_active_tis_per_dag=3,
    )

    RiffusionDownloadOperator.partial(task_id="download", map_index_template="song {{ task.song_id }}").expand(
        song_id=compose.output
    )
