"""Poll once for all triggers of a connection and account that wait in the same event loop."""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_riffusion.exceptions import RiffusionConnectionError, RiffusionDownloadError, RiffusionError
from airflow_provider_riffusion.safe_text import printable
from airflow_provider_riffusion.tasks.metrics import count_poll, gauge_waiting
from airflow_provider_riffusion.tasks.waiting import (
    LOG_INTERVAL_SECONDS,
    MAX_PAUSE_SECONDS,
    Poll,
    growing_pause,
    is_passing,
    poll,
    seconds_until,
)
from airflow_provider_riffusion.useapi.models import Song, SongState

if TYPE_CHECKING:
    from airflow_provider_riffusion.hooks.connection import ConnectionSettings
    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

T = TypeVar("T")

#: The pause after a request that asks for one song or job alone; two a second are what the API has to bear.
ALONE_SECONDS = 0.5
#: A poller that sleeps notices after at most so long that a new trigger wants a look sooner.
_NAP_SECONDS = 0.5
#: The shortest pause before a look that a near deadline asks for.
_LEAST_PAUSE_SECONDS = 1.0
#: Songs on a page; the small one is asked for after a failure, in case that the page was too large for the server.
_SMALL_PAGE, _LARGEST_PAGE = 20, 1000
#: When pages have failed for so long, songs are asked for alone, in case that only pages fail.
_PAGE_SECONDS = 60.0
#: So many waits are told before the event loop goes on with other work.
_CHUNK = 32


@contextmanager
def shared_wait(
    hook: RiffusionHook, user_id: str | None, handles: Sequence[str], interval: float, deadline: float
) -> Iterator[SharedWait]:
    """
    Wait in the running event loop together with all triggers of the same connection and account.

    The first one starts the poller, and the last one ends it.

    :param hook: the hook; the poller uses the one of the trigger that starts it
    :param user_id: account; by default the connection's
    :param handles: song or job ids
    :param interval: seconds between two polls
    :param deadline: seconds since the epoch
    """
    # Settings are compared by value, so that a token that was replaced in the connection gets a poller of its own.
    key = (asyncio.get_running_loop(), hook.settings, user_id or hook.settings.user_id)
    if key not in _POLLERS:
        _POLLERS[key] = _Poller(hook, user_id)
    poller, wait = _POLLERS[key], SharedWait(handles, interval, deadline)
    poller.add(wait)
    try:
        yield wait
    finally:
        del poller.waits[wait]
        if not poller.waits:
            del _POLLERS[key]
            poller.stop()


