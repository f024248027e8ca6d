"""The DAG of the README: a song of each day, downloaded and used."""

from airflow.sdk import DAG, task

from airflow_provider_riffusion.operators.riffusion import RiffusionCreatePromptOperator, RiffusionDownloadOperator

with DAG("song_of_the_day", schedule=None):
    create = RiffusionCreatePromptOperator(
        task_id="create", prompt="a calm piano piece for {{ dag_run.run_after | ds }}", poll_interval=2
    )
    download = RiffusionDownloadOperator.partial(
        task_id="download", download_format="wav", map_index_template="song {{ task.song_id[:8] }}"
    ).expand(song_id=create.output)

    @task
    def use(path: str) -> None:
        print(f"The song is at {path}")

    use.expand(path=download.output.map(lambda result: result["path"]))
