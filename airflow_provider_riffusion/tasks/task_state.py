"""What a task remembers across its tries, so that a song is never paid for twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_riffusion.exceptions import RiffusionCreateUncertainError
from airflow_provider_riffusion.useapi.riffusion.responses import is_song_id

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_CREATE_KEY = "riffusion_create"
_FAILURES_KEY = "riffusion_failures"


@dataclass(frozen=True)
class SavedCreate:
    """
    A create request that was sent, or was about to be.

    :param reference: the ``replyRef`` that went with it
    :param sent_at: when, seconds since the epoch
    :param ids: what the reply named, song or job; empty until it came
    :param finished: the songs, once they were finished and the task had only to report them
    :param max_tries: the task's ``max_tries`` then; clearing a task raises it, a retry does not
    """

    reference: str
    sent_at: float
    ids: Sequence[str] = ()
    finished: Sequence[str] = ()
    max_tries: int | None = None


class TaskState:
    """
    Keeps a few values for one task instance: on Airflow 3.3 and later over all its tries, before that for this one.

    :param context: the task's context; may be empty, as in a unit test
    """

    def __init__(self, context: Context) -> None:
        # The one place that knows that only Airflow 3.3 and later have this store.
        self._store: Any = context.get("task_state_store")
        self.max_tries: int | None = getattr(context.get("ti"), "max_tries", None)
        self._memory: dict[str, Any] = {}

    @property
    def is_durable(self) -> bool:
        """Whether the next try will find what this one has kept."""
        return self._store is not None

    def load_create(self) -> SavedCreate | None:
        """
        Return the create that an earlier try, or this one, has sent.

        :raises RiffusionCreateUncertainError: what is kept cannot be read, such as that of another version
        """
        saved = self._get(_CREATE_KEY)
        if saved is None:
            return None
        create = _create_of(saved)
        if create is None:
            # So that clearing the task, which a human does after a look, creates.
            self.forget_create()
            raise RiffusionCreateUncertainError(
                "An earlier try has sent a create, and this version of the provider cannot read what it kept of it. It "
                "was not sent again, because songs cost money. Look for its songs in the library: if they are there, "
                "use their ids and mark this task successful; if not, clear this task, which creates them."
            )
        return create

    def save_create(self, create: SavedCreate) -> None:
        """Keep a create; what is kept already is overwritten."""
        self._set(_CREATE_KEY, {**asdict(create), "ids": list(create.ids), "finished": list(create.finished)})

    def finish_create(self, songs: Sequence[str]) -> None:
        """
        Keep finished songs for a retry of this very run, in case that reporting them fails; clearing forgets them.

        :param songs: their ids
        """
        create = self.load_create()
        if create is None or not self.is_durable or self.max_tries is None:
            self.forget_create()
        else:
            self.save_create(replace(create, finished=songs, max_tries=self.max_tries))

    def load_finished(self) -> Sequence[str]:
        """Return the songs that an earlier try of this run could not report; a cleared task has none."""
        create = self.load_create()
        if create is None or not create.finished:
            return ()
        if create.max_tries == self.max_tries:
            return create.finished
        self.forget_create()
        return ()

    def forget_create(self) -> None:
        """Forget it, so that the next try creates anew."""
        self._delete(_CREATE_KEY)

    def load_failures(self) -> int:
        """Return how many polls have failed one after another."""
        failures = self._get(_FAILURES_KEY)
        return max(0, failures) if isinstance(failures, int) else 0

    def save_failures(self, failures: int) -> None:
        """Keep how many polls have failed one after another."""
        if failures:
            self._set(_FAILURES_KEY, failures)
        elif self.load_failures():
            self._delete(_FAILURES_KEY)

    def _get(self, key: str) -> Any:
        return self._memory.get(key) if self._store is None else self._store.get(key)

    def _set(self, key: str, value: Any) -> None:
        if self._store is None:
            self._memory[key] = value
        else:
            self._store.set(key, value)

    def _delete(self, key: str) -> None:
        if self._store is None:
            self._memory.pop(key, None)
        else:
            self._store.delete(key)


def _create_of(saved: object) -> SavedCreate | None:
    """Read a create that was kept, without what only a later version knows; None when it is none."""
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
