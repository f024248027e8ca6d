"""List and delete the songs of a library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_riffusion.exceptions import RiffusionApiError
from airflow_provider_riffusion.parameters import TIME, Rule, Rules, optional, parse_time, rule, whole_number
from airflow_provider_riffusion.tasks.base import ACCOUNT_RULES, RiffusionOperator
from airflow_provider_riffusion.useapi.prompts import SONG_ID

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_riffusion.useapi.models import Song


_COUNT = Rule(whole_number(1, 10**6).convert, "use a number of songs above 0")
#: Pages in a row without a new song after which the server is taken to ignore the offset.
_MAX_STALE_PAGES = 5


class RiffusionListSongsOperator(RiffusionOperator):
    """
    List the songs of a library, newest first.

    Returns their ids. A song that appears while the pages are read moves the others on, which makes some of them show
    twice; each is returned once, and none is left out. A song that appears during the run is for the next one.

    All parameters are templated.

    :param limit: most ids to return; None: all
    :param page_size: songs per request
    :param created_after: only songs created later: a datetime, or ISO 8601 such as ``{{ data_interval_start }}``; a
        time without zone is UTC. Songs that show no time of creation are returned as well
    :param status: only songs with this status word; ``completed`` also means ``complete``; None: all
    :param user_id: account; by default the connection's
    :param riffusion_conn_id: Airflow connection of the type ``riffusion``
    """

    parameter_rules: ClassVar[Rules] = {
        "limit": optional(_COUNT),
        "page_size": _COUNT,
        "created_after": optional(TIME),
        "status": optional(rule(lambda value: isinstance(value, str) and value != "", "use a status word")),
        **ACCOUNT_RULES,
    }
    template_fields: Sequence[str] = tuple(parameter_rules)

    def __init__(
        self,
        *,
        limit: int | str | None = None,
        page_size: int | str = 10,
        created_after: datetime | str | None = None,
        status: str | None = "completed",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.limit = limit
        self.page_size = page_size
        self.created_after = created_after
        self.status = status
        self.check_parameters(only_literals=True)

    def execute(self, context: Context) -> list[str]:
        """Read the pages and return the ids."""
        self.check_parameters()
        after = parse_time(self.created_after)
        limit = None if self.limit is None else int(self.limit)
        wanted: list[Song] = []
        order = _Order()
        for page in self._pages():
            order.see(page)
            wanted += [song for song in page if self._is_wanted(song, after)]
            # Stopping early is right only while the newest songs come first.
            if order.is_newest_first and (
                (limit is not None and len(wanted) >= limit) or (after is not None and _is_past(page, after))
            ):
                break
        if not order.is_newest_first:
            self.log.warning("GET music does not list the newest songs first; all pages were read")
            wanted.sort(key=lambda song: parse_time(song.created_at) or datetime.min.replace(tzinfo=UTC), reverse=True)
        self.log.info("Found %s songs, returning at most %s", len(wanted), limit)
        return [song.id for song in wanted[:limit]]

    def _pages(self) -> Iterator[list[Song]]:
        """Yield the songs of each page that no earlier one had."""
        seen: set[str] = set()
        offset = stale = longest = 0
        while page := self.hook.list_songs(offset=offset, limit=int(self.page_size), user_id=self.user_id):
            new = [song for song in page if song.id not in seen]
            seen.update(song.id for song in new)
            if not new and len(page) < longest:
                # This is the end of the library, which songs that appeared meanwhile have moved on.
                return
            longest = max(longest, len(page))
            stale = 0 if new else stale + 1
            if stale >= _MAX_STALE_PAGES:
                raise RiffusionApiError(
                    f"GET music returned nothing new on {stale} pages up to offset {offset}: the server seems to "
                    f"ignore the offset, or more songs appear than page_size={self.page_size} shows; raise page_size."
                )
            yield new
            offset += len(page)

    def _is_wanted(self, song: Song, after: datetime | None) -> bool:
        is_wanted = song.is_completed if self.status == "completed" else self.status in (None, song.status)
        created = parse_time(song.created_at)
        return is_wanted and (after is None or created is None or created > after)


class RiffusionDeleteSongOperator(RiffusionOperator):
    """
    Delete a song. A missing song is a success, so that the task can be repeated.

    All parameters are templated.

    :param song_id: id of the song
    :param user_id: account; by default the connection's
    :param riffusion_conn_id: Airflow connection of the type ``riffusion``
    """

    parameter_rules: ClassVar[Rules] = {"song_id": SONG_ID, **ACCOUNT_RULES}
    template_fields: Sequence[str] = tuple(parameter_rules)

    def __init__(self, *, song_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.song_id = song_id
        self.check_parameters(only_literals=True)

    def execute(self, context: Context) -> None:
        """Delete the song."""
        self.check_parameters()
        found = self.hook.delete_song(self.song_id, user_id=self.user_id)
        self.log.info("Song %s was %s", self.song_id, "deleted" if found else "not there")


class _Order:
    """Notes whether songs come newest first, over all pages."""

    def __init__(self) -> None:
        self.is_newest_first = True
        self._oldest: datetime | None = None

    def see(self, songs: Sequence[Song]) -> None:
        for created in filter(None, (parse_time(song.created_at) for song in songs)):
            if self._oldest is not None and created > self._oldest:
                self.is_newest_first = False
            self._oldest = created


def _is_past(page: Sequence[Song], after: datetime) -> bool:
    moments = [created for song in page if (created := parse_time(song.created_at)) is not None]
    return bool(moments) and max(moments) <= after
