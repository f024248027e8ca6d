"""What the operators that start songs share: never to pay twice, and to wait."""

from __future__ import annotations

import secrets
import time
from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_provider_riffusion.exceptions import (
    RiffusionCreateUncertainError,
    RiffusionError,
    RiffusionSongFailedError,
)
from airflow_provider_riffusion.links.riffusion import RiffusionSongLink, push_song_url
from airflow_provider_riffusion.tasks.base import (
    ACCOUNT_CHECKS,
    Checks,
    UsesHook,
    check_parameters,
    is_positive,
    is_template,
)
from airflow_provider_riffusion.tasks.task_state import SavedCreate, TaskState
from airflow_provider_riffusion.tasks.waiting import SongSummary, Waiter, cancel_jobs, poll, songs_of_event
from airflow_provider_riffusion.useapi.riffusion import creation
from airflow_provider_riffusion.useapi.riffusion.responses import parse_time

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_riffusion.useapi.riffusion.requests import Request
    from airflow_provider_riffusion.useapi.riffusion.responses import Song

#: Looks for a lost create before it is given up, and seconds between them.
_SEARCHES = 3
#: Seconds by which the server's clock may differ, and in which a create may turn into songs.
_CLOCK_SKEW = 10.0
_CREATE_WINDOW = 900.0
#: Characters from which a prompt is not found in another song's text by chance.
_TELLING_LENGTH = 8
#: A trigger that never reports back, because no triggerer runs, is given up this many seconds after the deadline.
_TRIGGERER_GRACE = 600.0

_WAITING_CHECKS: Checks = {
    "poll_interval": (is_positive, "use seconds above 0"),
    "timeout": (is_positive, "use seconds above 0"),
    **ACCOUNT_CHECKS,
}
COMMON_PARAMETERS = ("model", "user_id", "max_jobs", "reply_url", "reply_ref")


