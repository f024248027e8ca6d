"""A song's files as replies: mp3, wav, m4a, and the stems JSON in each shape that a client may meet."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from airflow_provider_riffusion.emulator import audio
from airflow_provider_riffusion.emulator.riffusion.models import Settings, Song
from airflow_provider_riffusion.emulator.server.response import Reply, bytes_reply, json_reply, redirect_reply

_CONTENT_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav", "m4a": "audio/mp4"}


def file_url(base_url: str, song: Song, name: str) -> str:
    """
    Return the URL of a song's file on this server; it demands no token, as signed URLs do not.

    :param base_url: scheme, host and port
    :param song: the song
    :param name: ``mp3``, ``wav`` or ``m4a``, or the name of a stem
    """
    song_id = quote(song.id, safe="")
    return f"{base_url}/files/{song_id}.{name}" if name in _CONTENT_TYPES else f"{base_url}/files/{song_id}/{name}.m4a"


def audio_reply(song: Song, kind: str) -> Reply:
    """
    Return a song's audio.

    :param song: the song
    :param kind: ``mp3``, ``wav`` or ``m4a``
    """
    content_type = _CONTENT_TYPES[kind]
    if kind == "wav":
        return Reply(
            200,
            lambda: audio.wav(song.id, song.duration_s),
            audio.wav_size(song.duration_s),
            content_type=content_type,
        )
    content = audio.mp3(song.id, song.title) if kind == "mp3" else audio.m4a(song.id)
    return bytes_reply(content, content_type)


def stem_file_reply(song: Song, name: str) -> Reply:
    """
    Return one stem as an m4a.

    :param song: the song
    :param name: the stem's name
    """
    return bytes_reply(audio.stem(song.id, name, song.stem_padding), _CONTENT_TYPES["m4a"])


def download_reply(song: Song, kind: str, settings: Settings, base_url: str) -> Reply:
    """
    Return what ``GET music/download`` answers.

    :param song: the song
    :param kind: ``mp3``, ``wav`` or ``stems`` [D]
    :param settings: they say in which of the known ways
    :param base_url: base of the URLs in the reply
    """
    if kind == "stems":
        return json_reply(stems_document(song, settings, base_url))
    if settings.audio_reply == "url":
        return json_reply({"url": file_url(base_url, song, kind)})
    if settings.audio_reply == "redirect":
        return redirect_reply(file_url(base_url, song, kind))
    reply = audio_reply(song, kind)
    framing = reply.framing if settings.audio_reply == "bytes" else settings.audio_reply
    return replace(reply, framing=framing, content_type=settings.content_type or reply.content_type)


def stems_document(song: Song, settings: Settings, base_url: str) -> Any:
    """
    Return the stems JSON of a song.

    :param song: the song
    :param settings: they say in which shape
    :param base_url: base of the URLs in the document
    """

    def encoded(name: str) -> str:
        return base64.b64encode(audio.stem(song.id, name, song.stem_padding)).decode()

    def url(name: str) -> str:
        return file_url(base_url, song, name)

    def mapping(value: Callable[[str], Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name in audio.STEM_NAMES:
            if name in song.stems:
                values[name] = value(name)
            elif settings.missing_stems != "absent":
                values[name] = None if settings.missing_stems == "null" else ""
        return values

    shape = settings.stems_reply
    if shape == "top-level":
        return mapping(encoded)
    if shape == "list":
        return [{"name": name, "url": url(name)} for name in song.stems]
    if shape == "list-base64":
        return {"stems": [{"name": name, "data": encoded(name)} for name in song.stems]}
    if shape == "data-uri":
        return {"stems": mapping(lambda name: f"data:audio/mp4;base64,{encoded(name)}")}
    if shape == "urls":
        return {"stems": mapping(url)}
    if shape == "objects":
        keys = dict(zip(audio.STEM_NAMES, ("url", "audio_url", "download_url", "url"), strict=True))
        return {"stems": mapping(lambda name: {keys[name]: url(name)})}
    if shape == "unknown":
        return {"result": {"state": "ok", "parts": len(song.stems)}}
    return {"stems": mapping(encoded)}
