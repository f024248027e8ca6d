"""Send one create request for a task instance, whatever dies: resume it, send it, or find out what became of it."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_riffusion.exceptions import (
    RiffusionApiError,
    RiffusionBadRequestError,
    RiffusionConnectionError,
    RiffusionCreateUncertainError,
    RiffusionDownloadError,
    RiffusionError,
    RiffusionNotFoundError,
    RiffusionRateLimitError,
)
from airflow_provider_riffusion.parameters import parse_time
from airflow_provider_riffusion.tasks.task_state import WHAT_TO_DO, SavedCreate, TaskState
from airflow_provider_riffusion.useapi.riffusion.requests import prompts_of

if TYPE_CHECKING:
    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
    from airflow_provider_riffusion.transport.request import Request
    from airflow_provider_riffusion.useapi.models import Song

log = logging.getLogger(__name__)

#: How often a create request without a known result is looked for.
LOOKS = 3
#: Allowed difference to the server's clock.
_CLOCK_SKEW_SECONDS = 10.0
#: Songs of a create request show within this time.
_CREATE_WINDOW_SECONDS = 900.0
#: Longest pause between two looks.
_MAX_PAUSE_SECONDS = 10.0
#: Shortest prompt that may match as a substring of another song's text.
_TELLING_CHARS = 8

#: Errors of the API that refuse a create request, so that it has made no songs; AirflowFailException stands for those
#: that only a human can fix, such as a 596.
_REFUSALS = (AirflowFailException, RiffusionBadRequestError, RiffusionNotFoundError, RiffusionRateLimitError)
#: Method not allowed, body too large.
_REFUSAL_STATUSES = (405, 413)


@dataclass
class CreateOnce:
    """
    Sends one create request for a task instance, and knows the handles of its songs.

    :param hook: the hook
    :param user_id: account; by default the connection's
    :param reply_ref: the user's own reference; by default a random one is made
    :param poll_interval: seconds between two looks for a create request whose result is unknown, at most 10
    :param cancel_on_kill: whether :meth:`kill` takes the jobs off the vendor's job list
    :param handles: song or job ids, as soon as they are known
    :param is_killed: whether the task was killed
    """

    hook: RiffusionHook
    user_id: str | None
    reply_ref: str | None
    poll_interval: float | str
    cancel_on_kill: bool
    handles: Sequence[str] = ()
    is_killed: bool = False

    def start(self, state: TaskState, build: Callable[[str], Request]) -> Sequence[str]:
        """
        Return the handles of an earlier try's songs, or start new songs.

        :param state: what earlier tries have kept
        :param build: makes the create request from its reference
        :raises RiffusionCreateUncertainError: nobody can tell whether a create request made songs
        """
        # The connection is looked up now, because kill() must not do that in a signal handler.
        _ = self.hook.settings
        self.handles = self._resume(state, build) or self._create(state, build)
        self.stop_if_killed()
        return self.handles

    def kill(self) -> None:
        """Send no create request any more, and cancel the jobs; may run in a signal handler."""
        self.is_killed = True
        self._cancel()

    def stop_if_killed(self) -> None:
        """Raise RiffusionError once the task was killed."""
        if self.is_killed:
            raise RiffusionError("The task was killed.")

    def _resume(self, state: TaskState, build: Callable[[str], Request]) -> Sequence[str]:
        """Return the handles of an earlier try; none when there was none, or the API does not know them any more."""
        saved = state.load_create()
        if saved is None:
            return ()
        if not saved.ids:
            log.info("An earlier try died while it sent its create request %s; looking for it", saved.reference)
            return self._recover(state, saved, build(saved.reference))
        # Set before the look, so that kill() can cancel these jobs meanwhile.
        self.handles = saved.ids
        known: list[str] = []
        for look in range(LOOKS):
            if look:
                self._pause()
            self.stop_if_killed()
            known = [handle for handle in saved.ids if self.hook.is_known(handle, user_id=self.user_id)]
            # A job this old would have shown by now.
            if known or time.time() - saved.sent_at > _CREATE_WINDOW_SECONDS:
                break
        if known:
            log.info("Waiting for %s of an earlier try; no create request is sent", ", ".join(known))
        else:
            log.warning("The API does not know %s of an earlier try any more; creating anew", ", ".join(saved.ids))
            state.forget_create()
        return known

    def _create(self, state: TaskState, build: Callable[[str], Request]) -> Sequence[str]:
        create = SavedCreate(reference=self.reply_ref or secrets.token_hex(16), sent_at=time.time())
        request = build(create.reference)
        self.stop_if_killed()
        state.save_create(create)
        try:
            handles = self.hook.create(request)
        except RiffusionError as error:
            if not may_have_created(error):
                state.forget_create()
                raise
            log.warning("The response to create request %s was lost; looking for it: %s", create.reference, error)
            handles = []
        if not handles:
            return self._recover(state, create, request)
        self._keep(state, create, handles)
        log.info("Created %s, reference %s", ", ".join(handles), create.reference)
        return handles

    def _keep(self, state: TaskState, create: SavedCreate, handles: Sequence[str]) -> None:
        state.save_create(SavedCreate(create.reference, create.sent_at, handles))
        self.handles = handles
        if self.is_killed:
            # kill() ran before there was a handle to cancel.
            self._cancel()
            self.stop_if_killed()

    def _recover(self, state: TaskState, create: SavedCreate, request: Request) -> Sequence[str]:
        """
        Find out what became of a create request whose response is not known.

        :raises RiffusionCreateUncertainError: nobody can tell
        """
        try:
            handles = self._find(create, request)
        except RiffusionError:
            if state.is_durable:
                raise
            # Without a durable state the next try would know nothing of this request, and send it again.
            handles = []
        if handles:
            log.info("Found %s of reference %s", ", ".join(handles), create.reference)
            self._keep(state, create, handles)
            return handles
        # Forget the create request: whoever checks the library and then clears the task wants a new song.
        state.forget_create()
        raise RiffusionCreateUncertainError(
            f"A create request with the reference {create.reference} was sent at {_iso(create.sent_at)}, its response "
            f"was lost, and neither GET scheduler shows that replyRef nor GET music exactly one new set of songs for "
            f"it. {WHAT_TO_DO}"
        )

    def _find(self, create: SavedCreate, request: Request) -> list[str]:
        seen: list[str] = []
        for look in range(LOOKS):
            if look:
                self._pause()
            if jobs := self._find_jobs(create):
                return jobs
            # Require two equal results in a row: the second song of a pair can appear a moment after the first.
            before, seen = seen, self._find_songs(create, request)
            if seen and seen == before:
                return seen
        return []

    def _find_jobs(self, create: SavedCreate) -> list[str]:
        jobs = [job for job in self.hook.get_scheduler() if job.reply_ref == create.reference]
        if self.reply_ref:
            # The user's own reference may have been used before, so the time must fit as well.
            jobs = [job for job in jobs if _fits(create, job.started)]
            if len({job.started for job in jobs}) > 1:
                return []
        return list(dict.fromkeys(job.id for job in jobs))

    def _find_songs(self, create: SavedCreate, request: Request) -> list[str]:
        songs = [
            song
            for song in self.hook.list_songs(limit=50, user_id=self.user_id)
            if _fits(create, song.created_at) and _is_of_prompts(song, prompts_of(request))
        ]
        return [song.id for song in songs] if _is_one_set(songs) else []

    def _pause(self) -> None:
        time.sleep(min(float(self.poll_interval), _MAX_PAUSE_SECONDS))

    def _cancel(self) -> None:
        # Only when the connection was looked up already: in a signal handler the look-up could wait for ever.
        if self.cancel_on_kill and self.handles and "settings" in vars(self.hook):
            self.hook.cancel_jobs(self.handles)


def may_have_created(error: RiffusionError) -> bool:
    """Return whether a create request that failed so may have made songs: always, unless the API refused it."""
    if isinstance(error, RiffusionConnectionError):
        return error.may_have_arrived
    if isinstance(error, RiffusionApiError):
        return not isinstance(error, _REFUSALS) and error.http_status not in _REFUSAL_STATUSES
    return isinstance(error, RiffusionDownloadError)


def _fits(create: SavedCreate, time_of: str | None) -> bool:
    """Return whether something of that time can come from the create request."""
    moment = parse_time(time_of)
    return moment is not None and -_CLOCK_SKEW_SECONDS <= moment.timestamp() - create.sent_at <= _CREATE_WINDOW_SECONDS


def _is_of_prompts(song: Song, prompts: Sequence[str]) -> bool:
    """Return whether a song shows all prompts: a short one as a whole field, a longer one anywhere in a field."""
    fields = [text.casefold().strip() for text in (song.title, song.sound, song.topic, song.lyrics) if text]
    return all(
        any(prompt == field or (len(prompt) >= _TELLING_CHARS and prompt in field) for field in fields)
        for prompt in (prompt.casefold().strip() for prompt in prompts)
    )


def _is_one_set(songs: Sequence[Song]) -> bool:
    """Return whether songs come from one job: they share a group, or are two songs of one second."""
    groups = {song.group_id or song.id for song in songs}
    return len(groups) == 1 or (len(songs) == 2 and len({(song.created_at or "")[:19] for song in songs}) == 1)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
