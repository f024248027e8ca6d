"""Pack what a trigger found into its event, and unpack the event in the task as the same result or error."""

from typing import Any, Literal, TypedDict, TypeGuard

from airflow_provider_riffusion import exceptions
from airflow_provider_riffusion.exceptions import RiffusionError, RiffusionTimeoutError
from airflow_provider_riffusion.safe_text import printable, shown_value
from airflow_provider_riffusion.useapi.models import SongSummary
from airflow_provider_riffusion.useapi.prompts import is_song_id

_MAX_MESSAGE_CHARS = 4000


class SongEvent(TypedDict, total=False):
    """The payload of a :class:`RiffusionSongTrigger`'s only event."""

    status: Literal["done", "error"]
    songs: list[SongSummary]
    error: dict[str, Any]


def event_of_error(error: Exception) -> SongEvent:
    """Pack an error, because Airflow would retry the task for an exception in a trigger that must fail it at once."""
    if not isinstance(error, RiffusionError):
        error = RiffusionError(f"{type(error).__name__}: {printable(str(error), 1000)}")
    return SongEvent(status="error", error={"type": type(error).__name__, "message": str(error), "fields": vars(error)})


def songs_of_event(event: object) -> list[SongSummary]:
    """
    Unpack an event: return the finished songs, or raise the error that ended the waiting.

    :raises RiffusionError: the packed error, of its own class; or the event is missing or has an unknown form
    """
    if not isinstance(event, dict):
        raise RiffusionError(f"The trigger resumed the task with {shown_value(event)} instead of an event.")
    songs, packed = event.get("songs"), event.get("error")
    if event.get("status") == "done" and songs and _are_summaries(songs):
        return songs
    if event.get("status") == "error" and isinstance(packed, dict):
        raise _error_of(packed)
    raise RiffusionError(f"The trigger resumed the task with an event of no known form: {shown_value(event)}")


def _error_of(packed: dict[str, Any]) -> RiffusionError:
    error_class = getattr(exceptions, str(packed.get("type")), None)
    if not (isinstance(error_class, type) and issubclass(error_class, RiffusionError)):
        error_class = RiffusionError
    # The line breaks between what is wrong and what to do stay.
    lines = str(packed.get("message"))[:_MAX_MESSAGE_CHARS].splitlines()
    error = error_class("\n".join(printable(line, _MAX_MESSAGE_CHARS) for line in lines))
    fields = packed.get("fields")
    vars(error).update(fields if isinstance(fields, dict) else {})
    if isinstance(error, RiffusionTimeoutError) and not _are_summaries(error.usable):
        error.usable = ()
    return error


def _are_summaries(songs: object) -> TypeGuard[list[SongSummary]]:
    return isinstance(songs, list) and all(
        isinstance(song, dict)
        and song.keys() >= SongSummary.__annotations__.keys()
        and is_song_id(song["id"])
        and isinstance(song["share_url"], str | None)
        for song in songs
    )
