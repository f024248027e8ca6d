"""Keep what a task must remember across its tries, so that a song is never paid for twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_riffusion.exceptions import RiffusionCreateUncertainError, RiffusionSongFailedError
from airflow_provider_riffusion.useapi.prompts import is_song_id

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_CREATE_KEY = "riffusion_create"
_FAILURES_KEY = "riffusion_failures"

WHAT_TO_DO = (
    "It was not sent again, because songs cost money. Look for songs of that time in the library: if they are there, "
    "use their ids and mark this task successful; if not, clear this task, which creates them."
)


@dataclass(frozen=True)
class SavedCreate:
    """
    A create request that was sent, or was about to be sent.

    :param reference: the ``replyRef`` in the request
    :param sent_at: when, seconds since the epoch
    :param ids: handles that the response named, song or job ids; empty until it came
    :param finished: ids of the songs, once they are finished and the task has only to report them
    :param max_tries: the task's ``max_tries`` when the songs were finished; clearing a task raises it, a retry does not
    """

    reference: str
    sent_at: float
    ids: Sequence[str] = ()
    finished: Sequence[str] = ()
    max_tries: int | None = None


class TaskState:
    """
    Keeps a few values for one task instance: from Airflow 3.3 on for all its tries, before that for this try.

    ``is_durable`` tells whether the next try will find what this try has kept.

    :param context: the task's context; may be empty, as in a unit test
    """

    def __init__(self, context: Context) -> None:
        # Only Airflow 3.3 and later have this store; no other place knows that.
        store = context.get("task_state_store")
        self.is_durable = store is not None
        self._store: Any = _MemoryStore() if store is None else store
        self.max_tries: int | None = getattr(context.get("ti"), "max_tries", None)

    def load_create(self) -> SavedCreate | None:
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
            self.forget_create()
            raise RiffusionCreateUncertainError(
                "An earlier try has sent a create request, and this version of the provider cannot read its saved "
                f"state. {WHAT_TO_DO}"
            )
        return create

    def save_create(self, create: SavedCreate) -> None:
        """Keep a create request, in place of an older one."""
        self._store.set(_CREATE_KEY, {**asdict(create), "ids": list(create.ids), "finished": list(create.finished)})

    def finish_create(self, songs: Sequence[str]) -> None:
        """
        Keep finished songs for a retry, in case that reporting them fails; clearing the task forgets them.

        :param songs: ids of the songs
        """
        create = self.load_create()
        if create is None or not self.is_durable or self.max_tries is None:
            self.forget_create()
        else:
            self.save_create(replace(create, finished=songs, max_tries=self.max_tries))

    def load_finished(self) -> Sequence[str]:
        """Return the finished songs that an earlier try could not report; a cleared task has none."""
        create = self.load_create()
        if create is None or not create.finished:
            return ()
        if create.max_tries == self.max_tries:
            return create.finished
        self.forget_create()
        return ()

    def forget_create(self) -> None:
        """Forget the create request, so that the next try sends a new one."""
        self._store.delete(_CREATE_KEY)

    @contextmanager
    def forgotten_if_songs_failed(self) -> Iterator[None]:
        """Forget the create request if its songs failed; whatever else ends the wait leaves them running."""
        try:
            yield
        except RiffusionSongFailedError:
            self.forget_create()
            raise

    def load_failures(self) -> int:
        """Return how many polls in a row have failed."""
        failures = self._store.get(_FAILURES_KEY)
        return max(0, failures) if isinstance(failures, int) else 0

    def save_failures(self, failures: int) -> None:
        """Keep how many polls in a row have failed."""
        if failures:
            self._store.set(_FAILURES_KEY, failures)
        elif self.load_failures():
            self._store.delete(_FAILURES_KEY)


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
