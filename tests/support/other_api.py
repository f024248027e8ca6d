"""
A second stand-in for the API, written from its description alone.

It shares no code, no defaults and no habits with the emulator, so that what passes against both does not pass
only because of the emulator: HTTP/1.0, short ids, other status words and fields, unusual forms of JSON.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

Answer = tuple[int, Any]
USER = "mail-42"


@dataclass
class Track:
    """A song that was ordered; both times are on the clock of ``time.monotonic()``."""

    id: str
    job: str
    number: int
    body: dict[str, Any]
    shown_at: float
    done_at: float
    failed: bool


@dataclass
class OtherApi:
    """
    What the API holds, and how it behaves.

    :param names: what the response to a create request names
    :param shows: whether songs are shown while they are made, only when they are done, or by their job until then
    :param takes_job_ids: whether ``GET music`` takes the id of a job
    :param seconds: how long a song is made
    :param late_seconds: how much later than that, or than its start, a song is shown
    :param apart_seconds: how much later than the first song of a create request the second one is shown
    :param unknown: what ``GET music`` says to an id that it does not know, or not yet
    :param first_create: what becomes of the first create request: ``lost`` is carried out, and its connection closed
    :param cancelled: whether the songs of a job that was deleted from the job list are made
    :param broken: how many of a request's two songs fail
    :param slots: how many jobs run at once; one more is refused with 429
    :param page: how many songs the API gives at most, whatever ``limit`` says
    :param order: how the library is sorted
    """

    names: Literal["job", "jobs", "songs", "both"] = "job"
    shows: Literal["at once", "when done", "by job"] = "at once"
    takes_job_ids: bool = True
    seconds: float = 0.05
    late_seconds: float = 0.0
    apart_seconds: float = 0.0
    unknown: Literal["404", "404 of a proxy", "empty list"] = "404"
    first_create: Literal["ok", "502, made", "502, not made", "lost"] = "ok"
    cancelled: Literal["made", "dropped"] = "made"
    broken: int = 0
    slots: int = 3
    page: int = 7
    order: Literal["newest", "oldest"] = "newest"
    url: str = ""
    token: str = "user:42-other"
    #: The bodies of the create requests that were accepted: so often was paid.
    creates: list[dict[str, Any]] = field(default_factory=list)
    #: Method and path of each request.
    requests: list[str] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)
    off_the_list: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer | None:
        """Carry out a request; None: close the connection without a response."""
        match method, path.removeprefix("/v1/riffusion/").strip("/").split("/"):
            case "POST", ["music", "create-prompt" | "create-compose"]:
                return self._create(body)
            case "GET", ["music"]:
                return self._music(query)
            case "GET", ["scheduler"]:
                return 200, self._running()
            case "DELETE", ["scheduler", job]:
                if job not in {each["job_id"] for each in self._running()}:
                    return 404, {"error": "no such job"}
                self.off_the_list.add(job)
                if self.cancelled == "dropped":
                    self.tracks = [track for track in self.tracks if track.job != job]
                return 200, None
            case "GET", ["accounts"]:
                return 200, {USER: {"user_id": USER, "maxJobs": self.slots, "jwt": {"expires_at": 4070908800}}}
        return 404, "<html><title>404</title></html>"

    def _running(self) -> list[dict[str, Any]]:
        """Return what the job list shows: jobs that were not deleted from it and are not done."""
        jobs = {track.job: track for track in self.tracks if track.done_at > time.monotonic()}
        common = {"user_id": USER, "started": "2026-01-31T10:00:00.000Z", "elapsed": "00:00:01"}
        return [
            {"job_id": job, **common, **{key: track.body.get(key) for key in ("replyUrl", "replyRef")}}
            for job, track in jobs.items()
            if job not in self.off_the_list
        ]

    def _create(self, body: Any) -> Answer | None:
        trouble, self.first_create = self.first_create, "ok"
        if trouble == "502, not made":
            return 502, "<html>Bad gateway</html>"
        if not isinstance(body, dict) or not (body.get("prompt") or body.get("prompt_1")):
            return 400, {"error": "prompt is required", "code": "400"}
        if len(self._running()) >= min(self.slots, body.get("maxJobs", self.slots)):
            return 429, {"error": {"code": 429, "message": "all slots are taken"}}
        self.creates.append(body)
        turn, now = len(self.creates), time.monotonic()
        jobs = [f"job-{turn}", f"job-{turn}"] if self.names != "jobs" else [f"job-{turn}a", f"job-{turn}b"]
        done_at = now + self.seconds
        start = done_at if self.shows == "when done" else now
        for number, job in enumerate(jobs):
            shown_at = start + self.late_seconds + number * self.apart_seconds
            track = Track(f"{turn}-{number}", job, len(self.tracks), body, shown_at, done_at, number < self.broken)
            self.tracks.append(track)
        if trouble == "lost":
            return None
        if trouble == "502, made":
            return 502, {"error": "upstream"}
        job_part = {"job_id": jobs[0], "user_id": USER}
        song_part = {"songs": [{"id": track.id, "status": "queued"} for track in self.tracks[-2:]]}
        parts = {"job": job_part, "songs": song_part, "both": {**job_part, **song_part}}
        return 200, parts.get(self.names, {"jobs": [{"id": job} for job in jobs]})

    def _music(self, query: dict[str, str]) -> Answer:
        now, wanted = time.monotonic(), query.get("id")
        shown = [track for track in self.tracks if track.shown_at <= now]
        if wanted is not None:
            by_job = [track for track in shown if track.job == wanted] if self.takes_job_ids else []
            found = by_job or [track for track in self._public(shown) if track.id == wanted]
            if found or self.unknown == "empty list":
                return 200, [self._song(track) for track in found]
            return 404, {"error": "not found", "code": 404} if self.unknown == "404" else "<h1>Not Found</h1>"
        listed = sorted(self._public(shown), key=lambda track: track.number, reverse=self.order == "newest")
        start, limit = int(query.get("offset", 0)), min(int(query.get("limit", 10)), self.page)
        return 200, [self._song(track) for track in listed[start : start + limit]]

    def _public(self, tracks: list[Track]) -> list[Track]:
        return [track for track in tracks if self.shows != "by job" or track.done_at <= time.monotonic()]

    def _song(self, track: Track) -> dict[str, Any]:
        is_done = track.done_at <= time.monotonic()
        end = "moderation_failed" if track.failed else "completed"
        song = {"id": track.id, "status": end if is_done else "rendering", "created_at": "2026-01-31T10:00:00Z"}
        return {**song, "sound": track.body.get("prompt"), "new_field": {"of": ["a", "later", "version"]}}


@contextmanager
def other_api(**switches: Any) -> Iterator[OtherApi]:
    """Run the API, with the switches that :class:`OtherApi` names."""
    api = OtherApi(**switches)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with api.lock:
                api.requests.append(f"{self.command} {parts.path}")
                if self.headers.get("Authorization") == f"Bearer {api.token}":
                    body = json.loads(content) if content else None
                    answer = api.answer(self.command, parts.path, dict(parse_qsl(parts.query)), body)
                else:
                    answer = 401, {"error": "Unauthorized", "code": 401}
            if answer is None:
                return
            status, document = answer
            is_json = not isinstance(document, str)
            text = "" if document is None else json.dumps(document, indent=2) if is_json else document
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8" if is_json else "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_DELETE = do_GET

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
