"""The link to a song's page, while a task runs and at its end."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_riffusion.links.riffusion import RiffusionSongLink, push_song_url
from airflow_provider_riffusion.operators.riffusion import RiffusionCreatePromptOperator
from airflow_provider_riffusion.useapi.models import SongSummary

URL = "https://www.riffusion.com/song/a"


class Pushed(list[tuple[str, str]]):
    def xcom_push(self, key: str, value: str) -> None:
        self.append((key, value))


def summary(share_url: str | None) -> SongSummary:
    return SongSummary(id="a", status="queued", title=None, duration_s=None, share_url=share_url)


@pytest.fixture
def context() -> Any:
    operator = RiffusionCreatePromptOperator(task_id="create", prompt="jazz")
    context: Any = {"task": operator, "ti": Pushed()}
    operator.pre_execute(context)
    return context


def links_of(context: Any) -> list[str]:
    return [link.get_link(context["task"], ti_key=None) for link in context["task"].operator_extra_links]


def test_a_page_is_shown_as_soon_as_it_is_known_and_stored_once(context: Any) -> None:
    for songs in ([summary(None)], [summary(None), summary(URL)], [summary(URL)]):
        push_song_url(context, songs)
    assert context["ti"] == [(RiffusionSongLink().xcom_key, URL)]
    assert links_of(context) == [URL]


@pytest.mark.parametrize("url", [None, "", "javascript:alert(1)", "song/a"])
def test_nothing_is_stored_while_there_is_no_page(context: Any, url: str | None) -> None:
    push_song_url(context, [summary(url)])
    assert context["ti"] == []
    assert links_of(context) == []


def test_the_dag_shows_that_the_task_has_the_link() -> None:
    operator = RiffusionCreatePromptOperator(task_id="create", prompt="jazz")
    assert [link.name for link in operator.operator_extra_links] == ["Riffusion song"]


def test_a_link_that_cannot_be_stored_costs_no_song(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(key: str, value: str) -> None:
        raise RuntimeError("the API server is down")

    monkeypatch.setattr(context["ti"], "xcom_push", fail)
    push_song_url(context, [{"share_url": "https://example.org/song"}])


def test_a_users_link_stays(context: Any) -> None:
    class UsersLink(BaseOperatorLink):
        name = "User's"

        def get_link(self, operator: Any, *, ti_key: object) -> str:
            return "https://example.org"

    users = UsersLink()
    context["task"].operator_extra_links = (RiffusionSongLink(), users)
    push_song_url(context, [{"share_url": "https://example.org/song"}])
    link, other = context["task"].operator_extra_links
    assert (link.url, other) == ("https://example.org/song", users)
