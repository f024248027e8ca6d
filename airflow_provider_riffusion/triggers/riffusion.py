"""Wait for songs in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_riffusion.tasks.events import event_of, event_of_error
from airflow_provider_riffusion.tasks.waiting import MAX_FAILURES, Waiter, poll

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
    from airflow_provider_riffusion.useapi.models import SongSummary

#: Enough for hundreds of triggers, because a poll takes milliseconds; asyncio's own pool serves other triggers, too.
_THREADS = 8


class RiffusionSongTrigger(BaseTrigger):
    """
    Wait until songs are finished, and send one event with the songs or the error; never raises.

    :param ids: handles, song or job ids
    :param riffusion_conn_id: Airflow connection of the type ``riffusion``
    :param user_id: account; by default the connection's
    :param poll_interval: seconds between two polls
    :param deadline: seconds since the epoch after which the wait ends
    :param max_failures: how many polls in a row may fail; None: any number, until the deadline
    :param cancel_on_kill: take the jobs off the vendor's job list when a user marks the task failed or clears it
    """

    def __init__(
        self,
        *,
        ids: Sequence[str],
        riffusion_conn_id: str,
        user_id: str | None,
        poll_interval: float,
        deadline: float,
        max_failures: int | None = MAX_FAILURES,
        cancel_on_kill: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's has no types
        self.ids = list(ids)
        self.riffusion_conn_id = riffusion_conn_id
        self.user_id = user_id
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.max_failures = max_failures
        self.cancel_on_kill = cancel_on_kill
        self._hook: RiffusionHook | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that make this trigger again; none of them is a secret."""
        names = ("ids", "riffusion_conn_id", "user_id", "poll_interval", "deadline", "max_failures", "cancel_on_kill")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until there is an outcome."""
        try:
            event = event_of(await self._wait())
        # Airflow would retry the task for an exception here, even for one that must fail the task at once.
        except Exception as error:
            event = event_of_error(error)
        yield TriggerEvent(event)

    async def on_kill(self) -> None:
        """Cancel the jobs; Airflow 3.3 and later call this when a user marks the task failed or clears it."""
        if self.cancel_on_kill:
            hook = self._hook or await self._connect(_pool("kill"))
            await asyncio.get_running_loop().run_in_executor(_pool("kill"), hook.cancel_jobs, self.ids)

    async def _connect(self, pool: ThreadPoolExecutor) -> RiffusionHook:
        # Asked through the event loop, because before Airflow 3.3 a thread cannot ask the triggerer for a connection.
        connection = await BaseHook.aget_connection(self.riffusion_conn_id)
        return await asyncio.get_running_loop().run_in_executor(pool, _make_hook, self.riffusion_conn_id, connection)

    async def _wait(self) -> list[SongSummary]:
        loop = asyncio.get_running_loop()
        self._hook = await self._connect(_pool("poll"))
        max_failures = float("inf") if self.max_failures is None else self.max_failures
        waiter = Waiter(self.ids, self.deadline, max_failures)
        while True:
            polled = await loop.run_in_executor(_pool("poll"), poll, self._hook, self.ids, self.user_id)
            now = time.time()
            if (songs := waiter.result(polled, now=now)) is not None:
                return songs
            # The last poll is at the deadline.
            await asyncio.sleep(max(0.0, min(self.poll_interval, self.deadline - now)))


@cache
def _pool(purpose: str) -> ThreadPoolExecutor:
    """Return the threads for a purpose; kills have their own, so that they get through while all polls hang."""
    return ThreadPoolExecutor(_THREADS, thread_name_prefix=f"riffusion-{purpose}")


def _make_hook(riffusion_conn_id: str, connection: Connection) -> RiffusionHook:
    # Imported here, in a thread, because importing requests would block the event loop.
    from airflow_provider_riffusion.hooks.connection import ConnectionSettings
    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

    hook = RiffusionHook(riffusion_conn_id)
    hook.settings = ConnectionSettings.of(connection)
    return hook
