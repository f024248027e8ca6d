"""
The endpoints of the emulated API: a request comes in, a reply comes out, no network.

Marks [D], [C] and [?]: see :mod:`.models`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from airflow_provider_riffusion.emulator.riffusion.files import (
    audio_reply,
    download_reply,
    file_url,
    stem_file_reply,
)
from airflow_provider_riffusion.emulator.riffusion.models import DONE_STATUSES, Account, Song, iso_time
from airflow_provider_riffusion.emulator.riffusion.state import State
from airflow_provider_riffusion.emulator.server.faults import REDIRECT_LOOP_PATH
from airflow_provider_riffusion.emulator.server.fields import Fields, query_number
from airflow_provider_riffusion.emulator.server.response import (
    MODERATION,
    RefusedError,
    Reply,
    bytes_reply,
    error_reply,
    json_reply,
    redirect_reply,
)

PREFIX = "/v1/riffusion"
FILES_PREFIX = "/files/"

_DOWNLOAD_FORMATS = ("mp3", "wav", "stems")
_MODEL = re.compile(r"FUZZ-\S+")
_OTHER_FORMAT = {"mp3": "wav", "wav": "mp3", "stems": "mp3"}
_MAX_JOBS = (1, 10)


@dataclass(frozen=True)
class Request:
    """
    A request as the endpoints see it.

    :param method: HTTP method
    :param path: path of the URL
    :param query: query parameters, decoded
    :param body: the body as parsed JSON; None when there is none or it is no JSON
    :param token: the token of the ``Authorization`` header; None when there is none
    :param base_url: scheme, host and port by which the client reached this server
    """

    method: str
    path: str
    query: dict[str, str]
    body: Any
    token: str | None
    base_url: str

    @property
    def song_id(self) -> str | None:
        """The song or job that the request is about; None when it is about none."""
        if self.path.startswith(FILES_PREFIX):
            name, _, stem = self.path.removeprefix(FILES_PREFIX).partition("/")
            return unquote(name if stem else name.rpartition(".")[0]) or None
        return self.query.get("id")


class Endpoints:
    """
    All endpoints of the API.

    :param state: what they work on
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def answer(self, request: Request, *, wrong_format: bool = False) -> Reply:
        """
        Carry a request out.

        :param request: the request
        :param wrong_format: send mp3 where wav is asked and the reverse, under the right Content-Type
        """
        try:
            if request.path.startswith(FILES_PREFIX):
                return self._file(request, wrong_format)
            if request.path != PREFIX and not request.path.startswith(f"{PREFIX}/"):
                raise RefusedError(404, f"No such path: {request.path}")
            if request.token != self._state.token:
                raise RefusedError(401, "Unauthorized")
            return self._route(request, wrong_format)
        except RefusedError as refusal:
            return error_reply(refusal.status, refusal.message, retry_after=refusal.retry_after)

    def _route(self, request: Request, wrong_format: bool) -> Reply:
        segments = [unquote(part) for part in request.path.removeprefix(PREFIX).strip("/").split("/")]
        match request.method, segments:
            case "GET", ["music", "download"]:
                return self._download(request, wrong_format)
            case "GET", ["music"]:
                return self._list_songs(request)
            case "DELETE", ["music"]:
                return self._delete_song(request)
            case "POST", ["music", "create-prompt"]:
                return self._create_prompt(request)
            case "POST", ["music", "create-compose"]:
                return self._create_compose(request)
            case "POST", ["music", "generate-lyrics"]:
                return self._generate_lyrics(request)
            case "GET", ["accounts"]:
                return self._list_accounts()
            case "POST", ["accounts"]:
                return self._post_account(request)
            case "GET", ["accounts", user_id]:
                return json_reply(_account_json(self._state.account(user_id)))
            case "GET", ["scheduler"]:
                return json_reply([job.as_json() for job in self._state.executing()])
            case "GET", ["scheduler", "available"]:
                return self._available()
            case "DELETE", ["scheduler", job_id]:
                self._state.stop_tracking(job_id)
                return bytes_reply(b"", None)
            case _:
                raise RefusedError(404, f"No such endpoint: {request.method} {request.path}")

    # --- songs

    def _download(self, request: Request, wrong_format: bool) -> Reply:
        account = self._state.working_account(request.query.get("user_id"))
        kind = request.query.get("download_format", "")
        if kind not in _DOWNLOAD_FORMATS:
            raise RefusedError(400, f"Parameter download_format is one of mp3, wav, stems, not {kind!r}")
        song = self._state.song(_required_id(request), account.user_id)
        if song.status not in DONE_STATUSES:
            # 409 "not finished yet" [C]; how a failed song is refused is [?].
            status = 400 if song.status == "failed" else 409
            raise RefusedError(status, f"Song {song.id} has no audio, its status is {song.status}")
        base_url = self._state.settings.files_url or request.base_url
        reply = download_reply(song, kind, self._state.settings, base_url)
        if wrong_format:
            other = audio_reply(song, _OTHER_FORMAT[kind])
            return Reply(200, other.content, other.length, content_type=reply.content_type)
        return reply

    def _file(self, request: Request, wrong_format: bool) -> Reply:
        if request.path == REDIRECT_LOOP_PATH:
            return redirect_reply(request.base_url + REDIRECT_LOOP_PATH)
        name, _, stem = request.path.removeprefix(FILES_PREFIX).partition("/")
        song = self._state.song(request.song_id or "")
        stem = stem.removesuffix(".m4a")
        kind = name.rpartition(".")[2]
        if song.status not in DONE_STATUSES or request.method != "GET":
            raise RefusedError(404, f"No such file: {request.path}")
        if stem in song.stems:
            return stem_file_reply(song, stem)
        if stem or kind not in ("mp3", "wav", "m4a"):
            raise RefusedError(404, f"No such file: {request.path}")
        reply = audio_reply(song, kind)
        if wrong_format:
            other = audio_reply(song, _OTHER_FORMAT.get(kind, "mp3"))
            return Reply(200, other.content, other.length, content_type=reply.content_type)
        return reply

    def _list_songs(self, request: Request) -> Reply:
        account = self._state.working_account(request.query.get("user_id"))
        song_id = request.query.get("id")
        if song_id:
            songs = self._state.songs_of(song_id, account.user_id)
        else:
            offset = query_number(request.query, "offset", 0, 0)
            limit = query_number(request.query, "limit", 10, 1)
            songs = self._state.songs(account.user_id)[offset : offset + limit]
        base_url = self._state.settings.files_url or request.base_url
        return json_reply([_song_json(song, base_url) for song in songs])

    def _delete_song(self, request: Request) -> Reply:
        account = self._state.working_account(request.query.get("user_id"))
        self._state.delete_song(_required_id(request), account.user_id)
        return bytes_reply(b"", None)

    # --- creation

    def _create_prompt(self, request: Request) -> Reply:
        fields = Fields(request.body)
        account = self._state.working_account(fields.text("user_id") or request.query.get("user_id"))
        prompt = fields.required("prompt")
        instrumental = fields.flag("instrumental")
        song = Song(
            id="",
            title=" ".join(prompt.split()[:4]).title(),
            duration_s=self._state.settings.song_seconds,
            lyrics=None if instrumental else _lyrics(prompt),
            sound=prompt,
        )
        return self._create(account, fields, song, prompt)

    def _create_compose(self, request: Request) -> Reply:
        fields = Fields(request.body)
        account = self._state.working_account(fields.text("user_id") or request.query.get("user_id"))
        prompts = [fields.required("prompt_1"), fields.text("prompt_2"), fields.text("prompt_3")]
        for name in ("prompt_1", "prompt_2", "prompt_3"):
            fields.number(f"{name}_strength", 20, 100)
            fields.number(f"{name}_start", 0, 100)
            fields.number(f"{name}_end", 0, 100)
        for name in ("lyrics_strength", "lyrics_weirdness"):
            fields.number(name, 0, 100)
        for name in ("audio_upload_id", "image_id"):
            fields.text(name)
        sound = ", ".join(prompt for prompt in prompts if prompt)
        title = fields.text("title") or " ".join(sound.split()[:4]).title()
        lyrics = fields.text("lyrics")
        song = Song(
            id="",
            title=title,
            duration_s=self._state.settings.song_seconds,
            lyrics=lyrics,
            sound=sound,
        )
        return self._create(account, fields, song, f"{title}\n{lyrics}\n{sound}")

    def _create(self, account: Account, fields: Fields, song: Song, words: str) -> Reply:
        settings = self._state.settings
        model = fields.text("model")
        # Only FUZZ-0.8 is documented [D]; later models of that name may exist [?].
        if model is not None and not _MODEL.fullmatch(model):
            raise RefusedError(400, f"Parameter model is FUZZ-0.8, not {model!r}")
        max_jobs = fields.number("maxJobs", *_MAX_JOBS)
        reply_url, reply_ref = fields.reference("replyUrl"), fields.reference("replyRef")
        if _contains(words, settings.moderated_word):
            return json_reply(MODERATION, 422)
        job_ids = self._state.create(
            account,
            [song] * settings.songs_per_job,
            max_jobs=max_jobs,
            fails=_contains(words, settings.failing_word),
            reply_url=reply_url,
            reply_ref=reply_ref,
        )
        if settings.job_reply == "jobs":
            return json_reply({"jobs": [{"id": job_id} for job_id in job_ids]})
        return json_reply({"job_id": job_ids[0], "user_id": account.user_id})

    def _generate_lyrics(self, request: Request) -> Reply:
        fields = Fields(request.body)
        self._state.working_account(fields.text("user_id") or request.query.get("user_id"))
        prompt = fields.required("prompt")
        before = fields.text("lyrics")
        return json_reply({"lyrics": f"{before}\n\n{_lyrics(prompt)}" if before else _lyrics(prompt)})

    # --- accounts and scheduler

    def _list_accounts(self) -> Reply:
        accounts = self._state.accounts()
        if not accounts:
            raise RefusedError(404, "No accounts configured")
        return json_reply({account.user_id: _account_json(account) for account in accounts})

    def _post_account(self, request: Request) -> Reply:
        fields = Fields(request.body)
        account = self._state.post_account(fields.required("cookie"), fields.number("maxJobs", *_MAX_JOBS))
        return json_reply(_account_json(account), 201)

    def _available(self) -> Reply:
        jobs = self._state.executing()
        available = []
        for account in self._state.accounts():
            running = sum(job.user_id == account.user_id for job in jobs)
            available.append(
                {
                    "user_id": account.user_id,
                    "maxJobs": account.max_jobs,
                    "executing": running,
                    "available": max(0, account.max_jobs - running),
                }
            )
        return json_reply({"executing": [job.as_json() for job in jobs], "available": available})