class BaseCreateOperator(UsesHook, BaseOperator):
    """
    What both create operators share.

    The request is sent once. Before it, a random reference and the time are kept in the task's state (Airflow 3.3 and
    later); after it, the ids. A later try waits for what an earlier one has started. A create whose reply was lost is
    looked for by its reference, and never sent again while nobody can tell what became of it.

    :param model: the vendor's name of a model
    :param user_id: account; by default the connection's
    :param max_jobs: 1 to 10, how many songs the account may generate at once
    :param reply_url: URL that the vendor calls when the songs are finished
    :param reply_ref: your reference for that call; default a random one
    :param wait_for_completion: wait for the songs; otherwise return the ids that the reply named, song or job
    :param poll_interval: seconds between two looks at the songs
    :param timeout: seconds to wait for the songs, in each try
    :param deferrable: wait in the triggerer, without a worker
    :param cancel_on_kill: have the scheduler forget the job when the task is killed
    :param riffusion_conn_id: Airflow connection of the type ``riffusion``
    """

    template_fields: Sequence[str] = (*COMMON_PARAMETERS, "poll_interval", "timeout", "riffusion_conn_id")
    operator_extra_links = (RiffusionSongLink(),)
    ui_color = "#f4e3ff"

    #: Parameters that make up the request; set by the subclasses.
    request_parameters: Sequence[str] = COMMON_PARAMETERS

    def __init__(
        self,
        *,
        model: str | None = None,
        user_id: str | None = None,
        max_jobs: int | str | None = None,
        reply_url: str | None = None,
        reply_ref: str | None = None,
        wait_for_completion: bool = True,
        poll_interval: float | str = 10,
        timeout: float | str = 1800,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        cancel_on_kill: bool = True,
        riffusion_conn_id: str = "riffusion_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.user_id = user_id
        self.max_jobs = max_jobs
        self.reply_url = reply_url
        self.reply_ref = reply_ref
        self.wait_for_completion = wait_for_completion
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.deferrable = deferrable
        self.cancel_on_kill = cancel_on_kill
        self.riffusion_conn_id = riffusion_conn_id
        self._ids: Sequence[str] = ()
        self._is_killed = False

    def execute(self, context: Context) -> list[str]:
        """Start the songs, or find those that an earlier try has started, and wait for them."""
        check_parameters(self, _WAITING_CHECKS, only_literals=False)
        request = self._request(user_id=self.user_id or self.hook.settings.user_id)
        state = TaskState(context)
        if finished := state.load_finished():
            self.log.info("An earlier try has finished %s and could not report them", ", ".join(finished))
            return list(finished)
        self._ids = self._resume(state, request) or self._create(state, request)
        self._stop_if_killed()
        if not self.wait_for_completion:
            state.finish_create(self._ids)
            return list(self._ids)
        deadline = time.time() + float(self.timeout)
        if self.deferrable:
            self._defer(deadline)
        return self._finish(context, state, self._wait, deadline)

    def execute_complete(self, context: Context, event: object = None) -> list[str]:
        """Take up the trigger's event; ends as waiting here would have."""
        return self._finish(context, TaskState(context), songs_of_event, event)

    def on_kill(self) -> None:
        """Send no create any more, and have the scheduler forget the job. Runs in a signal handler."""
        self._is_killed = True
        self._cancel()

    @abstractmethod
    def _request(self, *, user_id: str | None, reply_ref: str | None = None) -> Request:
        """Build and check the request."""

    def _check_literals(self) -> None:
        """Check at parse time what needs no template; a request is checked as a whole."""
        check_parameters(self, _WAITING_CHECKS, only_literals=True)
        if not is_template(*(getattr(self, name) for name in self.request_parameters)):
            self._request(user_id=self.user_id)

    def _parameters(self, *, user_id: str | None, reply_ref: str | None) -> dict[str, Any]:
        parameters = {name: getattr(self, name) for name in self.request_parameters}
        return {**parameters, "user_id": user_id, "reply_ref": reply_ref if self.reply_ref is None else self.reply_ref}

    # --- starting

    def _resume(self, state: TaskState, request: Request) -> Sequence[str]:
        """Return the ids of an earlier try's create; none when there was none, or nobody knows them any more."""
        saved = state.load_create()
        if saved is None:
            return ()
        if not saved.ids:
            self.log.info("An earlier try died while it created; looking for the reference %s", saved.reference)
            return self._recover(state, saved, request)
        # At once, for a kill while they are looked for.
        self._ids = saved.ids
        known: list[str] = []
        for look in range(_SEARCHES):
            if look:
                self._pause()
            self._stop_if_killed()
            known = [song_or_job_id for song_or_job_id in saved.ids if self._is_known(song_or_job_id)]
            # A job that was started long ago cannot be about to show.
            if known or time.time() - saved.sent_at > _CREATE_WINDOW:
                break
        if not known:
            self.log.warning("Nobody knows %s of an earlier try any more; creating anew", ", ".join(saved.ids))
            state.forget_create()
        else:
            self.log.info("Waiting for %s of an earlier try; nothing is created", ", ".join(known))
        return known

    def _is_known(self, song_or_job_id: str) -> bool:
        return self.hook.is_known(song_or_job_id, user_id=self.user_id)

    def _create(self, state: TaskState, request: Request) -> Sequence[str]:
        create = SavedCreate(reference=self.reply_ref or secrets.token_hex(16), sent_at=time.time())
        request = self._request(user_id=self.user_id or self.hook.settings.user_id, reply_ref=create.reference)
        state.save_create(create)
        try:
            ids: Sequence[str] = self.hook.create(request, unless=lambda: self._is_killed)
        except RiffusionError as error:
            if not creation.may_have_created(error):
                state.forget_create()
                raise
            self.log.warning("The reply to the create was lost; looking for reference %s: %s", create.reference, error)
            ids = ()
        if not ids:
            return self._recover(state, create, request)
        self._keep(state, create, ids)
        self.log.info("Created %s, reference %s", ", ".join(ids), create.reference)
        return ids

    def _keep(self, state: TaskState, create: SavedCreate, ids: Sequence[str]) -> None:
        state.save_create(SavedCreate(create.reference, create.sent_at, ids))
        self._ids = ids
        if self._is_killed:
            # The kill came before there was an id to cancel.
            self._cancel()
            self._stop_if_killed()

    def _stop_if_killed(self) -> None:
        if self._is_killed:
            raise RiffusionError("The task was killed.")

    def _pause(self) -> None:
        time.sleep(min(float(self.poll_interval), 10.0))

    def _recover(self, state: TaskState, create: SavedCreate, request: Request) -> Sequence[str]:
        """
        Find what became of a create whose reply is not known.

        :raises RiffusionCreateUncertainError: nobody can tell
        """
        seen: list[str] = []
        for search in range(_SEARCHES):
            if search:
                self._pause()
            try:
                ids = self._find_job(create)
                if not ids:
                    # Twice the same, so that the second song of a set is not missed.
                    before, seen = seen, self._find_songs(create, request)
                    ids = seen if seen == before else []
            except RiffusionError:
                if state.is_durable:
                    raise
                # The next try would know nothing of this create, and send it again.
                break
            if ids:
                self.log.info("Found %s of reference %s", ", ".join(ids), create.reference)
                self._keep(state, create, ids)
                return ids
        # So that clearing the task, which a human does after a look, creates.
        state.forget_create()
        raise RiffusionCreateUncertainError(
            f"A create with the reference {create.reference} was sent at {_iso(create.sent_at)}, its reply was lost, "
            f"and neither GET scheduler shows that replyRef nor GET music exactly one new set of songs for it. It was "
            f"not sent again, because songs cost money. Look for songs of that time in the library: if they are there, "
            f"use their ids and mark this task successful; if not, clear this task, which creates them."
        )

    def _find_job(self, create: SavedCreate) -> list[str]:
        jobs = [job for job in self.hook.get_scheduler() if job.reply_ref == create.reference]
        if self.reply_ref:
            # The user's own reference may have been used before, so that the time has to fit as well.
            jobs = [job for job in jobs if _fits(create, job.started)]
            if len({job.started for job in jobs}) > 1:
                return []
        return list(dict.fromkeys(job.id for job in jobs))

    def _find_songs(self, create: SavedCreate, request: Request) -> list[str]:
        songs = [
            song
            for song in self.hook.list_songs(limit=50, user_id=self.user_id)
            if _fits(create, song.created_at) and _is_of_prompts(song, creation.prompt_texts(request))
        ]
        return [song.id for song in songs] if _is_one_set(songs) else []

    # --- waiting

    def _wait(self, deadline: float) -> list[SongSummary]:
        waiter = Waiter(self._ids, deadline)
        while True:
            self._stop_if_killed()
            polled = poll(self.hook, self._ids, self.user_id)
            now = time.time()
            if (songs := waiter.result(polled, now=now)) is not None:
                return songs
            time.sleep(max(0.0, min(float(self.poll_interval), deadline - now)))

    def _defer(self, deadline: float) -> None:
        from airflow_provider_riffusion.triggers.riffusion import RiffusionSongTrigger

        self.defer(
            trigger=RiffusionSongTrigger(
                ids=self._ids,
                riffusion_conn_id=self.riffusion_conn_id,
                user_id=self.user_id,
                poll_interval=float(self.poll_interval),
                deadline=deadline,
                cancel_on_kill=self.cancel_on_kill,
            ),
            method_name="execute_complete",
            timeout=float(self.timeout) + _TRIGGERER_GRACE,
        )

    def _finish(self, context: Context, state: TaskState, wait: Any, argument: object) -> list[str]:
        try:
            songs: list[SongSummary] = wait(argument)
        except RiffusionSongFailedError:
            # These songs are over; a new try is to make new ones. Whatever else ends the waiting leaves them running.
            state.forget_create()
            raise
        push_song_url(context, songs)
        ids = [song["id"] for song in songs]
        # Not forgotten yet: what comes after this, such as storing the XCom, may fail and be retried.
        state.finish_create(ids)
        return ids

    def _cancel(self) -> None:
        # Only with the connection at hand: looking it up from a signal handler could wait for ever.
        if self.cancel_on_kill and self._ids and "settings" in vars(self.hook):
            cancel_jobs(self.hook, self._ids)


def _fits(create: SavedCreate, time_of: str | None) -> bool:
    """Whether something of that time can come from the create."""
    moment = parse_time(time_of)
    return moment is not None and -_CLOCK_SKEW <= moment.timestamp() - create.sent_at <= _CREATE_WINDOW


def _is_of_prompts(song: Song, texts: Sequence[str]) -> bool:
    """Whether a song shows all prompts: a short one as a whole field, a longer one anywhere in them."""
    fields = [text.casefold().strip() for text in (song.title, song.sound, song.topic, song.lyrics) if text]
    return all(
        any(text == field or (len(text) >= _TELLING_LENGTH and text in field) for field in fields)
        for text in (text.casefold().strip() for text in texts)
    )


def _is_one_set(songs: Sequence[Song]) -> bool:
    """Whether songs come from one job: they share a group, or are the two of one second that a job is known to make."""
    groups = {song.group_id or song.id for song in songs}
    return len(groups) == 1 or (len(songs) == 2 and len({(song.created_at or "")[:19] for song in songs}) == 1)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
