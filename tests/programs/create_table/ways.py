"""The ways in which a try can end, and what must follow, written down from the rules and not from the code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from tests.programs.create_table.life import Killed, Life, Mode, Moment, StoreKind, kill_triggerer
from tests.programs.create_table.servers import Server

Act = Callable[[Life, Server], object]


def kill(life: Life, server: Server) -> None:
    """End the process."""
    raise Killed


def terminate(life: Life, server: Server) -> None:
    """Tell the worker to stop, or the task because a user has marked it."""
    life.operator.on_kill()


def time_out(life: Life, server: Server) -> None:
    """Let the task's ``execution_timeout`` pass."""
    raise AirflowTaskTimeout


def mark_deferred(life: Life, server: Server) -> None:
    """Mark the deferred task failed."""
    if life.trigger is None:
        raise RuntimeError("not deferred")
    asyncio.run(life.trigger.on_kill())
    raise Killed


def stop_triggerer(life: Life, server: Server) -> None:
    """End the triggerer; Airflow runs the trigger in another one."""
    if life.trigger is None:
        raise RuntimeError("not deferred")
    kill_triggerer(life.trigger)


def break_job_list(life: Life, server: Server) -> None:
    """Make the job list unreadable."""
    server.strike("no job list")


@dataclass(frozen=True)
class Way:
    """
    A way in which a try can end.

    :param name: as it stands in the table
    :param follows: what the next try does, in the order of :data:`COLUMNS`
    :param end: how the try ends; with ``/`` between them with a store and without
    :param strike: what happens to the try, and when
    :param fault: what happens to the create request, or to the API while the try runs
    :param has_ended: whether the songs end before the next try, and so does their job in the job list
    :param must_end: whether the songs end during the try
    :param parameters: of the operator, in all tries
    :param first: of the operator, in this try
    :param later: of the operator, in the next one
    :param settings: of the emulator
    :param later_settings: of the emulator, from the next try on
    :param window_seconds: time in which songs may appear, when it matters
    :param modes: modes in which it can happen
    :param has_variants: whether it is run with every variant of the API
    """

    name: str
    follows: tuple[str, str, str, str, str]
    end: str
    strike: tuple[Moment, Act] | None = None
    fault: str = ""
    has_ended: bool = False
    must_end: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    first: Mapping[str, Any] = field(default_factory=dict)
    later: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    later_settings: Mapping[str, Any] = field(default_factory=dict)
    window_seconds: float | None = None
    modes: tuple[Mode, ...] = ("sync", "deferred")
    has_variants: bool = False


#: What the next try is, and what the store does: a retry or a clear; a store that is emptied when a human clears is for
#: a retry one that is kept.
COLUMNS: tuple[tuple[str, StoreKind], ...] = (
    ("retry", "kept"),
    ("clear", "kept"),
    ("clear", "emptied"),
    ("retry", "none"),
    ("clear", "none"),
)

#: The words of the table, and what they mean.
SONGS, LISTED, SAME, UNCERTAIN, FINAL = "songs", "job list", "same try", "Uncertain", "no retry"
FIRST, NEW, AGAIN, WAITS = "first create", "new songs", "**paid again**", "waits on"
WORDS = {
    SONGS: "the songs of the one create request, by the ids that were kept",
    LISTED: "the songs of the one create request, by the task's job in the vendor's job list",
    SAME: "the try itself went on and returned the songs; no other follows",
    UNCERTAIN: "`RiffusionCreateUncertainError`, and nothing is sent; clearing the task after that creates",
    FINAL: "the try has ended with an error that Airflow does not retry; it names the ids or the reference",
    FIRST: "the create request of this try is the first that the API has accepted",
    NEW: "a second create request, which a human asked for: the first one's songs had ended, nobody could know of "
    "them, or its request was changed",
    AGAIN: "a second create request while the first one's songs are made; the docs name these cases",
    WAITS: "`RiffusionTimeoutError`: the songs may still appear, the next try waits on",
}
_NO = "-"

