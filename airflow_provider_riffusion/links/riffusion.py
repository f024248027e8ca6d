"""Links from a task in Airflow's UI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context, TaskInstanceKey

    from airflow_provider_riffusion.useapi.models import SongSummary

_XCOM_KEY = "riffusion_song_url"


class RiffusionSongLink(BaseOperatorLink):
    """The page of the first song that a task has made or waited for."""

    name = "Riffusion song"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the song's page; empty until it is known."""
        return str(XCom.get_value(key=_XCOM_KEY, ti_key=ti_key) or "")


def push_song_url(context: Context, songs: Sequence[SongSummary]) -> None:
    """
    Keep the page of the first song for the link.

    :param context: the task's context; may be empty, as in a unit test
    :param songs: finished songs
    """
    url = next((song["share_url"] for song in songs if song["share_url"]), None)
    # Airflow's UI makes any text clickable, so only the URL of a web page is kept.
    if url and url.startswith(("https://", "http://")) and "ti" in context:
        context["ti"].xcom_push(key=_XCOM_KEY, value=url)
