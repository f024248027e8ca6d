"""Wait for songs in the triggerer."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from airflow.providers.common.compat.sdk import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_riffusion.tasks.events import SongEvent, event_of_error
from airflow_provider_riffusion.tasks.waiting import TRIGGERER_GRACE_SECONDS, Wait
from airflow_provider_riffusion.triggers.poller import shared_wait

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
    from airflow_provider_riffusion.tasks.base import RiffusionOperator
    from airflow_provider_riffusion.useapi.models import SongSummary

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Threads that make hooks and cancel jobs.
_THREADS = 32


class RiffusionSongTrigger(BaseTrigger):
    """
    Wait until songs have ended, and send one event with the songs or the error; never raises.

    The triggers of one connection and account share their polls, see :mod:`.poller`; the shortest interval counts.

    :param ids: handles, song or job ids
    :param riffusion_conn_id: Airflow connection of the type ``riffusion``
    :param user_id: account; by default the connection's
    :param poll_interval: seconds between two polls
    :param deadline: seconds since the epoch after which the wait ends
    :param is_tolerant: wait on after any error that is no AirflowFailException
    :param cancel_on_kill: take the jobs off the vendor's job list when a user marks the task failed or clears it
    :param max_failures: no longer counted; None in a trigger of version 0.1.0 means ``is_tolerant``
    """

    def __init__(
        self,
        *,
        ids: Sequence[str],
        riffusion_conn_id: str,
        user_id: str | None,
        poll_interval: float,
        deadline: float,
        is_tolerant: bool = False,
        cancel_on_kill: bool = False,
        max_failures: int | None = 0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's has no types
        self.ids = list(ids)
        self.riffusion_conn_id, self.user_id = riffusion_conn_id, user_id
        self.poll_interval, self.deadline = poll_interval, deadline
        self.is_tolerant = is_tolerant or max_failures is None
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that make this trigger again; none of them is a secret."""
        names = ("ids", "riffusion_conn_id", "user_id", "poll_interval", "deadline", "is_tolerant", "cancel_on_kill")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until there is an outcome."""
        try:
            event = SongEvent(status="done", songs=await self._wait())
        # Airflow would retry the task for an exception here, even for one that must fail the task at once.
        except Exception as error:
            event = event_of_error(error)
        yield TriggerEvent(event)

    async def on_kill(self) -> None:
        """Cancel the jobs; Airflow 3.3 and later call this when a user marks the task failed or clears it."""
        if self.cancel_on_kill:
            hook = await self._connect()
            await _in_thread(hook.cancel_jobs, self.ids)

    async def _connect(self) -> RiffusionHook:
        # Asked through the event loop, because before Airflow 3.3 a thread cannot ask the triggerer for a connection.
        connection = await BaseHook.aget_connection(self.riffusion_conn_id)
        return await _in_thread(_make_hook, self.riffusion_conn_id, connection)

    async def _wait(self) -> list[SongSummary]:
        hook = await self._connect()
        wait, pause = Wait(self.ids, self.poll_interval, self.deadline, self.is_tolerant), 0.0
        with shared_wait(hook, self.user_id, self.ids, self.poll_interval, self.deadline) as shared:
            while True:
                polled, now = await shared.next(pause), time.time()
                if (songs := wait.result(polled, now)) is not None:
                    return songs
                pause = wait.pause(now)


def defer(task: RiffusionOperator, deadline: float, options: Mapping[str, Any], **saved: object) -> NoReturn:
    """
    Let a task wait in the triggerer, and go on in its ``execute_complete``.

    :param task: the operator or sensor
    :param deadline: seconds since the epoch
    :param options: arguments of :class:`RiffusionSongTrigger`, beside those that are known from the task
    :param saved: arguments of ``execute_complete``, beside the event
    """
    conn_id, user_id = task.riffusion_conn_id, task.user_id
    trigger = RiffusionSongTrigger(riffusion_conn_id=conn_id, user_id=user_id, deadline=deadline, **options)
    # The log of a deferred task ends here when no triggerer runs.
    moment = f"{datetime.fromtimestamp(deadline, UTC):%Y-%m-%dT%H:%M:%SZ}"
    log.info("The triggerer waits for %s until %s", ", ".join(trigger.ids)[:500], moment)
    timeout = timedelta(seconds=deadline - time.time() + TRIGGERER_GRACE_SECONDS)
    task.defer(trigger=trigger, method_name="execute_complete", kwargs=saved, timeout=timeout)


def _in_thread(function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    # The triggerer finds a log line's task by a context variable, which a thread does not inherit.
    run = contextvars.copy_context().run
    return asyncio.get_running_loop().run_in_executor(_quick_threads(), run, function, *arguments)


@cache
def _quick_threads() -> ThreadPoolExecutor:
    """Return the threads for what never hangs for long; polls have others."""
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="riffusion-quick")


def _make_hook(riffusion_conn_id: str, connection: Connection) -> RiffusionHook:
    # Imported here, in a thread, because importing requests would block the event loop.
    from airflow_provider_riffusion.hooks.connection import ConnectionSettings
    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

    hook = RiffusionHook(riffusion_conn_id)
    hook.settings = ConnectionSettings.of(connection)
    return hook
