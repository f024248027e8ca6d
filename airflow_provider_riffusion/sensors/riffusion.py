"""Sensors for songs and accounts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseOperator,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_riffusion.exceptions import RiffusionError, RiffusionPendingError, RiffusionTimeoutError
from airflow_provider_riffusion.links.riffusion import RiffusionSongLink, push_song_url
from airflow_provider_riffusion.parameters import Rules
from airflow_provider_riffusion.tasks.base import ACCOUNT_RULES, RiffusionOperator
from airflow_provider_riffusion.useapi.prompts import SONG_ID

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_riffusion.tasks.task_state import TaskState
    from airflow_provider_riffusion.useapi.models import SongSummary


class _RiffusionSensor(RiffusionOperator, BaseSensorOperator):
    """What the sensors share."""

    _state: TaskState | None = None

    def _state_of(self, context: Context) -> TaskState:
        """Return one state for all pokes of this process, so that failures are counted without a store, too."""
        from airflow_provider_riffusion.tasks.task_state import TaskState

        self._state = self._state or TaskState(context)
        return self._state


class RiffusionSongSensor(_RiffusionSensor):
    """
    Wait until a song, or all songs of a job, are finished. The result is a list of small objects, one for each song.

    Polls that fail for network reasons are tolerated, until five have failed in a row. With
    ``deferrable`` the triggerer waits, and the task ends as it would have in poke mode, in every case.

    :param song_id: id of a song or a job
    :param deferrable: wait in the triggerer, without a worker
    :raises RiffusionSongFailedError: a song ended failed
    :raises RiffusionPendingError: the account is broken (HTTP 596)
    :raises AirflowSensorTimeout: the songs were not finished within ``timeout``
    """

    parameter_rules: ClassVar[Rules] = {"song_id": SONG_ID, **ACCOUNT_RULES}
    template_fields = tuple(parameter_rules)
    operator_extra_links = (RiffusionSongLink(),)

    def __init__(
        self,
        *,
        song_id: str,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.song_id = song_id
        self.deferrable = deferrable
        self.check_parameters(only_literals=True)

    def execute(self, context: Context) -> Any:
        """Wait here or in the triggerer."""
        self.check_parameters()
        if self.deferrable:
            self._defer()
        return super().execute(context)

    def _defer(self) -> None:
        from airflow_provider_riffusion.tasks.waiting import MAX_FAILURES
        from airflow_provider_riffusion.triggers.riffusion import RiffusionSongTrigger

        self.defer(
            trigger=RiffusionSongTrigger(
                ids=[self.song_id],
                riffusion_conn_id=self.riffusion_conn_id,
                user_id=self.user_id,
                poll_interval=self.poke_interval,
                deadline=time.time() + self.timeout,
                # Airflow's silent_fail goes on after any error that is no AirflowFailException.
                max_failures=None if self.silent_fail else MAX_FAILURES,
            ),
            method_name="execute_complete",
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        from airflow_provider_riffusion.tasks.waiting import Waiter, poll

        state = self._state_of(context)
        waiter = Waiter([self.song_id], failures=state.load_failures())
        try:
            songs = waiter.result(poll(self.hook, [self.song_id], self.user_id), now=time.time())
        except RiffusionError:
            # The task state survives a retry, so reset the counter for it.
            state.save_failures(0)
            raise
        state.save_failures(waiter.failures)
        if songs is not None:
            push_song_url(context, songs)
        return PokeReturnValue(songs is not None, xcom_value=songs)

    def execute_complete(self, context: Context, event: object = None) -> list[SongSummary]:
        """Unpack the trigger's event, and end as poking would have."""
        from airflow_provider_riffusion.tasks.events import songs_of_event

        try:
            songs = songs_of_event(event)
        except RiffusionError as error:
            self._end_as_poke_would(error)
            raise
        push_song_url(context, songs)
        return songs

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume without the base class, whose ``never_fail`` would also skip a timeout."""
        if next_method == "execute_complete":
            return BaseOperator.resume_execution(self, next_method, next_kwargs, context)
        return super().resume_execution(next_method, next_kwargs, context)

    def _end_as_poke_would(self, error: RiffusionError) -> None:
        """Raise what Airflow raises for an error of a poke, by ``soft_fail`` and ``never_fail``."""
        is_timeout = isinstance(error, RiffusionTimeoutError)
        is_soft = self.soft_fail and (is_timeout or isinstance(error, AirflowFailException))
        if is_soft or (self.never_fail and not is_timeout):
            raise AirflowSkipException(f"Skipping due to soft_fail or never_fail: {error}") from error
        if is_timeout:
            raise AirflowSensorTimeout(str(error)) from error


class RiffusionAccountSensor(_RiffusionSensor):
    """
    A gate before many tasks: pass when the account can be used, at the cost of one request.

    Fails at once on a broken account; without ``user_id``, here and in the connection, on any that is broken.

    :param wait_for_repair: wait until a human has repaired the account, instead of failing
    :raises RiffusionPendingError: an account is broken
    :raises RiffusionConfigurationError: there is no such account
    """

    def __init__(self, *, wait_for_repair: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wait_for_repair = wait_for_repair
        self.check_parameters(only_literals=True)

    def poke(self, context: Context) -> bool:
        """Look once."""
        from airflow_provider_riffusion.tasks.waiting import MAX_FAILURES, is_passing

        self.check_parameters()
        state = self._state_of(context)
        try:
            self.hook.check_accounts(user_id=self.user_id, attempts=1)
        except RiffusionError as error:
            is_broken = isinstance(error, RiffusionPendingError)
            failures = 0 if is_broken else state.load_failures() + 1
            if is_broken and self.wait_for_repair:
                self.log.warning("Waiting for a repair: %s", error)
            elif failures < MAX_FAILURES and is_passing(error):
                self.log.warning("Could not look at the accounts: %s", error)
            else:
                # The task state survives a retry, so reset the counter for it.
                state.save_failures(0)
                raise
            state.save_failures(failures)
            return False
        state.save_failures(0)
        return True
