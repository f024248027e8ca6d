"""Links from a task in Airflow's UI."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator, BaseOperatorLink, Context

log = logging.getLogger(__name__)


class RiffusionSongLink(BaseOperatorLink):
    """
    The page of the first song that a task has made or waited for.

    Airflow's UI reads it from the XCom ``xcom_key``; at a task's end Airflow stores there what :meth:`get_link` says.

    :param url: the page; empty while nobody knows it
    """

    name = "Riffusion song"

    def __init__(self, url: str = "") -> None:
        self.url = url

    def get_link(self, operator: BaseOperator, *, ti_key: object) -> str:
        """Return the song's page, without looking for an XCom: Airflow logs an error for one that is missing."""
        return self.url


def push_song_url(context: Context, songs: Sequence[Mapping[str, Any]]) -> None:
    """
    Show the page of the first song as the task's link; for every poll, because only a new page is stored.

    :param context: the task's context; may be empty, as in a unit test
    :param songs: summaries of songs, finished or not
    """
    url = next((song["share_url"] for song in songs if song["share_url"]), None)
    task: Any = context.get("task")
    is_shown = any(getattr(link, "url", None) == url for link in getattr(task, "operator_extra_links", ()))
    # Airflow's UI makes any text clickable, so only the URL of a web page is kept.
    if url and url.startswith(("https://", "http://")) and "ti" in context and not is_shown:
        link = RiffusionSongLink(url)
        try:
            context["ti"].xcom_push(key=link.xcom_key, value=url)
        except Exception:
            # The songs are paid for, and a link is not worth them.
            log.warning("The link to the song could not be stored", exc_info=True)
            return
        if task is not None:
            # Airflow stores it again at the task's end, past a deployment's XCom backend, from which no UI reads links.
            task.operator_extra_links = (link, *other_links(task))


def other_links(task: Any) -> tuple[BaseOperatorLink, ...]:
    """Return the links of a task that are not ours, such as those of a user's subclass."""
    return tuple(link for link in getattr(task, "operator_extra_links", ()) if not isinstance(link, RiffusionSongLink))
