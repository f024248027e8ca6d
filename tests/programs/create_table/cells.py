"""One cell: let a try of a task end in one of the ways, and note what the next try does and what it costs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from airflow_provider_riffusion.exceptions import (
    RiffusionCreateUncertainError,
    RiffusionSongFailedError,
    RiffusionTimeoutError,
)
from airflow_provider_riffusion.tasks import create_once
from airflow_provider_riffusion.transport import retry as retries
from airflow_provider_riffusion.triggers import poller
from tests.programs.create_table import ways
from tests.programs.create_table.life import End, Life, Mode, StoreKind
from tests.programs.create_table.servers import JOBS_UNKNOWN, PLAIN, VARIANTS, Endpoint, Server, serving
from tests.programs.create_table.ways import BY_NAME, COLUMNS, WAYS, Way

CONNECTION = "AIRFLOW_CONN_RIFFUSION_DEFAULT"


@dataclass(frozen=True, order=True)
class Key:
    """
    A cell's place.

    :param way: row
    :param following: ``retry`` or ``clear``
    :param store: what the store does
    :param mode: whether the task defers
    :param variant: of the API
    """

    way: str
    following: str
    store: StoreKind
    mode: Mode
    variant: str = PLAIN

    @property
    def column(self) -> tuple[str, StoreKind]:
        return self.following, self.store

    def __str__(self) -> str:
        return f"{self.way}: {self.following}, store {self.store}, {self.mode}, {self.variant}"


@dataclass(frozen=True)
class Cell:
    """
    What happened.

    :param word: what the next try did, a word of :data:`ways.WORDS`
    :param problems: what must not be in any cell
    """

    word: str
    problems: tuple[str, ...] = ()


def all_keys() -> list[Key]:
    """List the cells that can be run."""
    return [
        Key(way.name, following, store, mode, variant)
        for way in WAYS
        for (following, store), word in zip(COLUMNS, way.follows, strict=True)
        for mode in way.modes
        for variant in (VARIANTS if way.has_variants else (PLAIN,))
        if word in ways.WORDS and not (variant == JOBS_UNKNOWN and word in (ways.LISTED, ways.SAME))
    ]


def expected(key: Key) -> str:
    """Return what the next try must do."""
    return BY_NAME[key.way].follows[COLUMNS.index(key.column)]


def differences(key: Key, cell: Cell) -> list[str]:
    """Return what is not as it must be."""
    wrong = [] if cell.word == expected(key) else [f"{cell.word}, not {expected(key)}"]
    return [*wrong, *cell.problems]


def run_cell(key: Key) -> Cell:
    """Run a cell."""
    way = BY_NAME[key.way]
    with ExitStack() as stack:
        server = stack.enter_context(serving(key.variant, **way.settings))
        stack.enter_context(connected(server))
        if way.window_seconds is not None:
            stack.enter_context(patch.object(create_once, "_CREATE_WINDOW_SECONDS", way.window_seconds))
        life = Life(key.mode, key.store, parameters=way.parameters)
        end = _first(way, life, server)
        with_store, _, without_store = way.end.partition("/")
        how = without_store or with_store if key.store == "none" else with_store
        problems = [] if end.how == how else [f"the try ended {end.how}, not {how}: {end.error!r}"]
        if (paid := len(server.creates())) > 1:
            problems.append(f"one try has paid {paid} times")
        if expected(key) == ways.SAME:
            return Cell(ways.SAME if _are_of(end, server, 0) else f"{end.how}: {end.error!r}", tuple(problems))
        if key.following == "retry" and end.how == "final":
            return Cell(ways.FINAL, (*problems, *_missing(end, server)))
        word, more = _next(way, key, life, server, end)
    return Cell(word, (*problems, *more))


@contextmanager
def connected(server: Endpoint) -> Iterator[None]:
    """
    Let the default connection lead to a server, and wait no longer between requests than needed.

    :param server: the server
    """
    extra = {"timeout": 20, "low_speed_time": 10}
    connection = {"conn_type": "riffusion", "host": server.url, "password": server.token, "extra": extra}
    with (
        patch.dict(os.environ, {CONNECTION: json.dumps(connection)}),
        patch.object(retries, "MAX_BACKOFF_SECONDS", 0.01),
        patch.object(poller, "ALONE_SECONDS", 0.05),
    ):
        yield


def _first(way: Way, life: Life, server: Server) -> End:
    with ExitStack() as stack:
        if way.fault:
            server.strike(way.fault)
        if way.strike is not None:
            moment, act = way.strike
            stack.enter_context(life.struck(moment, lambda: act(life, server)))
        if way.must_end:
            stack.enter_context(life.struck("after a poll", server.end_songs))
        return life.run(**way.first)


def _next(way: Way, key: Key, life: Life, server: Server, end: End) -> tuple[str, list[str]]:
    server.recover(**way.later_settings)
    if way.has_ended:
        server.end_songs()
    paid, asked = len(server.creates()), len(server.requests())
    is_allowed = (
        server.have_ended()
        or end.how == "songs"
        or isinstance(end.error, RiffusionCreateUncertainError | RiffusionSongFailedError)
        or "prompt" in way.later
    )
    following = _follow(life, server, key.following, way.later)
    first_request = server.requests()[asked] if len(server.requests()) > asked else ""
    word = _word_of(following, server, paid, is_kept="scheduler" not in first_request, is_allowed=is_allowed)
    problems = []
    if len(server.creates()) > paid + 1:
        problems.append("one try has paid more than once")
    if key.following == "retry" and len(server.creates()) > 1:
        problems.append("a retry has paid again")
    if word == ways.SONGS and end.how == "songs" and set(following.ids) != set(end.ids):
        problems.append(f"{following.ids} instead of {end.ids}")
    if word == ways.UNCERTAIN:
        problems += _missing(following, server)
        # Once nobody can name its songs any more, a human may order new ones.
        server.end_songs()
        server.recover(**{"job_id_known": "yes", **way.later_settings})
        cleared = _follow(life, server, "clear", {**way.later, "timeout": 20})
        if not _are_of(cleared, server, paid):
            problems.append(f"clearing the task after that: {cleared}")
    return word, problems


def _follow(life: Life, server: Server, following: str, parameters: Mapping[str, Any]) -> End:
    if following == "retry":
        life.retry()
    else:
        life.clear()
    # The songs end once the try looks at them, so that the job list shows their job while the try may read it.
    with life.struck("after a poll", server.end_songs):
        return life.run(**parameters)


def _word_of(end: End, server: Server, paid: int, *, is_kept: bool, is_allowed: bool) -> str:
    is_new = len(server.creates()) > paid
    if end.how == "songs" and is_new and _are_of(end, server, paid):
        return ways.FIRST if paid == 0 else ways.NEW if is_allowed else ways.AGAIN
    if end.how == "songs" and not is_new and _are_of(end, server, 0):
        return ways.SONGS if is_kept else ways.LISTED
    if isinstance(end.error, RiffusionCreateUncertainError) and not is_new:
        return ways.UNCERTAIN
    if isinstance(end.error, RiffusionTimeoutError) and not is_new:
        return ways.WAITS
    return f"{end.how}: {end.ids} {end.error!r}, {len(server.creates()) - paid} created"


def _are_of(end: End, server: Server, create: int) -> bool:
    """Return whether a try has returned all songs, or jobs, of one create request."""
    creates = server.creates()
    return end.how == "songs" and create < len(creates) and set(end.ids) in creates[create]


def _missing(end: End, server: Server) -> list[str]:
    """Return what the message of a try that ended for good does not say."""
    message = str(end.error)
    if isinstance(end.error, RiffusionSongFailedError):
        return []
    has_ids = any(id in message for ids in server.creates() for each in ids for id in each)
    problems = [] if has_ids or "eference" in message else [f"neither ids nor a reference in: {message}"]
    return problems if "library" in message else [*problems, f"no way to go on in: {message}"]
