"""Start songs from one prompt, or compose one, and wait for them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import Context

from airflow_provider_riffusion.links.riffusion import RiffusionSongLink, push_song_url
from airflow_provider_riffusion.parameters import SECONDS, Rules
from airflow_provider_riffusion.tasks.base import ACCOUNT_RULES, DEFERRABLE, RiffusionOperator
from airflow_provider_riffusion.useapi.prompts import COMPOSE_RULES, PROMPT_RULES, Prompt

if TYPE_CHECKING:
    from airflow_provider_riffusion.tasks.create_once import CreateOnce
    from airflow_provider_riffusion.transport.request import Request
    from airflow_provider_riffusion.useapi.models import SongSummary

#: Parameters that are no part of the request, or take their default from the connection.
_WAIT_RULES: Rules = {"poll_interval": SECONDS, "timeout": SECONDS, **ACCOUNT_RULES}


class _CreateOperator(RiffusionOperator):
    """What both create operators share; their docstrings describe the parameters."""

    operator_extra_links = (RiffusionSongLink(),)

    def __init__(
        self,
        *,
        model: str | None = None,
        max_jobs: int | str | None = None,
        reply_url: str | None = None,
        reply_ref: str | None = None,
        wait_for_completion: bool = True,
        poll_interval: float | timedelta | str = 10,
        timeout: float | timedelta | str = 1800,
        deferrable: bool = DEFERRABLE,
        cancel_on_kill: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model, self.max_jobs = model, max_jobs
        self.reply_url, self.reply_ref = reply_url, reply_ref
        self.poll_interval, self.timeout = poll_interval, timeout
        self.wait_for_completion, self.deferrable = wait_for_completion, deferrable
        self.cancel_on_kill = cancel_on_kill
        self._is_killed = False
        self._create_once: CreateOnce | None = None

    def execute(self, context: Context, event: object = None, until: float = 0.0) -> list[str]:
        """
        Start the songs, or find those that an earlier try has started, and wait for them.

        :param context: the task's context
        :param event: of the trigger that woke the task to ask for a slot again; not used
        :param until: seconds since the epoch until which it asks; 0 in the first
        """
        self.check_parameters()
        create = self._create_of(context)
        if finished := create.finished():
            return list(finished)
        until = until or time.time() + SECONDS.convert(self.timeout)
        with create.judged():
            create.start(self._request, until, lambda seconds: self._sleep_or_defer(create, until, seconds))
            if not self.wait_for_completion:
                create.state.end(create.handles)
                return list(create.handles)
            deadline = time.time() + SECONDS.convert(self.timeout)
            songs = create.look() if self.deferrable else create.settled(lambda: create.wait(deadline))
            if songs is None:
                from airflow_provider_riffusion.triggers.riffusion import defer

                options = {"ids": create.handles, "poll_interval": create.poll_interval, "is_tolerant": True}
                options["cancel_on_kill"] = self.cancel_on_kill
                defer(self, deadline, options, saved=create.state.dump())
        return self._report(context, create, songs)

    def execute_complete(self, context: Context, event: object = None, saved: object = None) -> list[str]:
        """
        Unpack the trigger's event, and end as waiting here would have.

        :param context: the task's context
        :param event: the trigger's
        :param saved: the create request, for an Airflow that keeps no state
        """
        from airflow_provider_riffusion.tasks.events import songs_of_event

        create = self._create_of(context, saved)
        with create.judged():
            songs = create.settled(lambda: songs_of_event(event))
        return self._report(context, create, songs)

    def on_kill(self) -> None:
        """Send no create request any more, and end the wait; runs in a signal handler."""
        # A signal handler must import nothing, because it may interrupt an import.
        self._is_killed = True
        if self._create_once is not None:
            self._create_once.kill()

    def _create_of(self, context: Context, saved: object = None) -> CreateOnce:
        from airflow_provider_riffusion.tasks.create_once import CreateOnce, instance_of
        from airflow_provider_riffusion.tasks.task_state import TaskState

        create = self._create_once = CreateOnce(
            hook=self.hook,
            state=TaskState(context, self.retries, saved),
            instance=instance_of(context),
            user_id=self.user_id,
            reply_ref=self.reply_ref,
            poll_interval=SECONDS.convert(self.poll_interval),
            cancel_on_kill=self.cancel_on_kill,
            show=lambda polled: push_song_url(context, polled.shown),
        )
        create.is_killed = self._is_killed
        return create

    def _request(self, reply_ref: str) -> Request:
        values = {name: getattr(self, name) for name in self.parameter_rules if name not in _WAIT_RULES}
        return self.hook.create_request({**values, "user_id": self.user_id, "reply_ref": reply_ref})

    def _sleep_or_defer(self, create: CreateOnce, until: float, seconds: float) -> None:
        if not self.deferrable:
            create.sleep(seconds)
            return
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        from airflow_provider_riffusion.tasks.waiting import TRIGGERER_GRACE_SECONDS

        moment = datetime.now(UTC) + timedelta(seconds=seconds)
        timeout = timedelta(seconds=seconds + TRIGGERER_GRACE_SECONDS)
        # The task itself sends the request again, because Airflow may run a trigger twice.
        self.defer(trigger=DateTimeTrigger(moment), method_name="execute", kwargs={"until": until}, timeout=timeout)

    def _report(self, context: Context, create: CreateOnce, songs: Sequence[SongSummary]) -> list[str]:
        push_song_url(context, songs)
        ids = [song["id"] for song in songs]
        # The create request is not forgotten, because what follows, such as storing the XCom, may fail.
        create.state.end(ids)
        return ids


class RiffusionCreatePromptOperator(_CreateOperator):
    """
    Start songs from one prompt, and wait for them.

    Returns the list of song ids, so that ``RiffusionDownloadOperator.partial(…).expand(song_id=create.output)`` works.

    The request is sent once. It carries a reference that is derived from the task instance and the request; before
    it, the vendor's job list is read, and a job of this reference is waited for instead. The ids are kept in the
    task's state (Airflow 3.3 and later). While no slot is free, the task waits for one. A create request whose response
    was lost is looked for by its reference, and never sent again while nobody can tell what became of it.

    :param prompt: what to play
    :param instrumental: without a voice
    :param model: the vendor's name of a model
    :param user_id: account; by default the connection's
    :param max_jobs: 1 to 10, how many songs the account may generate at once
    :param reply_url: URL that the vendor calls when the songs are finished
    :param reply_ref: your reference for that call; other tasks may use it, too, so the songs of a lost response are not
        looked for by it, and a task that is cleared without its state pays again
    :param wait_for_completion: wait for the songs; otherwise return the ids that the response named, song or job
    :param poll_interval: seconds, or a timedelta, between two polls
    :param timeout: seconds, or a timedelta, to wait for a slot, and then for the songs, in each try
    :param deferrable: wait in the triggerer, without a worker
    :param cancel_on_kill: take the job off the vendor's job list when the task is killed; its songs are charged all
        the same, and a task that is cleared afterwards pays again where its state is not kept, as before Airflow 3.3
    :param riffusion_conn_id: Airflow connection of the type ``riffusion``
    :raises RiffusionModerationError: the prompt was moderated
    :raises RiffusionSongFailedError: all songs have ended, and none can be used
    :raises RiffusionTimeoutError: the songs were not finished in time; the next try goes on waiting (Airflow 3.3)
    :raises RiffusionCreateUncertainError: nobody can tell what became of a create request
    """

    parameter_rules: ClassVar[Rules] = {**PROMPT_RULES, **_WAIT_RULES}
    template_fields: Sequence[str] = tuple(parameter_rules)

    def __init__(self, *, prompt: str, instrumental: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prompt, self.instrumental = prompt, instrumental
        self.check_parameters(only_literals=True)


class RiffusionCreateComposeOperator(_CreateOperator):
    """
    Start songs from one to three prompts and lyrics, and wait for them.

    Returns the list of song ids, so that ``RiffusionDownloadOperator.partial(…).expand(song_id=create.output)`` works.
    The request is sent once, as by :class:`RiffusionCreatePromptOperator`.

    :param prompts: one to three objects ``{"text", "strength", "start", "end"}``: strength 20 to 100 (50), start and
        end 0 to 100, in percent of the song; all but the text may be left out
    :param lyrics: the words; None: instrumental. Text that ends with ``.lyrics`` names a file of words and templates,
        relative to the DAG file or the DAG's ``template_searchpath``; the name is neither absolute nor a template. A
        prompt or title must not end so
    :param title: the title
    :param lyrics_strength: 0 to 100
    :param lyrics_weirdness: 0 to 100
    :param audio_upload_id: the vendor's id of an uploaded audio
    :param image_id: the vendor's id of an image
    :param model: the vendor's name of a model
    :param user_id: account; by default the connection's
    :param max_jobs: 1 to 10, how many songs the account may generate at once
    :param reply_url: URL that the vendor calls when the songs are finished
    :param reply_ref: your reference for that call; other tasks may use it, too, so the songs of a lost response are not
        looked for by it, and a task that is cleared without its state pays again
    :param wait_for_completion: wait for the songs; otherwise return the ids that the response named, song or job
    :param poll_interval: seconds, or a timedelta, between two polls
    :param timeout: seconds, or a timedelta, to wait for a slot, and then for the songs, in each try
    :param deferrable: wait in the triggerer, without a worker
    :param cancel_on_kill: take the job off the vendor's job list when the task is killed; its songs are charged all
        the same, and a task that is cleared afterwards pays again where its state is not kept, as before Airflow 3.3
    :param riffusion_conn_id: Airflow connection of the type ``riffusion``
    :raises RiffusionModerationError: a prompt or the lyrics were moderated
    :raises RiffusionSongFailedError: all songs have ended, and none can be used
    :raises RiffusionTimeoutError: the songs were not finished in time; the next try goes on waiting (Airflow 3.3)
    :raises RiffusionCreateUncertainError: nobody can tell what became of a create request
    """

    parameter_rules: ClassVar[Rules] = {**COMPOSE_RULES, **_WAIT_RULES}
    template_fields: Sequence[str] = tuple(parameter_rules)
    # Airflow takes any parameter that ends so for the path of a file, so it is an ending that no title or prompt has.
    template_ext: Sequence[str] = (".lyrics",)

    def __init__(
        self,
        *,
        prompts: Sequence[Prompt],
        lyrics: str | None = None,
        title: str | None = None,
        lyrics_strength: int | str | None = None,
        lyrics_weirdness: int | str | None = None,
        audio_upload_id: str | None = None,
        image_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prompts, self.lyrics, self.title = prompts, lyrics, title
        self.lyrics_strength, self.lyrics_weirdness = lyrics_strength, lyrics_weirdness
        self.audio_upload_id, self.image_id = audio_upload_id, image_id
        self.check_parameters(only_literals=True)
