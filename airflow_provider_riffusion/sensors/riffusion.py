"""Sensors for songs and accounts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat import sdk

from airflow_provider_riffusion.exceptions import RiffusionError, RiffusionPendingError, RiffusionTimeoutError
from airflow_provider_riffusion.links.riffusion import RiffusionSongLink, push_song_url
from airflow_provider_riffusion.parameters import Rules
from airflow_provider_riffusion.tasks.base import ACCOUNT_RULES, DEFERRABLE, LOOK_SECONDS, RiffusionOperator
from airflow_provider_riffusion.useapi.prompts import SONG_ID

if TYPE_CHECKING:
    from airflow_provider_riffusion.tasks.waiting import Wait
    from airflow_provider_riffusion.useapi.models import SongSummary

#: Longest sleep of a rescheduled sensor before it looks whether a job shows another song.
_MAX_CONFIRMATION_SECONDS = 10.0


class _RiffusionSensor(RiffusionOperator, sdk.BaseSensorOperator):
    """What the sensors share: failures that may pass are tolerated until the timeout."""

    _wait: Wait | None = None

    def execute(self, context: sdk.Context) -> Any:
        """Poke until the timeout."""
        self.check_parameters()
        try:
            return super().execute(context)
        except sdk.AirflowSensorTimeout as error:
            raise sdk.AirflowSensorTimeout(f"{error}\n{self._wait_for().last_seen}") from None

    def _wait_for(self, *handles: str) -> Wait:
        """Return one wait for all pokes of this process."""
        from airflow_provider_riffusion.tasks.waiting import Wait

        self._wait = self._wait or Wait(handles, self.poke_interval, is_tolerant=self.silent_fail)
        return self._wait

    def _get_next_poke_interval(self, started_at: Any, run_duration: Callable[[], float], poke_count: int) -> float:
        interval: float = super()._get_next_poke_interval(started_at, run_duration, poke_count)
        wait = self._wait_for()
        if wait.failure is not None:
            interval = max(interval, wait.pause(time.time()))
        # The last poke is at the deadline.
        return max(0.0, min(interval, self.timeout - run_duration()))


class RiffusionSongSensor(_RiffusionSensor):
    """
    Wait until a song, or all songs of a job, have ended. The result is a list of small objects, one for each song
    that can be used.

    Polls that fail for network reasons are tolerated until ``timeout``. With ``deferrable`` the triggerer waits, and
    the task ends as it would have in poke mode, in every case; it polls every ``poke_interval``, whatever Airflow's
    ``exponential_backoff`` and ``max_wait`` say.

    :param song_id: id of a song or a job
    :param deferrable: wait in the triggerer, without a worker
    :raises RiffusionSongFailedError: all songs have ended, and none can be used
    :raises RiffusionPendingError: the account is broken (HTTP 596)
    :raises AirflowSensorTimeout: the songs were not finished within ``timeout``
    """

    parameter_rules: ClassVar[Rules] = {"song_id": SONG_ID, **ACCOUNT_RULES}
    template_fields = tuple(parameter_rules)
    operator_extra_links = (RiffusionSongLink(),)

    def __init__(self, *, song_id: str, deferrable: bool = DEFERRABLE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.song_id, self.deferrable = song_id, deferrable
        self.check_parameters(only_literals=True)

    def execute(self, context: sdk.Context) -> Any:
        """Wait here or in the triggerer."""
        if not self.deferrable:
            return super().execute(context)
        self.check_parameters()
        deadline = time.time() + self.timeout
        songs = self._found(context, lambda: self._look(context, LOOK_SECONDS))
        if songs is None:
            from airflow_provider_riffusion.triggers.riffusion import defer

            # Airflow's silent_fail goes on after any error that is no AirflowFailException.
            options = {"ids": [self.song_id], "poll_interval": self.poke_interval, "is_tolerant": self.silent_fail}
            defer(self, deadline, options)
        return songs

    def poke(self, context: sdk.Context) -> sdk.PokeReturnValue:
        """Look once."""
        songs = self._look(context)
        if self.reschedule and self._wait_for().unconfirmed:
            # The next poke is another process, which would not know what this one has seen.
            time.sleep(min(self.poke_interval, _MAX_CONFIRMATION_SECONDS))
            songs = self._look(context)
        push_song_url(context, songs or ())
        return sdk.PokeReturnValue(songs is not None, xcom_value=songs)

    def _look(self, context: sdk.Context, seconds: float = math.inf) -> list[SongSummary] | None:
        from airflow_provider_riffusion.tasks.waiting import Poll, poll

        wait = self._wait_for(self.song_id)
        polled = poll(self.hook, wait.handles, self.user_id, seconds)
        if isinstance(polled, Poll):
            push_song_url(context, polled.shown)
        return wait.result(polled, time.time())

    def execute_complete(self, context: sdk.Context, event: object = None) -> list[SongSummary] | None:
        """Unpack the trigger's event, and end as poking would have."""
        from airflow_provider_riffusion.tasks.events import songs_of_event

        return self._found(context, lambda: songs_of_event(event))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: sdk.Context) -> Any:
        """Resume without the base class, whose ``never_fail`` would also skip a timeout."""
        if next_method == "execute_complete":
            return sdk.BaseOperator.resume_execution(self, next_method, next_kwargs, context)
        return super().resume_execution(next_method, next_kwargs, context)

    def _found(self, context: sdk.Context, find: Callable[[], list[SongSummary] | None]) -> list[SongSummary] | None:
        """Return songs, or raise what Airflow raises for an error of a poke, by ``soft_fail`` and ``never_fail``."""
        try:
            songs = find()
        except RiffusionError as error:
            is_timeout = isinstance(error, RiffusionTimeoutError)
            is_soft = self.soft_fail and (is_timeout or isinstance(error, sdk.AirflowFailException))
            if is_soft or (self.never_fail and not is_timeout):
                raise sdk.AirflowSkipException(f"Skipping due to soft_fail or never_fail: {error}") from error
            if is_timeout:
                raise sdk.AirflowSensorTimeout(str(error)) from error
            raise
        push_song_url(context, songs or ())
        return songs


class RiffusionAccountSensor(_RiffusionSensor):
    """
    A gate before many tasks: pass when the account can be used, at the cost of one request.

    Fails at once on a broken account; without ``user_id``, here and in the connection, on any that is broken. Looks
    that fail for network reasons are tolerated until ``timeout``.

    :param wait_for_repair: wait until a human has repaired the account, instead of failing
    :raises RiffusionPendingError: an account is broken
    :raises RiffusionConfigurationError: there is no such account
    """

    def __init__(self, *, wait_for_repair: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wait_for_repair = wait_for_repair
        self.check_parameters(only_literals=True)

    def poke(self, context: sdk.Context) -> bool:
        """Look once."""
        wait = self._wait_for("the account")
        try:
            self.hook.check_accounts(user_id=self.user_id, attempts=1)
            return True
        except RiffusionPendingError as error:
            if not self.wait_for_repair:
                raise
            self.log.warning("Waiting for a repair: %s", error)
            wait.failure = None
        except RiffusionError as error:
            wait.fail(error, time.time())
        return False
