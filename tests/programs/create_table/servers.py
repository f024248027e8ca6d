"""The two servers, as a cell sees them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from airflow_provider_riffusion.emulator import Emulator
from tests.support.creating import CREATE, FOR_EVER_SECONDS
from tests.support.other_api import OtherApi, other_api

#: How the API may behave, as far as a create request's life depends on it; the first of them is the plain one.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "job": {},
    "job, songs when finished": {"songs_shown": "finished"},
    "job, songs by the job's id": {"songs_shown": "job-id"},
    "a job for each song": {"job_reply": "jobs"},
    "a job for each song, when finished": {"job_reply": "jobs", "songs_shown": "finished"},
    "jobs with their songs' ids": {"job_reply": "song-jobs", "songs_shown": "finished"},
    "songs": {"job_reply": "songs"},
    "songs when finished": {"job_reply": "songs", "songs_shown": "finished"},
    "both, the job's id unknown": {"job_reply": "both", "job_id_known": "no"},
    "both, songs by the job's id": {"job_reply": "both", "songs_shown": "job-id"},
    "songs one after another": {"stagger_seconds": 0.03},
    "songs one after another, when finished": {"stagger_seconds": 0.03, "songs_shown": "finished"},
    "songs late": {"appearance_delay_seconds": 0.15, "songs_shown": "finished"},
    "other API": {"other": True},
    "other API, a job for each, when done": {"other": True, "names": "jobs", "shows": "when done"},
    "other API, songs, by the job": {"other": True, "names": "songs", "shows": "by job"},
    "other API, late": {"other": True, "late_seconds": 0.15, "shows": "when done", "unknown": "empty list"},
}
PLAIN = next(iter(VARIANTS))
#: Songs that are found by their job cannot be shown by it.
JOBS_UNKNOWN = "both, the job's id unknown"


class Endpoint(Protocol):
    """Where a server listens, and what it asks for."""

    @property
    def url(self) -> str: ...

    @property
    def token(self) -> str: ...


class Server(Endpoint, Protocol):
    """What a cell needs of a server."""

    def creates(self) -> Sequence[tuple[set[str], set[str]]]:
        """Return the jobs and the songs of each create request that was accepted."""

    def requests(self) -> Sequence[str]:
        """Return the requests so far, each as its method and the last part of its path."""

    def end_songs(self) -> None:
        """Let all songs end now, and their jobs leave the job list."""

    def have_ended(self) -> bool:
        """Return whether all songs have ended."""

    def strike(self, fault: str) -> None:
        """Have the next create request, or all reads, struck by a fault."""

    def recover(self, **settings: Any) -> None:
        """End the faults, and change settings."""


class _Emulated:
    def __init__(self, emulator: Emulator) -> None:
        self.url, self.token, self._emulator = emulator.url, emulator.token, emulator

    def creates(self) -> Sequence[tuple[set[str], set[str]]]:
        return [(set(create.job_ids), set(create.song_ids)) for create in self._emulator.accepted_creates]

    def requests(self) -> Sequence[str]:
        return [f"{request.method} {request.path.rpartition('/')[2]}" for request in self._emulator.requests]

    def end_songs(self) -> None:
        for job in self._jobs():
            job.started_monotonic = min(job.started_monotonic, time.monotonic() - job.seconds)

    def have_ended(self) -> bool:
        is_dropped = self._emulator.settings.cancelled_jobs == "dropped"
        return all(job.elapsed >= job.seconds or (is_dropped and not job.tracked) for job in self._jobs())

    def strike(self, fault: str) -> None:
        faults: dict[str, dict[str, Any]] = {
            "lost": {"what": "lost-reply", "path": CREATE},
            "502, made": {"what": "status", "status": 502, "carried_out": True, "path": CREATE},
            "502, not made": {"what": "status", "status": 502, "path": CREATE},
            "not understood": {"what": "html", "carried_out": True, "path": CREATE},
            "refused": {"what": "status", "status": 429, "path": CREATE},
            "down": {"what": "status", "status": 503, "path": "/v1/riffusion/music", "method": "GET"},
            "no job list": {"what": "status", "status": 503, "path": "scheduler", "method": "GET"},
        }
        self._emulator.fault(**faults[fault])

    def recover(self, **settings: Any) -> None:
        self._emulator.clear()
        self._emulator.configure(**settings)

    def _jobs(self) -> Sequence[Any]:
        # The emulator ends its songs by the clock, which a busy machine cannot keep to.
        return list(self._emulator._state._jobs.values())


class _Other:
    def __init__(self, api: OtherApi) -> None:
        self.url, self.token, self._api = api.url, api.token, api

    def creates(self) -> Sequence[tuple[set[str], set[str]]]:
        tracks = self._api.tracks
        turns = range(1, len(self._api.creates) + 1)
        of_turns = [[track for track in tracks if track.id.startswith(f"{turn}-")] for turn in turns]
        return [({track.job for track in each}, {track.id for track in each}) for each in of_turns]

    def requests(self) -> Sequence[str]:
        return [request.replace("/v1/riffusion/", "").replace("music/", "") for request in self._api.requests]

    def end_songs(self) -> None:
        with self._api.lock:
            for track in self._api.tracks:
                early = max(0.0, track.done_at - time.monotonic())
                track.done_at -= early
                track.shown_at -= early

    def have_ended(self) -> bool:
        return all(track.done_at <= time.monotonic() for track in self._api.tracks)

    def strike(self, fault: str) -> None:
        self._api.first_create = fault  # type: ignore[assignment]  # one of its own words, or a cell fails

    def recover(self, **settings: Any) -> None:
        self._api.first_create = "ok"


@contextmanager
def serving(variant: str, **settings: Any) -> Iterator[Server]:
    """
    Run a server.

    :param variant: one of :data:`VARIANTS`
    :param settings: further settings of the emulator
    """
    switches = {**VARIANTS[variant], **settings}
    if switches.pop("other", False):
        with other_api(seconds=FOR_EVER_SECONDS, **switches) as api:
            yield _Other(api)
        return
    with Emulator(songs=[], **{"generation_seconds": FOR_EVER_SECONDS, **switches}) as emulator:
        yield _Emulated(emulator)