# The rules, in the order in which the rows need them:
# * ids in the store are waited for, by a retry and by a clear; only what had ended may be created anew by a clear;
# * without ids, the vendor's job list is asked for the reference; with a saved create request and no job: Uncertain;
# * without a store, a retry that finds no job is Uncertain, a clear creates;
# * without a store, what fails after the send is final.
_RUNNING = (SONGS, SONGS, LISTED, LISTED, LISTED)
_ENDED = (SONGS, SONGS, NEW, UNCERTAIN, NEW)
_NOT_SENT = (UNCERTAIN, UNCERTAIN, FIRST, UNCERTAIN, FIRST)
_SAME = (SAME,) * 5
_CANCEL = {"cancel_on_kill": True}
_AT_A_POLL: tuple[Moment, Act] = ("before a poll", kill)

WAYS = [
    Way("worker vanishes before the send", _NOT_SENT, "killed", ("before the send", kill)),
    Way(
        "worker vanishes after the send",
        (LISTED,) * 5,
        "killed",
        ("after the send", kill),
        has_variants=True,
    ),
    Way(
        "worker vanishes after the send; the job has left the list",
        (UNCERTAIN, UNCERTAIN, NEW, UNCERTAIN, NEW),
        "killed",
        ("after the send", kill),
        has_ended=True,
    ),
    Way(
        "worker vanishes after the send; `reply_ref` is the user's",
        (UNCERTAIN, UNCERTAIN, AGAIN, UNCERTAIN, AGAIN),
        "killed",
        ("after the send", kill),
        parameters={"reply_ref": "mine"},
    ),
    Way("kill -9 while waiting", _RUNNING, "killed", _AT_A_POLL, has_variants=True),
    Way("kill -9 while waiting; the songs end", _ENDED, "killed", _AT_A_POLL, has_ended=True, has_variants=True),
    Way(
        "kill -9 after the trigger's event",
        _ENDED,
        "killed",
        ("reported", kill),
        must_end=True,
        modes=("deferred",),
    ),
    Way("triggerer vanishes", _SAME, "songs", ("deferred", stop_triggerer), must_end=True, modes=("deferred",)),
    Way("SIGTERM before the send", _RUNNING, "retried", ("before the send", terminate)),
    Way("SIGTERM after the send", _RUNNING, "retried", ("after the send", terminate)),
    Way("SIGTERM while waiting", _RUNNING, "retried", ("before a poll", terminate)),
    Way(
        "SIGTERM while waiting, `cancel_on_kill`",
        (SONGS, SONGS, AGAIN, UNCERTAIN, AGAIN),
        "retried",
        ("before a poll", terminate),
        parameters=_CANCEL,
    ),
    Way(
        "SIGTERM while waiting, `cancel_on_kill`; the API drops the songs",
        (UNCERTAIN, UNCERTAIN, NEW, UNCERTAIN, NEW),
        "retried",
        ("before a poll", terminate),
        parameters=_CANCEL,
        later={"timeout": 0.3},
        settings={"cancelled_jobs": "dropped"},
        window_seconds=0,
    ),
    Way("`execution_timeout` while sending", (LISTED,) * 5, "killed", ("after the send", time_out)),
    Way("`execution_timeout` while waiting", _RUNNING, "killed", ("before a poll", time_out)),
    Way(
        "marked failed while waiting",
        (_NO, SONGS, LISTED, _NO, LISTED),
        "retried",
        ("before a poll", terminate),
        modes=("sync",),
    ),
    Way(
        "marked failed while deferred",
        (_NO, SONGS, LISTED, _NO, LISTED),
        "killed",
        ("deferred", mark_deferred),
        modes=("deferred",),
    ),
    Way(
        "marked failed while waiting, `cancel_on_kill`",
        (_NO, SONGS, AGAIN, _NO, AGAIN),
        "retried",
        ("before a poll", terminate),
        parameters=_CANCEL,
        modes=("sync",),
    ),
    Way(
        "marked failed while deferred, `cancel_on_kill`",
        (_NO, SONGS, AGAIN, _NO, AGAIN),
        "killed",
        ("deferred", mark_deferred),
        parameters=_CANCEL,
        modes=("deferred",),
    ),
    Way(
        "deadline passed, the songs run",
        (SONGS, SONGS, LISTED, FINAL, LISTED),
        "retried/final",
        first={"timeout": 0.2},
        has_variants=True,
    ),
    Way(
        "deadline passed, the songs end later",
        (SONGS, SONGS, NEW, FINAL, NEW),
        "retried/final",
        first={"timeout": 0.2},
        has_ended=True,
    ),
    Way(
        "deadline passed, no song is ever shown",
        (WAITS, WAITS, WAITS, FINAL, UNCERTAIN),
        "retried/final",
        parameters={"timeout": 0.2},
        settings={"job_id_known": "no"},
    ),
    Way(
        "deadline passed, no song was shown in 15 minutes",
        (FINAL, NEW, NEW, FINAL, NEW),
        "final",
        first={"timeout": 0.2},
        settings={"job_id_known": "no", "generation_seconds": 0.05},
        later_settings={"job_id_known": "yes"},
        window_seconds=0,
    ),
    Way(
        "API down while waiting",
        (SONGS, SONGS, LISTED, FINAL, LISTED),
        "retried/final",
        fault="down",
        first={"timeout": 0.3},
    ),
    Way("reporting the songs fails", (SONGS, NEW, NEW, UNCERTAIN, NEW), "songs", must_end=True, has_variants=True),
    Way(
        "reporting fails, without waiting for the songs",
        (SONGS, NEW, LISTED, LISTED, LISTED),
        "songs",
        parameters={"wait_for_completion": False},
        modes=("sync",),
    ),
    Way("response lost, made", _SAME, "songs", fault="lost", must_end=True, has_variants=True),
    Way(
        "response lost, made; the job has left the list",
        (FINAL, NEW, NEW, FINAL, NEW),
        "final",
        fault="lost",
        settings={"generation_seconds": 0},
    ),
    Way(
        "response lost, made; the job list is down",
        (LISTED, LISTED, LISTED, FINAL, LISTED),
        "retried/final",
        # The look before the send must succeed, or nothing is sent.
        ("after the send", break_job_list),
        fault="lost",
        first={"timeout": 0.3},
    ),
    Way("502, made", _SAME, "songs", fault="502, made", must_end=True),
    Way("502, not made", (FINAL, FIRST, FIRST, FINAL, FIRST), "final", fault="502, not made"),
    Way("response not understood, made", _SAME, "songs", fault="not understood", must_end=True),
    Way(
        "response not understood, made; the job has left the list",
        (FINAL, NEW, NEW, FINAL, NEW),
        "final",
        fault="not understood",
        settings={"generation_seconds": 0},
    ),
    Way(
        "refused (429) until the deadline",
        (FIRST, FIRST, FIRST, UNCERTAIN, FIRST),
        "retried",
        fault="refused",
        first={"timeout": 0.2},
    ),
    Way(
        "job list down until the deadline",
        (FIRST, FIRST, FIRST, UNCERTAIN, FIRST),
        "retried",
        fault="no job list",
        first={"timeout": 0.2},
    ),
    Way(
        "the songs fail",
        (FINAL, NEW, NEW, FINAL, NEW),
        "final",
        must_end=True,
        settings={"final_status": "failed"},
        later_settings={"final_status": "complete"},
    ),
    Way(
        "kill -9 while waiting; the prompt changes",
        (SONGS, NEW, NEW, LISTED, NEW),
        "killed",
        _AT_A_POLL,
        later={"prompt": "another song"},
    ),
    Way(
        "worker vanishes after the send; the prompt changes",
        (LISTED, NEW, NEW, LISTED, NEW),
        "killed",
        ("after the send", kill),
        later={"prompt": "another song"},
    ),
]
BY_NAME = {way.name: way for way in WAYS}
