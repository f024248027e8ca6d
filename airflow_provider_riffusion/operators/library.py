"""List and delete the songs of a library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import Context

from airflow_provider_riffusion.exceptions import RiffusionApiError
from airflow_provider_riffusion.parameters import TIME, Rules, optional, parse_time, rule, whole_number
from airflow_provider_riffusion.tasks.base import ACCOUNT_RULES, RiffusionOperator
from airflow_provider_riffusion.useapi.prompts import SONG_ID

if TYPE_CHECKING:
    from airflow_provider_riffusion.useapi.models import Song

_COUNT = whole_number(1, 10**6, "use a number of songs above 0")
#: Songs of a page that the next page shows again; where none of them shows, songs were deleted meanwhile.
_OVERLAP = 5
#: Pages in a row that show hardly anything new, after which the library grows as fast as it is read, or never changes.
_MAX_IDLE_PAGES = 100
#: By how much the order of the list may differ from that of the times; the two songs of a job differ by milliseconds.
_TOLERANCE = timedelta(days=1)


class RiffusionListSongsOperator(RiffusionOperator):
    """
    List the songs of a library, newest first.

    Returns their ids. No song is left out that is in the library all the time, whatever appears or is deleted while the
    pages are read. A song that appears meanwhile is in this result or in that of the next run.

    All parameters are templated.

    :param limit: most ids to return; None: all, although Airflow maps no more than 1,024 (``max_map_length``)
    :param page_size: songs that a request asks for, at least 10; the server may send fewer
    :param created_after: only songs created later: a datetime, or ISO 8601, in UTC if it has no zone. For the songs
        since the last successful run: ``{{ prev_data_interval_start_success | default('2000-01-01', true) }}``, which
        is None in the first run and undefined in one triggered by hand; ``data_interval_start`` is the time of the run
        itself, because the intervals of Airflow's ``@daily`` have no length. Songs that show no time of creation are
        returned as well
    :param status: only songs with this status word; ``completed`` also means ``complete``; None: all
    :param user_id: account; by default the connection's
    :param riffusion_conn_id: Airflow connection of the type ``riffusion``
    """

    parameter_rules: ClassVar[Rules] = {
        "limit": optional(_COUNT),
        "page_size": _COUNT,
        "created_after": optional(TIME),
        "status": optional(rule(bool, "use a status word")),
        **ACCOUNT_RULES,
    }
    template_fields: Sequence[str] = tuple(parameter_rules)

    def __init__(
        self,
        *,
        limit: int | str | None = None,
        page_size: int | str = 100,
        created_after: datetime | str | None = None,
        status: str | None = "completed",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.limit: Any = limit
        self.page_size: Any = page_size
        self.created_after: Any = created_after
        self.status = status
        self.check_parameters(only_literals=True)

    def execute(self, context: Context) -> list[str]:
        """Read the pages and return the ids."""
        self.check_parameters()
        wanted: list[Song] = []
        oldest = datetime.max.replace(tzinfo=UTC)
        is_newest_first = True
        for page in self._pages():
            wanted += filter(self._is_wanted, page)
            times = [created for song in page if (created := parse_time(song.created_at)) is not None]
            for created in times:
                is_newest_first = is_newest_first and created - oldest <= _TOLERANCE
                oldest = min(oldest, created)
            is_past = self.created_after and times and self.created_after - max(times) > _TOLERANCE
            # Stopping early is right only while the newest songs come first.
            if is_newest_first and (is_past or (self.limit and len(wanted) >= self.limit)):
                break
        if not is_newest_first:
            self.log.warning("GET music does not list the newest songs first; all pages were read")
        wanted.sort(key=lambda song: parse_time(song.created_at) or datetime.min.replace(tzinfo=UTC), reverse=True)
        found = [song.id for song in wanted[: self.limit]]
        self.log.info("Returning %s of %s songs found", len(found), len(wanted))
        return found

    def _pages(self) -> Iterator[list[Song]]:
        """Yield the songs of each page that no earlier page had."""
        seen: set[str] = set()
        offset = overlap = idle = 0
        longest = 1
        while True:
            page = self.hook.list_songs(offset=offset, limit=max(self.page_size, 2 * _OVERLAP), user_id=self.user_id)
            new = [song for song in page if song.id not in seen]
            longest = max(longest, len(page))
            if overlap and offset and len(new) == len(page):
                # Songs were deleted, so others have moved from here to the pages that were read.
                offset = max(0, offset - longest // 2)
                continue
            idle = idle + 1 if len(new) <= 1 else 0
            is_endless = idle > _MAX_IDLE_PAGES and (not new or len(page) < longest)
            # Songs that appeared meanwhile may have moved others beyond the end that the overlap has shown.
            is_end = not new and not overlap and len(page) < longest
            if is_end or (is_endless and len(seen) > longest):
                return
            if is_endless:
                raise RiffusionApiError(
                    f"GET music shows nothing new at offset {offset}, after {len(seen)} songs.\n"
                    "The server seems to ignore the offset; check the host of the Airflow connection."
                )
            yield new
            seen.update(song.id for song in new)
            # The last page shows nothing but the overlap.
            overlap = min(_OVERLAP, len(page) // 2) if new or len(page) > _OVERLAP else 0
            offset += len(page) - overlap

    def _is_wanted(self, song: Song) -> bool:
        is_wanted = song.is_completed if self.status == "completed" else self.status in (None, song.status)
        created = parse_time(song.created_at)
        return is_wanted and (self.created_after is None or created is None or created > self.created_after)


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
