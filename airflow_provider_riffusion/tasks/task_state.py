"""Keep what a task must remember across its tries, so that a song is never paid for twice."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from airflow.providers.common.compat.sdk import Context

from airflow_provider_riffusion.exceptions import RiffusionCreateUncertainError
from airflow_provider_riffusion.useapi.prompts import is_song_id

_CREATE_KEY = "riffusion_create"

WHAT_TO_DO = "Look in the library: use the songs' ids and mark this task successful, or clear it to create anew."


@dataclass(frozen=True)
class SavedCreate:
    """
    A create request that was sent, or was about to be sent.

    :param reference: the ``replyRef`` in the request
    :param sent_at: when, seconds since the epoch
    :param ids: handles that the response named, song or job ids; empty until it came
    :param finished: ids of the songs, once the task has only to report them
    :param max_tries: the task's ``max_tries`` at that time; clearing a task raises it, a retry does not
    :param try_number: the task's ``try_number`` at that time
    :param digest: of the request; None in the state of version 0.1.0
    :param has_ended: whether clearing the task may create anew: the songs have ended, or nobody knows of any
    """

    reference: str
    sent_at: float
    ids: Sequence[str] = ()
    finished: Sequence[str] = ()
    max_tries: int | None = None
    try_number: int | None = None
    digest: str | None = None
    has_ended: bool = False


class TaskState:
    """
    Keeps a create request for one task instance: from Airflow 3.3 on for all its tries, before that for this try.

    ``is_durable`` tells whether the next try will find what this try has kept, ``was_cleared`` whether a human has ever
    cleared the task, ``is_retry`` whether a try came before this one since the task was started or cleared.

    :param context: the task's context; may be empty, as in a unit test
    :param retries: the task's ``retries``
    :param saved: what :meth:`dump` returned before the task was deferred
    """

    def __init__(self, context: Context, retries: int | None, saved: object = None) -> None:
        # Only Airflow 3.3 and later have this store; no other place knows that.
        store = context.get("task_state_store")
        self.is_durable = store is not None
        self._store: Any = _MemoryStore({_CREATE_KEY: saved} if saved else {}) if store is None else store
        ti = context.get("ti")
        self.try_number: int | None = getattr(ti, "try_number", None)
        self.max_tries: int | None = getattr(ti, "max_tries", None)
        # Airflow 3: clearing a task sets max_tries to the number of tries so far plus the task's retries.
        # The first try is no retry, even if somebody has raised the task's retries before it.
        first = 1 if self.max_tries is None else max(1, self.max_tries - (retries or 0) + 1)
        self.was_cleared = first > 1
        self.is_retry = self.max_tries is not None and self.try_number is not None and self.try_number > first

    def load(self) -> SavedCreate | None:
        """
        Return the create request that an earlier try, or this one, has sent.

        :raises RiffusionCreateUncertainError: the saved state cannot be read, because another version wrote it
        """
        saved = self._store.get(_CREATE_KEY)
        if saved is None:
            return None
        create = _create_of(saved)
        if create is None:
            # Forget the create request: whoever checks the library and then clears the task wants a new song.
            self.forget()
            what = "An earlier try has sent a create request, and its saved state cannot be read by this version."
            raise RiffusionCreateUncertainError(f"{what}\n{WHAT_TO_DO}")
        return create

    def save(self, create: SavedCreate) -> None:
        """Keep a create request, in place of an older one."""
        create = replace(create, max_tries=self.max_tries, try_number=self.try_number)
        self._store.set(_CREATE_KEY, {**asdict(create), "ids": list(create.ids), "finished": list(create.finished)})

    def end(self, finished: Sequence[str] = ()) -> None:
        """
        Note that clearing the task may create anew; a retry still finds the create request.

        :param finished: ids of the songs, for a retry in case that reporting them fails
        """
        if self.max_tries is None:
            # Nothing tells a retry from a cleared task.
            self.forget()
        elif (create := self.load()) is not None:
            self.save(replace(create, finished=finished, has_ended=True))

    def dump(self) -> object:
        """Return what is kept, in a form that a deferred task can carry."""
        return self._store.get(_CREATE_KEY)

    def forget(self) -> None:
        """Forget the create request, because it was refused or cannot be read."""
        self._store.delete(_CREATE_KEY)

    def is_cleared_since(self, create: SavedCreate) -> bool:
        """Return whether a human has cleared the task after a create request was saved."""
        if create.max_tries is not None and self.max_tries != create.max_tries:
            return True
        # A clear leaves max_tries as it was when the task's retries were lowered; songs that still run are not paid for
        # again in doubt, because retries may also be lowered between two tries.
        is_later = None not in (create.try_number, self.try_number) and self.try_number != create.try_number
        return is_later and not self.is_retry and (create.has_ended or bool(create.finished))


class _MemoryStore(dict[str, Any]):
    """A store for one try, with the methods of Airflow's task state store."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


def _create_of(saved: object) -> SavedCreate | None:
    """Return a saved create request, without fields that only a later version knows; None when it cannot be read."""
    if not isinstance(saved, dict):
        return None
    try:
        create = SavedCreate(**{field.name: saved[field.name] for field in fields(SavedCreate) if field.name in saved})
    except TypeError:
        return None
    is_right = (
        isinstance(create.reference, str)
        and isinstance(create.sent_at, int | float)
        and 0 <= create.sent_at < 1e11
        and all(isinstance(ids, list | tuple) and all(map(is_song_id, ids)) for ids in (create.ids, create.finished))
    )
    return create if is_right else None
