"""Send one create request for a task instance, whatever dies: resume it, send it, or find out what became of it."""

import hashlib
import json
import logging
import random
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import AirflowFailException, Context, conf

from airflow_provider_riffusion import exceptions
from airflow_provider_riffusion.exceptions import RiffusionCreateUncertainError, RiffusionError
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from airflow_provider_riffusion.parameters import parse_time
from airflow_provider_riffusion.safe_text import printable
from airflow_provider_riffusion.tasks.base import LOOK_SECONDS
from airflow_provider_riffusion.tasks.metrics import count_create
from airflow_provider_riffusion.tasks.task_state import WHAT_TO_DO, SavedCreate, TaskState
from airflow_provider_riffusion.tasks.waiting import Poll, Wait, growing_pause, poll, seconds_until
from airflow_provider_riffusion.transport.request import Request
from airflow_provider_riffusion.useapi.models import SongSummary

log = logging.getLogger(__name__)

#: How often the job list is read for a create request without a known result.
_LOOKS = 3
#: Allowed difference to the server's clock.
_CLOCK_SKEW_SECONDS = 10.0
#: Songs of a create request show within this time.
_CREATE_WINDOW_SECONDS = 900.0
#: Longest pause between two looks at the job list.
_MAX_LOOK_PAUSE_SECONDS = 10.0
#: Longest pause before a create request is sent again, unless the response asks for a longer one.
_MAX_PAUSE_SECONDS = 30.0
#: A task that sleeps notices after at most so long that it was killed.
_NAP_SECONDS = 0.5
#: Airflow sends SIGKILL 5 s after SIGTERM to a task that a user has marked or cleared.
_SIGKILL_SECONDS = 6.0

#: Errors of the API that refuse a create request, so that it has made no songs, beside those that only a human can fix.
_REFUSALS = exceptions.RiffusionBadRequestError | exceptions.RiffusionNotFoundError | exceptions.RiffusionRateLimitError
#: Method not allowed, body too large.
_REFUSAL_STATUSES = (405, 413)


