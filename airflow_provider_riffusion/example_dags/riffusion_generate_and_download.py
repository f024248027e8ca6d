"""
Make songs from one prompt and download each as mp3 and as wav.

Needs an Airflow connection ``riffusion_default`` whose extra ``storage_path`` names the folder for songs. Each run is
paid for: the create task asks for one generation, which yields one or two songs.

.. code-block:: bash

    airflow dags trigger riffusion_generate_and_download --conf '{"prompt": "a waltz for two accordions"}'

Three tasks create at the same time at most, which is how many songs an account makes by default. Deferred tasks are not
counted; where you defer, or several DAGs create, give the task a pool that is made with ``--include-deferred``.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider_riffusion.operators.riffusion import RiffusionCreatePromptOperator, RiffusionDownloadOperator

# Wait in the triggerer, without a worker; needs a triggerer.
DEFERRABLE = False

with DAG(
    dag_id="riffusion_generate_and_download",
    schedule=None,
    params={"prompt": Param("a calm piano piece for a rainy evening", type="string", minLength=1)},
    # A retry does not pay again: on Airflow 3.3 and later it waits for the songs that the first try has started.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    tags=["riffusion", "example"],
    doc_md=__doc__,
) as dag:
    create = RiffusionCreatePromptOperator(
        task_id="create",
        prompt="{{ params.prompt }}",
        deferrable=DEFERRABLE,
        # Seconds. A song takes half a minute to four.
        poll_interval=10,
        timeout=1800,
        max_active_tis_per_dag=3,
    )

    # One mapped task for each song and format.
    RiffusionDownloadOperator.partial(
        task_id="download", map_index_template="{{ task.song_id }} {{ task.download_format }}"
    ).expand(
        song_id=create.output,
        download_format=["mp3", "wav"],
    )