def _required_id(request: Request) -> str:
    song_id = request.query.get("id")
    if not song_id:
        raise RefusedError(400, "Parameter id is required")
    return song_id


def _contains(words: str, word: str) -> bool:
    return bool(word) and word.lower() in words.lower()


def _lyrics(prompt: str) -> str:
    return f"[Verse]\nA song about {prompt}\nIt hums the whole night long\n\n[Chorus]\nSing: {prompt}"


def _account_json(account: Account) -> dict[str, Any]:
    expires = datetime(2099, 1, 1, tzinfo=UTC)
    document: dict[str, Any] = {
        "user_id": account.user_id,
        "maxJobs": account.max_jobs,
        "jwt": {"expires_at": int(expires.timestamp()), "expires_at_UTC": iso_time(expires)},
    }
    if account.error is not None:
        document["error"] = account.error
    return document


def _song_json(song: Song, base_url: str) -> dict[str, Any]:
    done = song.status in DONE_STATUSES
    return {
        "id": song.id,
        "group_id": song.id,
        "author_id": song.user_id,
        "created_at": iso_time(song.created_at),
        "lyrics": song.lyrics,
        "title": song.title,
        "sound": song.sound,
        "topic": None,
        "image_id": None,
        # What a song shows before it is done is [?].
        "duration_s": song.duration_s if done else None,
        "privacy": "private",
        "is_favorite": False,
        "play_count": 0,
        "status": song.status,
        "download_url": file_url(base_url, song, "m4a") if done else None,
        "share_url": f"https://www.riffusion.com/song/{song.id}",
        "image_url": None,
        "audio_upload_id": None,
    }
