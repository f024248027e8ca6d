"""DAGs for the tests of creating and waiting; the run's conf says how."""

from airflow.sdk import DAG, Param

from airflow_provider_riffusion.operators.riffusion import (
    RiffusionCreatePromptOperator,
    RiffusionDownloadOperator,
)
from airflow_provider_riffusion.sensors.riffusion import RiffusionAccountSensor, RiffusionSongSensor

params = {"prompt": Param("a song for the tests", type="string"), "song_id": Param("s", type="string")}

with DAG("create", params=params, schedule=None) as create:
    RiffusionCreatePromptOperator(
        task_id="create", prompt="{{ params.prompt }}", poll_interval=0.2, timeout=30, retries=3
    )

with DAG("create_and_download", params=params, schedule=None) as create_and_download:
    songs = RiffusionCreatePromptOperator(task_id="create", prompt="{{ params.prompt }}", poll_interval=0.2)
    RiffusionDownloadOperator.partial(task_id="download").expand(song_id=songs.output)

with DAG("song", params=params, schedule=None) as song:
    RiffusionSongSensor(task_id="wait", song_id="{{ params.song_id }}", poke_interval=0.2, timeout=4, retries=3)

with DAG("account", schedule=None) as account:
    RiffusionAccountSensor(task_id="wait", poke_interval=0.2, timeout=10, retries=3)