@dataclass
class CreateOnce:
    """
    Sends one create request for a task instance, and waits for its songs.

    :param hook: the hook
    :param state: what earlier tries have kept
    :param instance: identifies the task instance; empty when there is none
    :param user_id: account; by default the connection's
    :param reply_ref: the user's own reference; by default one is derived from the task instance and the request
    :param poll_interval: seconds between two polls
    :param cancel_on_kill: whether :meth:`kill` takes the jobs off the vendor's job list
    :param show: gets each poll that has not failed, to show its songs while they are waited for
    :param handles: song or job ids, as soon as they are known
    """

    hook: RiffusionHook
    state: TaskState
    instance: str
    user_id: str | None
    reply_ref: str | None
    poll_interval: float
    cancel_on_kill: bool
    show: Callable[[Poll], None] = lambda polled: None
    handles: Sequence[str] = ()
    is_killed: bool = False
    _is_waiting: bool = False

    def start(self, request_of: Callable[[str], Request], until: float, pause: Callable[[float], None]) -> None:
        """
        Find the handles of an earlier try's songs, or start new songs.

        :param request_of: makes the create request from its reference
        :param until: seconds since the epoch at which waiting for a slot or for the job list ends
        :param pause: waits so many seconds for a slot, or defers the task
        :raises RiffusionCreateUncertainError: nobody can tell whether a create request made songs
        """
        # The connection is looked up now, because kill() must not do that in a signal handler.
        _ = self.hook.settings
        digest = _digest_of(request_of("-"))
        saved, replaced = self.state.load(), ""
        if saved is not None and self._may_create_anew(saved, digest):
            replaced, saved = saved.reference, None
        if saved is None:
            # The reference that is replaced changes the new one, so that its jobs are not taken for the new jobs.
            derived = f"{self.instance or secrets.token_hex(16)}-{_digest(digest, replaced)}"
            create = SavedCreate(self.reply_ref or derived, time.time(), digest=digest)
            self.handles = self._adopt(create, until) or self._send(create, request_of, until, pause)
        else:
            # A retry is told from a later clear by the number that is saved with the create request.
            self.state.save(saved)
            what = f"waiting for {', '.join(saved.ids)}" if saved.ids else "looking for its job"
            log.info("An earlier try has sent the create request %s; %s", saved.reference, what)
            self.handles = saved.ids or self._find(saved, until)
        self.stop_if_killed()

    def finished(self) -> Sequence[str]:
        """Return the songs that an earlier try could not report; a cleared task has none."""
        saved = self.state.load()
        if saved is None or not saved.finished or self.state.is_cleared_since(saved):
            return ()
        log.info("An earlier try has finished %s and could not report them", ", ".join(saved.finished))
        return saved.finished

    def wait(self, deadline: float) -> list[SongSummary]:
        """
        Wait for the songs, and return those that can be used.

        :param deadline: seconds since the epoch
        :raises RiffusionSongFailedError: all songs have ended, and none can be used
        :raises RiffusionTimeoutError: the deadline has passed
        """
        wait = Wait(self.handles, self.poll_interval, deadline, is_tolerant=True)
        while True:
            polled = self._poll(seconds_until(deadline))
            now = time.time()
            if (songs := wait.result(polled, now)) is not None:
                return songs
            self.sleep(wait.pause(now))

    def look(self) -> list[SongSummary] | None:
        """Look once, before the task defers; None when the songs have not ended, or nobody can tell."""
        polled = self._poll(LOOK_SECONDS)
        return Wait(self.handles, self.poll_interval, is_tolerant=True).result(polled, time.time())

    def _poll(self, seconds: float) -> Poll | RiffusionError:
        self._is_waiting = True
        polled = poll(self.hook, self.handles, self.user_id, seconds)
        self._is_waiting = False
        # A poll that a kill has aborted is no failure.
        self.stop_if_killed()
        if isinstance(polled, Poll):
            self.show(polled)
        return polled

    def sleep(self, seconds: float) -> None:
        """Sleep, and notice a kill meanwhile."""
        end = time.monotonic() + seconds
        while not self.is_killed and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _NAP_SECONDS))
        self.stop_if_killed()

    @contextmanager
    def judged(self) -> Iterator[None]:
        """
        Make errors final that a retry could pay for, and note which songs have ended.

        :raises RiffusionCreateUncertainError: a retry would not know what became of the create request
        """
        try:
            yield
        except (exceptions.RiffusionSongFailedError, RiffusionCreateUncertainError):
            self.state.end()
            raise
        except RiffusionError as error:
            create = self.state.load()
            if create is None or self.state.is_durable or self.is_killed:
                raise
            names = ", ".join(create.ids) or f"those of the reference {create.reference}"
            why = "this Airflow keeps no state between tries, so that none follows"
            message = f"{error}\nThe songs are paid for ({names}), and {why}. {WHAT_TO_DO}"
            if isinstance(error, AirflowFailException):
                error.args = (message,)
                raise
            raise RiffusionCreateUncertainError(message) from error

    def settled(self, wait: Callable[[], list[SongSummary]]) -> list[SongSummary]:
        """
        Return the songs of a wait, also when its deadline has passed and no other song can appear any more.

        :param wait: returns the songs
        :raises RiffusionTimeoutError: a retry can wait on
        :raises RiffusionCreateUncertainError: no song was ever shown
        """
        try:
            return wait()
        except exceptions.RiffusionTimeoutError as error:
            create = self.state.load()
            if create is None or error.is_running or time.time() - create.sent_at < _CREATE_WINDOW_SECONDS:
                raise
            names = ", ".join(create.ids)
            if not error.usable:
                raise self._uncertain(create.reference, create.sent_at, f"no song of {names} was shown") from error
            log.warning("Some songs of %s never appeared and are left out of the result", names)
            return list(error.usable)

    def kill(self) -> None:
        """Send no create request any more, cancel the jobs, and end the wait; may run in a signal handler."""
        self.is_killed = True
        self._cancel()
        if self._is_waiting:
            self.hook.abort()

    def stop_if_killed(self) -> None:
        """Raise RiffusionError once the task was killed."""
        if not self.is_killed:
            return
        log.info("The task was told to stop; its songs: %s", ", ".join(self.handles) or "none yet")
        if getattr(signal.getsignal(signal.SIGTERM), "__module__", "") == "airflow.sdk.execution_time.task_runner":
            # Airflow 3.3: the API server refuses an error of a task that a user has marked failed, and the supervisor
            # then prints a traceback. SIGKILL ends the task without one; a worker that shuts down sends none.
            time.sleep(_SIGKILL_SECONDS)
        raise RiffusionError("The task was told to stop.")

    def _may_create_anew(self, saved: SavedCreate, digest: str) -> bool:
        """Return whether a human has cleared the task, and an earlier create request is not to be gone on with."""
        is_changed = saved.digest not in (None, digest)
        if not self.state.is_cleared_since(saved):
            if is_changed:
                log.warning("The create request renders differently in this try; the songs are those of the first try")
            return False
        if is_changed:
            names = ", ".join(saved.ids) or "the job of the old one"
            log.warning("The task was cleared with another request; %s is left alone", names)
        return is_changed or saved.has_ended or bool(saved.finished)

    def _adopt(self, create: SavedCreate, until: float) -> Sequence[str]:
        """Return the jobs of a try that kept no state; none when the create request may be sent."""
        is_lost = self.state.is_retry and not self.state.is_durable
        # A lost create request may have rendered differently; after a clear, a human may have replaced it by this one.
        is_any = is_lost and not self.state.was_cleared
        if self.reply_ref is None and self.instance and (ids := self._listed(create.reference, until, is_any)):
            return self._keep(create, ids)
        if is_lost:
            raise self._uncertain(create.reference, None, "an earlier try may have sent it, and no job has it")
        return ()

    def _send(
        self, create: SavedCreate, request_of: Callable[[str], Request], until: float, pause: Callable[[float], None]
    ) -> Sequence[str]:
        began, request = time.time(), request_of(create.reference)
        while True:
            self.stop_if_killed()
            create = replace(create, sent_at=time.time())
            self.state.save(create)
            count_create()
            try:
                handles = self.hook.create(request)
            except RiffusionError as error:
                if may_have_created(error):
                    log.warning("The response to the create request %s was lost: %s", create.reference, error)
                    return self._find(create, until)
                self.state.forget()
                now = time.time()
                # A refused connection and full slots cost nothing.
                if not (error.transient or isinstance(error, exceptions.RiffusionRateLimitError)) or now >= until:
                    raise
                seconds = growing_pause(self.poll_interval, now - began, _MAX_PAUSE_SECONDS, error.retry_after)
                # Many tasks that wait for a slot must not ask at the same moment.
                seconds = min(seconds * random.uniform(1, 1.3), until - now)  # noqa: S311  # no secret
                log.info("Nothing was created; the request is sent again in %.1f s: %s", seconds, error)
                pause(seconds)
            else:
                return self._keep(create, handles) if handles else self._find(create, until)

    def _keep(self, create: SavedCreate, handles: Sequence[str]) -> Sequence[str]:
        # The log comes first, because it is the only trace of the songs when the store fails.
        log.info("Created %s, reference %s", ", ".join(handles), create.reference)
        self.state.save(replace(create, ids=handles))
        self.handles = handles
        if self.is_killed:
            # kill() ran before there was a handle to cancel.
            self._cancel()
        return handles

    def _find(self, create: SavedCreate, until: float) -> Sequence[str]:
        """
        Find the jobs of a create request whose response is not known.

        :raises RiffusionCreateUncertainError: nobody can tell what became of it
        """
        # A reference of the user's may be that of another task, too.
        for look in range(_LOOKS if create.reference != self.reply_ref else 0):
            if look:
                self.sleep(min(self.poll_interval, _MAX_LOOK_PAUSE_SECONDS))
            if ids := self._listed(create.reference, until):
                return self._keep(create, ids)
        raise self._uncertain(create.reference, create.sent_at, "its response was lost, and no job has its reference")

    def _listed(self, reference: str, until: float, is_of_instance_enough: bool = False) -> list[str]:
        """Return the jobs of a reference, or of its task instance, once the vendor's job list can be read."""
        began = time.time()
        wanted = reference.partition("-")[0] if is_of_instance_enough else reference
        while True:
            self.stop_if_killed()
            try:
                references = {job.id: job.reply_ref or "" for job in self.hook.get_scheduler(attempts=1)}
                return [id for id, ref in references.items() if wanted in (ref, ref.partition("-")[0])]
            except RiffusionError as error:
                now = time.time()
                if isinstance(error, AirflowFailException) or now >= until:
                    raise
                seconds = growing_pause(self.poll_interval, now - began, _MAX_PAUSE_SECONDS, error.retry_after)
                log.warning("The job list is read again in %.1f s, and nothing is created before: %s", seconds, error)
                self.sleep(min(seconds, until - now))

    def _uncertain(self, reference: str, sent_at: float | None, reason: str) -> RiffusionCreateUncertainError:
        moment = "" if sent_at is None else f", sent at {datetime.fromtimestamp(sent_at, UTC):%Y-%m-%dT%H:%M:%SZ}"
        return RiffusionCreateUncertainError(
            f"Nobody can tell what became of a create request: {reason}.\n{WHAT_TO_DO}\n"
            f"Reference {reference}{moment}. {self._candidates(sent_at)}"
        )

    def _candidates(self, sent_at: float | None) -> str:
        try:
            songs = self.hook.list_songs(limit=50, user_id=self.user_id)
        except RiffusionError as error:
            return f"The library could not be read: {error}"
        found = [
            f"{song.id} ({printable(song.title or 'untitled', 60)}, {song.created_at})"
            for song in songs
            if (moment := parse_time(song.created_at)) is not None
            and (sent_at is None or -_CLOCK_SKEW_SECONDS < moment.timestamp() - sent_at < _CREATE_WINDOW_SECONDS)
        ]
        return f"Songs of that time: {', '.join(found[:10]) or 'none'}."

    def _cancel(self) -> None:
        # Only when the connection was looked up already: in a signal handler the look-up could wait for ever.
        if self.cancel_on_kill and self.handles and "settings" in vars(self.hook):
            self.hook.cancel_jobs(self.handles)


def instance_of(context: Context) -> str:
    """Return what identifies a task instance in all its tries; empty when the context has none, as in a unit test."""
    ti = context.get("ti")
    names = [getattr(ti, name, None) for name in ("dag_id", "run_id", "task_id", "map_index")]
    return _digest(conf.get("api", "base_url", fallback=""), *names) if all(names[:3]) else ""


def may_have_created(error: RiffusionError) -> bool:
    """Return whether a create request that failed so may have made songs: always, unless the API refused it."""
    if isinstance(error, exceptions.RiffusionApiError):
        return not isinstance(error, AirflowFailException | _REFUSALS) and error.http_status not in _REFUSAL_STATUSES
    is_lost = isinstance(error, exceptions.RiffusionConnectionError) and error.may_have_arrived
    return is_lost or isinstance(error, exceptions.RiffusionDownloadError)


def _digest(*parts: object) -> str:
    # 24 characters are enough that no two references are equal by chance.
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _digest_of(request: Request) -> str:
    body = {name: value for name, value in (request.json or {}).items() if name != "replyRef"}
    return _digest(request.path, body)
