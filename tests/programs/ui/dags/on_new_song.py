"""Run whenever a new song is stored."""

from typing import Any

from airflow.sdk import DAG, AssetAlias, task

NEW_SONG = AssetAlias("new_song")

with DAG("on_new_song", schedule=[NEW_SONG]):

    @task
    def use(triggering_asset_events: Any = None) -> None:
        for event in triggering_asset_events[NEW_SONG]:
            print(f"Song {event.extra['song_id']} is at {event.asset.uri}")

    use()
