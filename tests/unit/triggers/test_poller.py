"""What a poller asks for, and what it tells whom, with a hook that answers as a test says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import pytest

from airflow_provider_riffusion import exceptions as errors
from airflow_provider_riffusion.exceptions import RiffusionError
from airflow_provider_riffusion.hooks.connection import ConnectionSettings
from airflow_provider_riffusion.tasks.waiting import Poll
from airflow_provider_riffusion.triggers import poller
from airflow_provider_riffusion.triggers.poller import SharedWait, shared_wait
from airflow_provider_riffusion.useapi.models import Job, Song, SongState
from tests.support.waits import until

INTERVAL = 0.02


class Api:
    """
    A hook; each answer may be an error, which is raised.

    :param page: the songs of a page
    :param jobs: the jobs of the job list
    :param alone: the songs of each handle that is asked for alone
    """

    def __init__(self, page: Any = (), jobs: Any = (), alone: Any = ()) -> None:
        self.page, self.jobs, self.alone = page, jobs, alone
        self.settings = ConnectionSettings(base_url="http://127.0.0.1:1", token="user:token")
        self.limits: list[int] = []
        self.asked: list[float] = []
        self.lists = 0
        self.is_closed = False

    def list_songs(self, *, limit: int, user_id: str | None, attempts: int) -> Any:
        assert attempts == 1
        self.limits.append(limit)
        return _answer(self.page)

    def get_scheduler(self, *, attempts: int) -> list[Job]:
        assert attempts == 1
        self.lists += 1
        return [Job(id) for id in _answer(self.jobs)]

    def poll_songs(self, handles: Sequence[str], *, user_id: str | None) -> list[Sequence[Song]]:
        self.asked.append(time.monotonic())
        return [_answer(self.alone) for _ in handles]

    def aborted_after(self, seconds: float) -> nullcontext[None]:
        return nullcontext()

    def close(self) -> None:
        self.is_closed = True


def _answer(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "ALONE_SECONDS", 0.01)


def told(
    api: Api, act: Callable[[list[Any]], Coroutine[Any, Any, None]], *handles: str, seconds: float = 60
) -> list[Any]:
    """Return what a trigger is told while a test acts."""
    heard: list[Any] = []

    async def listen(wait: SharedWait) -> None:
        while True:
            heard.append(await wait.next(INTERVAL))

    async def main() -> None:
        hook: Any = api
        with shared_wait(hook, None, handles or ("song",), INTERVAL, time.time() + seconds) as wait:
            listening = asyncio.create_task(listen(wait))
            await act(heard)
            listening.cancel()

    asyncio.run(main())
    assert api.is_closed
    return heard


def looks(api: Api, count: int) -> Callable[[list[Any]], Coroutine[Any, Any, None]]:
    """Wait for so many more pages."""

    async def act(heard: list[Any]) -> None:
        wanted = len(api.limits) + count
        await until(lambda: len(api.limits) >= wanted)

    return act


def test_what_a_trigger_knows_it_is_not_told_again() -> None:
    api = Api(page=[Song("song", "queued")])

    async def act(heard: list[Any]) -> None:
        await looks(api, 4)(heard)
        api.page = [Song("song", "generating")]
        await looks(api, 4)(heard)

    assert told(api, act) == [Poll([(Song("song", status),)]) for status in ("queued", "generating")]
    assert not api.lists, "a page that shows everything is enough"
    assert not api.asked


def test_a_trigger_is_told_once_a_minute_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "LOG_INTERVAL_SECONDS", 3 * INTERVAL)
    api = Api(page=[Song("song", "queued")])
    assert len(told(api, looks(api, 12))) > 2


def test_a_trigger_is_told_at_its_deadline_what_it_knows() -> None:
    api = Api(page=[Song("song", "queued")])

    async def act(heard: list[Any]) -> None:
        await until(lambda: len(heard) > 2)

    heard = told(api, act, seconds=0.1)
    assert heard == [Poll([(Song("song", "queued"),)])] * len(heard)


def test_a_job_that_is_listed_runs_and_is_not_asked_for() -> None:
    api = Api(page=[Song("song", "complete")], jobs=["job"])
    assert told(api, looks(api, 4), "song", "job") == [Poll([(Song("song", "complete"),), ()], is_listed=True)]
    assert not api.asked


@pytest.mark.parametrize(
    "failure",
    [
        errors.RiffusionBadRequestError("400"),
        errors.RiffusionApiError("no list"),
        errors.RiffusionNotFoundError("404"),
        errors.RiffusionTooLargeError("a library whose page has no end"),
    ],
)
def test_a_page_that_cannot_be_read_shows_nothing(failure: Exception) -> None:
    api = Api(page=failure, alone=[Song("song", "complete")])
    heard = told(api, looks(api, 6))
    assert heard
    assert set(map(str, heard)) == {str(Poll([[Song("song", "complete")]]))}
    # The server may have found the first page too large.
    assert api.limits[:2] == [22, 20]


@pytest.mark.parametrize(
    "failure",
    [
        errors.RiffusionUnauthorizedError("403"),
        errors.RiffusionServerError("503", transient=True),
        errors.RiffusionApiError("no list"),
    ],
)
def test_a_job_list_that_cannot_be_read_names_nothing(failure: Exception) -> None:
    api = Api(jobs=failure, alone=[Song("other", "queued")])
    heard = told(api, looks(api, 6), "job")
    assert heard
    assert set(map(str, heard)) == {str(Poll([[Song("other", "queued")]]))}


@pytest.mark.parametrize(
    "failure",
    [
        errors.RiffusionPendingError("596"),
        errors.RiffusionUnauthorizedError("401"),
        errors.RiffusionSubscriptionError("402"),
        errors.RiffusionServerError("503", transient=True),
        errors.RiffusionConnectionError("refused"),
        errors.RiffusionRateLimitError("429"),
    ],
)
def test_a_page_that_fails_for_all_fails_for_each_once_and_nothing_is_asked_for_alone(failure: RiffusionError) -> None:
    api = Api(alone=[Song("song", "queued")])

    async def act(heard: list[Any]) -> None:
        await until(lambda: api.asked)
        api.page = failure
        await until(lambda: failure in heard)
        asked = len(api.asked)
        await looks(api, 3)(heard)
        # One may have been on its way.
        assert len(api.asked) <= asked + 1

    assert told(api, act).count(failure) == 1


def test_after_a_failure_a_trigger_is_told_what_it_knew() -> None:
    api = Api(page=[Song("song", "queued")])
    shown, failure = Poll([(Song("song", "queued"),)]), errors.RiffusionConnectionError("refused")

    async def act(heard: list[Any]) -> None:
        await until(lambda: heard == [shown])
        api.page = failure
        await until(lambda: heard == [shown, failure])
        api.page = [Song("song", "queued")]
        await until(lambda: heard == [shown, failure, shown])

    told(api, act)


def test_two_songs_of_one_task_count_as_two_that_are_asked_for_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "ALONE_SECONDS", 0.05)
    api = Api(alone=[Song("song", "queued")])

    async def act(heard: list[Any]) -> None:
        await until(lambda: len(api.asked) > 2)

    told(api, act, "song", "other")
    assert min(after - before for before, after in pairwise(api.asked)) >= 0.1


def test_when_only_pages_fail_for_long_songs_are_asked_for_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "_PAGE_SECONDS", 5 * INTERVAL)
    api = Api(errors.RiffusionServerError("503", transient=True), alone=[Song("song", "queued")])

    async def act(heard: list[Any]) -> None:
        await until(lambda: len(api.asked) > 2)

    assert Poll([[Song("song", "queued")]]) in told(api, act)


def test_an_api_that_asks_for_a_pause_is_asked_for_nothing_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "_PAGE_SECONDS", 0)
    api = Api(errors.RiffusionRateLimitError("429", retry_after=60), alone=[Song("song", "queued")])

    async def act(heard: list[Any]) -> None:
        await until(lambda: heard)
        await asyncio.sleep(10 * INTERVAL)

    told(api, act)
    assert len(api.limits) == 1
    assert not api.asked


def test_a_429_for_one_song_makes_all_that_are_asked_for_alone_rest() -> None:
    api = Api(alone=errors.RiffusionRateLimitError("429", retry_after=0.3))

    async def act(heard: list[Any]) -> None:
        await until(lambda: len(api.asked) > 2)

    told(api, act)
    assert min(after - before for before, after in pairwise(api.asked)) >= 0.3


def test_an_error_while_a_song_is_asked_for_alone_is_a_failed_poll_of_its_trigger() -> None:
    api = Api(alone=MemoryError("no room"))

    async def act(heard: list[Any]) -> None:
        await until(lambda: len(heard) > 1)

    (failure, *_) = told(api, act)
    assert failure.transient
    assert "MemoryError: no room" in str(failure)


def test_a_failure_is_heard_also_when_a_good_poll_follows_before_the_trigger_wakes() -> None:
    async def main() -> list[Any]:
        wait = SharedWait(["song"], INTERVAL, time.time() + 60)
        failure = errors.RiffusionPendingError("596")
        wait.tell_news(failure, time.monotonic())
        wait.tell(Poll([[Song("song", "queued")]]))
        assert await wait.next(0) is failure
        return [await wait.next(0)]

    assert asyncio.run(main()) == [Poll([[Song("song", "queued")]])]


def test_an_api_that_is_silent_until_the_deadline_has_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_riffusion.tasks.waiting._LAST_POLL_SECONDS", 0.1)
    api = Api()
    monkeypatch.setattr(api, "list_songs", lambda **_: time.sleep(1))

    async def act(heard: list[Any]) -> None:
        await until(lambda: heard)

    (failure, *_) = told(api, act, seconds=0.05)
    assert isinstance(failure, errors.RiffusionConnectionError)


@pytest.mark.parametrize(
    ("handles", "other", "requests"),
    [(("song",), "of the group", 1), (("song", "other"), "of the group", 0), (("song",), None, 0)],
    ids=["may be a job's id", "both are waited for", "no group"],
)
def test_a_song_whose_group_has_others_is_asked_for_alone_at_its_end(
    handles: tuple[str, ...], other: str | None, requests: int
) -> None:
    """A job's id may be that of one of its songs, and the page would show only this one."""
    songs = [Song(id, "complete", SongState.COMPLETED, group_id=other) for id in ("song", "other")]
    api = Api(page=songs, alone=songs)

    async def act(heard: list[Any]) -> None:
        await until(lambda: heard)

    (polled, *_) = told(api, act, *handles)
    found = {song.id for shown in polled.songs for song in shown}
    assert found == ({"song", "other"} if requests else {*handles})
    assert len(api.asked) == requests