@dataclass(eq=False)
class SharedWait:
    """
    What one trigger waits for, and what it was told.

    :param handles: song or job ids
    :param interval: seconds between two polls
    :param deadline: seconds since the epoch
    """

    handles: Sequence[str]
    interval: float
    deadline: float
    #: The deadline on the clock of ``time.monotonic()``, as all moments here.
    ends_at: float = field(init=False)
    #: For each handle the songs that were seen last.
    songs: list[Sequence[Song]] = field(init=False)
    #: Whether the songs are asked for alone, which they may be from the moment ``due`` on.
    is_alone: bool = False
    due: float = 0.0
    #: When the API last told something about all songs.
    looked_at: float = -math.inf
    #: A queue, because a poll that succeeds must not take the place of one before that failed for good.
    _polls: asyncio.Queue[Poll | RiffusionError] = field(default_factory=asyncio.Queue)
    #: What was told of polls, and of failures, and when.
    _known: dict[type, tuple[object, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ends_at = time.monotonic() + self.deadline - time.time()
        self.songs = [()] * len(self.handles)

    async def next(self, pause: float) -> Poll | RiffusionError:
        """
        Return the next poll that has something new to tell; at the deadline the last one.

        :param pause: seconds during which the songs are not asked for alone
        """
        self.due = time.monotonic() + pause
        try:
            async with asyncio.timeout(seconds_until(max(self.deadline, time.time() + pause))):
                return await self._polls.get()
        except TimeoutError:
            return self._last_word()

    def _last_word(self) -> Poll | RiffusionError:
        if self.looked_at < self.ends_at:
            return RiffusionConnectionError("The API did not answer before the deadline.")
        # Too many songs are asked for alone, so that nobody knows whether these have ended.
        return Poll(self.songs, is_listed=True)

    def tell(self, polled: Poll | RiffusionError) -> None:
        """Wake the trigger with the outcome of asking for its songs alone."""
        if isinstance(polled, Poll):
            self.songs = list(polled.songs)
        self._known.pop(Poll, None)
        self._polls.put_nowait(polled)

    def tell_news(self, polled: Poll | RiffusionError, now: float) -> None:
        """
        Wake the trigger with the outcome of a look at all songs, unless it was told the same less than a minute ago.

        :param polled: the outcome
        :param now: the moment of it
        """
        if isinstance(polled, Poll):
            kind: type = Poll
            news: object = (polled.is_listed, *[song.status for found in polled.songs for song in found])
        else:
            kind, news = RiffusionError, type(polled)
        known, told_at = self._known.get(kind, (None, -math.inf))
        if news == known and now - told_at < LOG_INTERVAL_SECONDS and now < self.ends_at:
            return
        if kind is RiffusionError:
            # After a failure every poll is news.
            self._known.pop(Poll, None)
        self._known[kind] = (news, now)
        self._polls.put_nowait(polled)


@dataclass
class _Pace:
    """
    How long a kind of request has failed for reasons that pass, and until when it rests.

    :param failure: why the last one failed; None when it did not
    """

    failure: RiffusionError | None = None
    failing_since: float = 0.0
    rests_until: float = 0.0

    def note(self, outcome: object, interval: float) -> None:
        """Note the outcome of a request, which is sent every ``interval`` seconds while it does not fail."""
        now = time.monotonic()
        failure = outcome if isinstance(outcome, RiffusionError) and is_passing(outcome) else None
        if failure is not None:
            self.failing_since = now if self.failure is None else self.failing_since
            elapsed = now - self.failing_since
            self.rests_until = now + growing_pause(interval, elapsed, MAX_PAUSE_SECONDS, failure.retry_after)
        self.failure = failure


class _Poller:
    """
    Looks at all songs that triggers of one connection and account wait for.

    It has threads and connections of its own, two at most, so that an API that hangs delays nobody else. It logs
    nothing, because each trigger logs what it is told in its own task's log.

    :param hook: the hook
    :param user_id: account; by default the connection's
    """

    def __init__(self, hook: RiffusionHook, user_id: str | None) -> None:
        self.waits: dict[SharedWait, None] = {}
        self._hook, self._user_id = hook, user_id
        self._pages, self._jobs, self._alone = _Pace(), _Pace(), _Pace()
        self._has_page_failed = False
        #: The ids of the page's songs that belong together, by their group.
        self._groups: defaultdict[str | None, set[str]] = defaultdict(set)
        self._looked_at, self._next_look_at = -math.inf, 0.0
        self._has_looked = asyncio.Event()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="riffusion-poll")
        # The poller outlives the trigger that starts it, so it must not take that one's place in the triggerer's logs.
        steps, context = (self._look, self._ask_alone), contextvars.Context
        self._tasks = [asyncio.create_task(self._repeat(step), context=context()) for step in steps]

    def add(self, wait: SharedWait) -> None:
        """Look for one more trigger; its first look is never later than its interval."""
        self.waits[wait] = None
        self._next_look_at = min(self._next_look_at, self._wanted_at(wait.interval, wait.ends_at))

    def stop(self) -> None:
        """Stop at once, also while the API hangs."""
        for task in self._tasks:
            task.cancel()
        self._hook.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._gauge()

    async def _repeat(self, step: Callable[[], Awaitable[float]]) -> None:
        while True:
            try:
                pause = await step()
            # Whatever goes wrong here, all triggers depend on it that the next step is made.
            except Exception as error:
                pause, now, failure = _NAP_SECONDS, time.monotonic(), _failure_of(error)
                for wait in self.waits:
                    wait.tell_news(failure, now)
            await asyncio.sleep(pause)

    # --- one look for all

    async def _look(self) -> float:
        """Look when it is time to, and return the seconds until this is to be called again."""
        now = time.monotonic()
        if now < self._next_look_at:
            return min(self._next_look_at - now, _NAP_SECONDS)
        waits = list(self.waits)
        interval = min(wait.interval for wait in waits)
        self._next_look_at = now + interval
        page, job_ids = await self._page(waits, interval), set[str]()
        if not isinstance(page, RiffusionError) and not all(page.keys() >= set(wait.handles) for wait in waits):
            job_ids = await self._job_ids(waits, interval)
        now = self._looked_at = time.monotonic()
        for number, wait in enumerate(waits):
            if number % _CHUNK == 0:
                await asyncio.sleep(0)
            self._judge(wait, page, job_ids, now)
        self._has_looked.set()
        # Triggers have come and gone meanwhile.
        if self.waits:
            intervals, ends = (wait.interval for wait in self.waits), (wait.ends_at for wait in self.waits)
            self._next_look_at = self._wanted_at(min(intervals), min(ends))
        self._gauge()
        return 0.0

    def _wanted_at(self, interval: float, ends_at: float) -> float:
        """Return when the next look is wanted: after the interval, and at the deadline."""
        earliest = self._looked_at + min(interval, _LEAST_PAUSE_SECONDS)
        return min(self._looked_at + interval, max(ends_at, earliest))

    async def _page(self, waits: Sequence[SharedWait], interval: float) -> Mapping[str, Song] | RiffusionError:
        """Return the newest songs by their ids, or the error that is everybody's."""
        limit = _SMALL_PAGE + 2 * sum(len(wait.handles) for wait in waits)
        limit = _SMALL_PAGE if self._has_page_failed else min(limit, _LARGEST_PAGE)
        read = partial(self._hook.list_songs, limit=limit, user_id=self._user_id, attempts=1)
        found = await self._shared(self._pages, read, waits, interval)
        self._has_page_failed = isinstance(found, RiffusionError)
        if not isinstance(found, RiffusionError):
            self._groups.clear()
            for song in found:
                self._groups[song.group_id].add(song.id)
            return {song.id: song for song in found}
        is_of_account = isinstance(found, AirflowFailException) and not isinstance(found, RiffusionDownloadError)
        # The API's other errors may be the page's alone, such as a limit that it does not take.
        return found if is_of_account or is_passing(found) else {}

    async def _job_ids(self, waits: Sequence[SharedWait], interval: float) -> set[str]:
        """Return the ids of the vendor's job list; none when it cannot be read, and then songs are asked for alone."""
        found = await self._shared(self._jobs, partial(self._hook.get_scheduler, attempts=1), waits, interval)
        return set() if isinstance(found, RiffusionError) else {job.id for job in found}

    async def _shared(
        self, pace: _Pace, read: Callable[[], T], waits: Sequence[SharedWait], interval: float
    ) -> T | RiffusionError:
        now = time.monotonic()
        # The last poll is at the deadline, as in a task that waits by itself.
        if pace.failure is not None and now < pace.rests_until and not any(wait.ends_at <= now for wait in waits):
            return pace.failure
        found = await self._in_thread(read)
        count_poll(found)
        pace.note(found, interval)
        return found

    def _judge(
        self, wait: SharedWait, page: Mapping[str, Song] | RiffusionError, job_ids: set[str], now: float
    ) -> None:
        """Tell a trigger what a look means for it, or have its songs asked for alone."""
        if isinstance(page, RiffusionError):
            is_long = now - self._pages.failing_since >= _PAGE_SECONDS
            wait.is_alone = is_long and self._pages.failure is not None and page.retry_after is None
            wait.tell_news(page, now)
            return
        unseen = [handle for handle in wait.handles if handle not in page]
        if len(unseen) < len(wait.handles):
            found = zip(wait.handles, wait.songs, strict=True)
            wait.songs = [(page[handle],) if handle in page else songs for handle, songs in found]
        is_listed, wait.looked_at = bool(unseen) and job_ids.issuperset(unseen), now
        # At the deadline a job that is listed is asked for its songs, which the error shall name.
        is_unsure = not is_listed or now >= wait.ends_at
        wait.is_alone = is_unsure if unseen else self._may_be_jobs(wait.handles, page)
        if not wait.is_alone:
            wait.tell_news(Poll(wait.songs, is_listed), now)

    def _may_be_jobs(self, handles: Sequence[str], page: Mapping[str, Song]) -> bool:
        """Return whether ended songs have others in their group: nobody knows whether a job can have a song's id."""
        songs = [page[handle] for handle in handles]
        if any(song.state is SongState.RUNNING for song in songs):
            return False
        return any(song.group_id is not None and self._groups[song.group_id].difference(handles) for song in songs)

    # --- what no look shows

    async def _ask_alone(self) -> float:
        """Ask for the songs of the trigger that has waited longest for it, and return the seconds until the next."""
        now = time.monotonic()
        due = [wait for wait in self.waits if wait.is_alone and wait.due <= now]
        if not due or now < self._alone.rests_until:
            with suppress(TimeoutError):
                async with asyncio.timeout(ALONE_SECONDS):
                    await self._has_looked.wait()
            self._has_looked.clear()
            return 0.0
        wait = min(due, key=attrgetter("due"))
        wait.due = now + wait.interval
        polled = await self._in_thread(partial(poll, self._hook, wait.handles, self._user_id))
        self._alone.note(polled, 0.0)
        wait.tell(polled)
        return ALONE_SECONDS * len(wait.handles)

    async def _in_thread(self, function: Callable[[], T]) -> T | RiffusionError:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)
        except RiffusionError as error:
            return error
        except Exception as error:
            return _failure_of(error)

    def _gauge(self) -> None:
        gauge_waiting(sum(len(wait.handles) for poller in _POLLERS.values() for wait in poller.waits))


def _failure_of(error: Exception) -> RiffusionError:
    """Return an error that is none of ours as one that passes, because one look must not end all waits."""
    what = f"A look at the songs failed: {type(error).__name__}: {printable(str(error), 1000)}"
    return RiffusionError(f"{what}\nThe wait goes on; report this if it comes again.", transient=True)


#: By event loop, connection and account.
_POLLERS: dict[tuple[asyncio.AbstractEventLoop, ConnectionSettings, str | None], _Poller] = {}
