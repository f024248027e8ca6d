"""The DAG of the README, whose downloads have the names of their songs: a song of each day, downloaded and used."""

from airflow.sdk import DAG, task

from airflow_provider_riffusion.operators.riffusion import RiffusionCreatePromptOperator, RiffusionDownloadOperator

with DAG("song_of_the_day", schedule=None):
    prompt = "a calm piano piece for {{ dag_run.run_after | ds }}"
    songs = RiffusionCreatePromptOperator(task_id="create", prompt=prompt, poll_interval=2)
    files = RiffusionDownloadOperator.partial(
        task_id="download", map_index_template="song {{ task.song_id[:8] }}"
    ).expand(song_id=songs.output)

    @task
    def use(file: dict[str, str]) -> None:
        print(f"Song {file['song_id']} is at {file['path']}")

    use.expand(file=files.output)
