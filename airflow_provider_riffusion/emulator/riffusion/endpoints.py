"""
The endpoints of the emulated API: a request comes in, a response comes out, no network.

Marks [D], [C] and [?]: see :mod:`.models`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, ClassVar

from airflow_provider_riffusion.emulator.riffusion.files import (
    FILES_PREFIX,
    download_response,
    file_response,
    file_url,
    other_version,
    song_id_and_name,
    with_other_format,
    with_ranges,
)
from airflow_provider_riffusion.emulator.riffusion.models import Account, Song
from airflow_provider_riffusion.emulator.riffusion.state import State
from airflow_provider_riffusion.emulator.server.fields import Fields, json_object, query_number
from airflow_provider_riffusion.emulator.server.request import Request
from airflow_provider_riffusion.emulator.server.response import (
    PENDING_STATUS,
    RefusedError,
    Response,
    error_response,
    iso_time,
    json_response,
)
from airflow_provider_riffusion.emulator.server.service import Service

PREFIX = "/v1/riffusion"
#: The error that ``GET accounts`` shows for an account whose cookie has expired.
EXPIRED_COOKIE = "Unable to refresh cookie"

_PENDING_MESSAGE = (
    "Your Riffusion account has pending error. Please address this issue at "
    "https://useapi.net/docs/api-riffusion-v1/post-riffusion-accounts before making any new API calls."
)
_DOWNLOAD_FORMATS = ("mp3", "wav", "stems")
_MODEL = re.compile(r"FUZZ-\S+")
_MAX_JOBS = (1, 10)
_LONGEST_REFERENCE = 1024
_COMPOSE_NUMBERS = {
    **{f"prompt_{number}_strength": (20, 100) for number in (1, 2, 3)},
    **{f"prompt_{number}_{end}": (0, 100) for number in (1, 2, 3) for end in ("start", "end")},
    "lyrics_strength": (0, 100),
    "lyrics_weirdness": (0, 100),
}


class Endpoints(Service):
    """
    All endpoints of the API.

    :param token: the API token that requests must carry
    :param state: what the endpoints work on
    """

    messages: Mapping[int, str] = {PENDING_STATUS: _PENDING_MESSAGE}

    def __init__(self, token: str, state: State) -> None:
        self.token = token
        self._state = state

    def reset(self) -> None:
        self._state.reset()

    def song_id(self, path: str, query: Mapping[str, str]) -> str | None:
        if path.startswith(FILES_PREFIX):
            return song_id_and_name(path)[0] or None
        return query.get("id")

    def answer(self, request: Request) -> Response:
        try:
            return self._answer(request)
        except RefusedError as refusal:
            if refusal.status != 404 or self._state.settings.not_found_body == "json":
                raise
            return error_response(404, "", body="html")

    def _answer(self, request: Request) -> Response:
        if request.path.startswith(FILES_PREFIX):
            return self._file(request)
        if request.path != PREFIX and not request.path.startswith(f"{PREFIX}/"):
            raise RefusedError(404, f"No such path: {request.path}")
        if request.token != self.token:
            raise RefusedError(401, "Unauthorized")
        segments = request.segments(PREFIX)
        exact, by_name = (request.method, "/".join(segments)), (request.method, f"{segments[0]}/*")
        handler = self._ROUTES.get(exact) or (self._ROUTES.get(by_name) if len(segments) == 2 else None)
        if handler is None:
            raise RefusedError(404, f"No such endpoint: {request.method} {request.path}")
        return handler(self, request)

    def control(self, method: str, segments: list[str], body: Any) -> Response:
        """Break or repair an account, change settings, or list the create requests that were accepted."""
        match method, segments:
            case "GET", ["creates"]:
                return json_response([asdict(create) for create in self._state.creates])
            case "POST", ["accounts", user_id, "break" | "repair" as action]:
                error = EXPIRED_COOKIE if action == "break" else None
                try:
                    return json_response(asdict(self._state.set_account_error(user_id, error)))
                except KeyError:
                    raise RefusedError(404, f"Account {user_id} not found") from None
            case "POST", ["settings"]:
                try:
                    self._state.configure(**json_object(body))
                except (TypeError, ValueError) as error:
                    raise RefusedError(400, str(error)) from None
                return json_response(asdict(self._state.settings))
            case _:
                raise RefusedError(404, f"No such control endpoint: {method} {'/'.join(segments)}")

    def _account(self, request: Request, fields: Fields | None = None) -> Account:
        """Return the account that a request means, or refuse it with 596 when that account is broken [D]."""
        in_body = None if fields is None else fields.text("user_id")
        account = self._state.account(in_body or request.query.get("user_id"))
        if account.error is not None:
            raise RefusedError(PENDING_STATUS, _PENDING_MESSAGE)
        return account

    def _base_url(self, request: Request) -> str:
        return self._state.settings.files_url or request.base_url

    # --- songs

    def _download(self, request: Request) -> Response:
        account = self._account(request)
        kind = request.query.get("download_format", "")
        if kind not in _DOWNLOAD_FORMATS:
            raise RefusedError(400, f"Parameter download_format is one of mp3, wav, stems, not {kind!r}")
        song = self._song(request, _required_id(request), account.user_id)
        if not song.done:
            # 409 "not finished yet" [C]; how a failed song is refused is [?].
            status = 400 if song.status == "failed" else 409
            raise RefusedError(status, f"Song {song.id} has no audio, its status is {song.status}")
        response = download_response(song, kind, self._state.settings, self._base_url(request))
        return self._offered(song, kind, with_other_format(song, kind, response) if request.wrong_format else response)

    def _file(self, request: Request) -> Response:
        song_id, name = song_id_and_name(request.path)
        song = self._song(request, song_id)
        if not song.done or request.method != "GET":
            raise RefusedError(404, f"No such file: {request.path}")
        response = file_response(song, name)
        if request.wrong_format and name not in song.stems:
            response = with_other_format(song, name, response)
        return self._offered(song, name, response)

    def _song(self, request: Request, song_id: str, user_id: str | None = None) -> Song:
        song = self._state.song(song_id, user_id)
        return other_version(song) if request.other_version else song

    def _offered(self, song: Song, name: str, response: Response) -> Response:
        is_in_ranges = self._state.settings.ranges == "yes" and response.status == 200
        return with_ranges(song, name, response) if is_in_ranges else response

    def _list_songs(self, request: Request) -> Response:
        account = self._account(request)
        handle = request.query.get("id")
        if handle:
            songs = self._state.songs_of(handle, account.user_id)
        else:
            offset = query_number(request.query, "offset", 0, 0)
            limit = query_number(request.query, "limit", 10, 1)
            songs = self._state.page(account.user_id, offset, limit)
        return json_response([_song_json(song, self._base_url(request)) for song in songs])

    def _delete_song(self, request: Request) -> Response:
        account = self._account(request)
        self._state.delete_song(_required_id(request), account.user_id)
        return Response()

    # --- creation

    def _create_prompt(self, request: Request) -> Response:
        fields = Fields(request.body)
        account = self._account(request, fields)
        prompt = fields.required("prompt")
        lyrics = None if fields.flag("instrumental") else _lyrics(prompt)
        return self._create(account, fields, title=_title(prompt), lyrics=lyrics, sound=prompt, words=prompt)

    def _create_compose(self, request: Request) -> Response:
        fields = Fields(request.body)
        account = self._account(request, fields)
        prompts = [fields.required("prompt_1"), fields.text("prompt_2"), fields.text("prompt_3")]
        for name, bounds in _COMPOSE_NUMBERS.items():
            fields.number(name, *bounds)
        for name in ("audio_upload_id", "image_id"):
            fields.text(name)
        sound = ", ".join(prompt for prompt in prompts if prompt)
        title, lyrics = fields.text("title") or _title(sound), fields.text("lyrics")
        words = f"{title}\n{lyrics}\n{sound}"
        return self._create(account, fields, title=title, lyrics=lyrics, sound=sound, words=words)

    def _create(
        self, account: Account, fields: Fields, *, title: str, lyrics: str | None, sound: str, words: str
    ) -> Response:
        settings = self._state.settings
        model = fields.text("model")
        # Only FUZZ-0.8 is documented [D]; later models of that name may exist [?].
        if model is not None and not _MODEL.fullmatch(model):
            raise RefusedError(400, f"Parameter model is FUZZ-0.8, not {model!r}")
        fields.number("maxJobs", *_MAX_JOBS)
        for name in ("replyUrl", "replyRef"):
            fields.text(name, longest=_LONGEST_REFERENCE)
        if _contains(words, settings.moderated_word):
            return error_response(422, "", body="moderation")
        song = Song(id="", title=title, duration_s=settings.song_seconds, lyrics=lyrics, sound=sound)
        create = self._state.create(account, song, fields.body, fails=_contains(words, settings.failing_word))
        job = {"job_id": create.job_ids[0], "user_id": account.user_id}
        jobs, songs = ([{"id": each} for each in ids] for ids in (create.job_ids, create.song_ids))
        documents = {"job_id": job, "songs": {"songs": songs}, "both": {**job, "songs": songs}}
        return json_response(documents.get(settings.job_reply, {"jobs": jobs}))

    def _generate_lyrics(self, request: Request) -> Response:
        fields = Fields(request.body)
        self._account(request, fields)
        lyrics = _lyrics(fields.required("prompt"))
        before = fields.text("lyrics")
        return json_response({"lyrics": f"{before}\n\n{lyrics}" if before else lyrics})

    # --- accounts and the vendor's job list

    def _list_accounts(self, _: Request) -> Response:
        accounts = self._state.accounts()
        if not accounts:
            raise RefusedError(404, "No accounts configured")
        return json_response({account.user_id: _account_json(account) for account in accounts})

    def _show_account(self, request: Request) -> Response:
        return json_response(_account_json(self._state.account(request.segments(PREFIX)[-1])))

    def _post_account(self, request: Request) -> Response:
        fields = Fields(request.body)
        account = self._state.post_account(fields.required("cookie"), fields.number("maxJobs", *_MAX_JOBS))
        return json_response(_account_json(account), 201)

    def _list_jobs(self, _: Request) -> Response:
        return json_response([job.as_json() for job in self._state.executing()])

    def _stop_tracking(self, request: Request) -> Response:
        self._state.stop_tracking(request.segments(PREFIX)[-1])
        return Response()

    def _available(self, _: Request) -> Response:
        jobs = self._state.executing()
        running = Counter(job.user_id for job in jobs)
        available = [
            {
                "user_id": account.user_id,
                "maxJobs": account.max_jobs,
                "executing": running[account.user_id],
                "available": max(0, account.max_jobs - running[account.user_id]),
            }
            for account in self._state.accounts()
        ]
        return json_response({"executing": [job.as_json() for job in jobs], "available": available})

    _ROUTES: ClassVar[dict[tuple[str, str], Callable[[Endpoints, Request], Response]]] = {
        ("GET", "music/download"): _download,
        ("GET", "music"): _list_songs,
        ("DELETE", "music"): _delete_song,
        ("POST", "music/create-prompt"): _create_prompt,
        ("POST", "music/create-compose"): _create_compose,
        ("POST", "music/generate-lyrics"): _generate_lyrics,
        ("GET", "accounts"): _list_accounts,
        ("GET", "accounts/*"): _show_account,
        ("POST", "accounts"): _post_account,
        ("GET", "scheduler"): _list_jobs,
        ("GET", "scheduler/available"): _available,
        ("DELETE", "scheduler/*"): _stop_tracking,
    }


def _required_id(request: Request) -> str:
    song_id = request.query.get("id")
    if not song_id:
        raise RefusedError(400, "Parameter id is required")
    return song_id


def _contains(words: str, word: str) -> bool:
    return bool(word) and word.lower() in words.lower()


def _title(prompt: str) -> str:
    return " ".join(prompt.split()[:4]).title()


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
    return {
        "id": song.id,
        "group_id": song.id,
        "author_id": song.user_id,
        "created_at": iso_time(song.created_at),
        "lyrics": song.lyrics,
        "title": song.title,
        "sound": song.sound,
        **dict.fromkeys(("topic", "image_id", "image_url", "audio_upload_id")),
        # What a song shows before it is done is [?].
        "duration_s": song.duration_s if song.done else None,
        "privacy": "private",
        "is_favorite": False,
        "play_count": 0,
        "status": song.status,
        "download_url": file_url(base_url, song, "m4a") if song.done else None,
        "share_url": f"https://www.riffusion.com/song/{song.id}",
    }
