"""A song's files as responses: mp3, wav, m4a, and the stems JSON in each shape that a client may meet."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any
from urllib.parse import quote, unquote

from airflow_provider_riffusion.emulator.audio import STEM_NAMES, m4a, mp3, wav, wav_size
from airflow_provider_riffusion.emulator.riffusion.models import Settings, Song
from airflow_provider_riffusion.emulator.server.response import RefusedError, Response, bytes_response, json_response

FILES_PREFIX = "/files/"

_CONTENT_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav", "m4a": "audio/mp4"}


def file_url(base_url: str, song: Song, name: str) -> str:
    """
    Return the URL of a song's file on this server; it demands no token, as signed URLs do not.

    :param base_url: scheme, host and port
    :param song: the song
    :param name: ``mp3``, ``wav`` or ``m4a``, or the name of a stem
    """
    end = f".{name}" if name in _CONTENT_TYPES else f"/{name}.m4a"
    return f"{base_url}{FILES_PREFIX}{quote(song.id, safe='')}{end}"


def song_id_and_name(path: str) -> tuple[str, str]:
    """Return the id of a song and the name of its file from the path of a URL that :func:`file_url` wrote."""
    song_id, slash, name = path.removeprefix(FILES_PREFIX).removesuffix(".m4a").partition("/")
    if not slash:
        song_id, _, name = path.removeprefix(FILES_PREFIX).rpartition(".")
    return unquote(song_id), name


def file_response(song: Song, name: str) -> Response:
    """
    Return a song's file, or refuse with 404.

    :param song: the song
    :param name: ``mp3``, ``wav`` or ``m4a``, or the name of a stem
    """
    content_type = _CONTENT_TYPES.get(name, "audio/mp4")
    match name:
        case "wav":
            return Response(200, lambda: wav(song.id, song.duration_s), wav_size(song.duration_s), content_type)
        case "mp3":
            return bytes_response(mp3(song.id, song.title), content_type)
        case "m4a":
            return bytes_response(m4a(song.id), content_type)
        case _ if name in song.stems:
            return bytes_response(m4a(song.id, name, song.stem_padding), content_type)
    raise RefusedError(404, f"Song {song.id} has no file {name}")


def with_other_format(song: Song, name: str, response: Response) -> Response:
    """Return wav in place of mp3, and mp3 in place of all else, under the Content-Type of the right response."""
    return replace(file_response(song, "wav" if name == "mp3" else "mp3"), content_type=response.content_type)


def with_ranges(song: Song, name: str, response: Response) -> Response:
    """Return a response that comes in ranges, under an ETag that tells two versions of a song's file apart."""
    etag = f'"{sha256(f"{song}/{name}".encode()).hexdigest()[:32]}"'
    return replace(response, headers={**response.headers, "Accept-Ranges": "bytes", "ETag": etag})


def other_version(song: Song) -> Song:
    """Return a song whose files are as long as the given one's and hold other bytes."""
    return replace(song, id=song.id[:-1] + ("x" if song.id[-1:] != "x" else "y"))


def download_response(song: Song, kind: str, settings: Settings, base_url: str) -> Response:
    """
    Return the response to ``GET music/download``.

    :param song: the song
    :param kind: ``mp3``, ``wav`` or ``stems`` [D]
    :param settings: they say in which of the known ways
    :param base_url: base of the URLs in the response
    """
    if kind == "stems":
        return json_response(_stems_document(song, settings, base_url))
    if settings.audio_reply == "url":
        return json_response({"url": file_url(base_url, song, kind)})
    if settings.audio_reply == "redirect":
        return Response(302, headers={"Location": file_url(base_url, song, kind)})
    response = file_response(song, kind)
    framing = response.framing if settings.audio_reply == "bytes" else settings.audio_reply
    return replace(response, framing=framing, content_type=settings.content_type or response.content_type)


def _stems_document(song: Song, settings: Settings, base_url: str) -> Any:
    def encoded(name: str) -> str:
        return base64.b64encode(file_response(song, name).to_bytes()).decode()

    def url(name: str) -> str:
        return file_url(base_url, song, name)

    def mapping(value: Callable[[str], Any]) -> dict[str, Any]:
        found = {name: value(name) for name in song.stems}
        if settings.missing_stems == "absent":
            return found
        return dict.fromkeys(STEM_NAMES, None if settings.missing_stems == "null" else "") | found

    url_keys = dict(zip(STEM_NAMES, ("url", "audio_url", "download_url", "url"), strict=True))
    shapes: dict[str, Callable[[], Any]] = {
        "base64": lambda: {"stems": mapping(encoded)},
        "top-level": lambda: mapping(encoded),
        "list": lambda: [{"name": name, "url": url(name)} for name in song.stems],
        "list-base64": lambda: {"stems": [{"name": name, "data": encoded(name)} for name in song.stems]},
        "data-uri": lambda: {"stems": mapping(lambda name: f"data:audio/mp4;base64,{encoded(name)}")},
        "urls": lambda: {"stems": mapping(url)},
        "objects": lambda: {"stems": mapping(lambda name: {url_keys[name]: url(name)})},
        "unknown": lambda: {"result": {"state": "ok", "parts": len(song.stems)}},
    }
    return shapes[settings.stems_reply]()
