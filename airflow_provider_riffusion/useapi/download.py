"""Audio and stems of a song: from the API's reply, whatever its shape, to whole local files."""

from __future__ import annotations

import codecs
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from airflow_provider_riffusion.audio import formats as audio
from airflow_provider_riffusion.exceptions import (
    RiffusionDownloadError,
    RiffusionStemsError,
    RiffusionTooLargeError,
)
from airflow_provider_riffusion.hooks.connection import ConnectionSettings
from airflow_provider_riffusion.transport.client import Client, Reply, SavedBody
from airflow_provider_riffusion.useapi.client import MAX_JSON_BYTES, parse_json, raise_for_status
from airflow_provider_riffusion.useapi.riffusion import responses as api
from airflow_provider_riffusion.useapi.riffusion import stems
from airflow_provider_riffusion.useapi.riffusion.requests import Request

#: Enough to look past a byte order mark and white space.
_JSON_HEAD_BYTES = 256
#: Above this size a document is audio in base64, and its few words are read as Latin-1.
_LONG_DOCUMENT_BYTES = 2**20
_STEM_WORKERS = 4
#: Of a body that is no audio, in its error: an HTML page has come to its title by then.
_SHOWN_BYTES = 60


@dataclass(frozen=True)
class DownloadedFile:
    """
    A file that arrived whole.

    :param name: file name without its ending; of a stem, its name
    :param path: where it is
    :param size: bytes
    :param sha256: hexadecimal digest
    :param content_type: media type, told by its first bytes
    """

    name: str
    path: Path
    size: int
    sha256: str
    content_type: str


def download_audio(
    client: Client, request: Request, expected: audio.AudioFormat, destination: Path, max_bytes: int
) -> DownloadedFile:
    """Download audio of one format; see :meth:`RiffusionHook.download`."""
    with _replacing(destination) as file:

        def save(reply: Reply) -> SavedBody | str:
            """Save the audio, or return the URL that holds it."""
            raise_for_status(reply, request)
            if _is_json(reply.head(_JSON_HEAD_BYTES)):
                return api.parse_download_url(parse_json(reply.read(max_bytes=MAX_JSON_BYTES), request), request)
            return _save_audio(reply, file, expected, max_bytes, request)

        saved = client.get(request.path, save, params=request.params)
        if isinstance(saved, str):
            saved = _fetch_audio(client, saved, file, expected, max_bytes, request)
    return DownloadedFile(destination.stem, destination, saved.size, saved.sha256, expected.content_type)


def download_stems(
    client: Client, request: Request, song_id: str, directory: Path, max_bytes: int
) -> list[DownloadedFile]:
    """Download stems, all or none; see :meth:`RiffusionHook.download_stems`."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{song_id}.", suffix=".part", dir=directory) as spool:
        document = Path(spool, "reply.json")

        def parse(reply: Reply) -> list[stems.Stem]:
            raise_for_status(reply, request)
            with document.open("w+b") as file:
                size = reply.save(file, max_bytes=min(2 * max_bytes + MAX_JSON_BYTES, stems.MAX_JSON_BYTES)).size
            return stems.parse_stems(parse_json(_text_of(document, size, client), request), request)

        try:
            found = client.get(request.path, parse, params=request.params)
        except RiffusionStemsError as error:
            raw_path = directory / f"{song_id}.stems.unknown.json"
            document.write_bytes(client.settings.hide_token(document.read_bytes()))
            document.replace(raw_path)
            raise RiffusionStemsError(f"{error} The reply was kept.", raw_path=str(raw_path)) from None
        document.unlink()
        files = _save_stems(found, Path(spool), max_bytes, request, client.settings)
        return [replace(file, path=file.path.replace(directory / file.path.name)) for file in files]


def _text_of(document: Path, size: int, client: Client) -> str:
    # From a file, because the bytes of a reply and its text never fill the memory together then; and as Latin-1
    # when it is long, because one character beyond it would make each of the text's characters four bytes wide.
    with document.open("rb") as file:
        if file.read(3) != codecs.BOM_UTF8:
            file.seek(0)
        text = file.read().decode("latin-1" if size > _LONG_DOCUMENT_BYTES else "utf-8", "replace")
    return client.settings.hide_token(text)


def _save_stems(
    found: list[stems.Stem], folder: Path, max_bytes: int, request: Request, settings: ConnectionSettings
) -> list[DownloadedFile]:
    """Write the stems to a folder, several at once; the first that fails breaks the others off."""
    client = Client(settings)
    sizes: list[int] = []

    def save(number: int, stem: stems.Stem) -> DownloadedFile:
        unnamed = folder / f"{number}.stem"
        with unnamed.open("x+b") as file:
            if stem.url is not None:
                saved = _fetch_audio(client, stem.url, file, None, max_bytes, request)
            else:
                saved = _decode_stem(stem, file, request)
            file.seek(0)
            kind = audio.detect(file.read(audio.HEAD_BYTES))
            if kind is None:
                raise RiffusionDownloadError(f"{request}: stem {stem.name!r} is no audio")
            _flush(file)
        sizes.append(saved.size)
        if sum(sizes) > max_bytes:
            raise RiffusionTooLargeError(f"{request}: the stems are larger than the {max_bytes} bytes of max_bytes")
        path = unnamed.replace(folder / f"{stem.name}.{kind.extension}")
        return DownloadedFile(stem.name, path, saved.size, saved.sha256, kind.content_type)

    with ThreadPoolExecutor(_STEM_WORKERS, thread_name_prefix="riffusion-stem") as pool:
        try:
            tasks = [pool.submit(save, number, stem) for number, stem in enumerate(found)]
            wait(tasks, return_when=FIRST_EXCEPTION)
            return [task.result() for task in tasks if task.done()]
        except BaseException:
            # Also when Airflow's execution_timeout raises here: leaving the block waits for the threads.
            pool.shutdown(wait=False, cancel_futures=True)
            client.abort()
            raise


def _fetch_audio(
    client: Client, url: str, file: BinaryIO, expected: audio.AudioFormat | None, max_bytes: int, request: Request
) -> SavedBody:
    """Fetch audio from a URL that came from a reply, without the token."""

    def save(reply: Reply) -> SavedBody:
        raise_for_status(reply, request)
        return _save_audio(reply, file, expected, max_bytes, request)

    return client.get(url, save, authenticated=False)


def _decode_stem(stem: stems.Stem, file: BinaryIO, request: Request) -> SavedBody:
    try:
        content = stem.decode()
    except ValueError as error:
        raise RiffusionDownloadError(f"{request}: stem {stem.name!r} is damaged: {error}") from None
    file.write(content)
    saved = SavedBody(len(content), hashlib.sha256(content).hexdigest())
    _raise_if_cut(file, saved, request)
    return saved


def _is_json(head: bytes) -> bool:
    return head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] in (b"{", b"[")


def _save_audio(
    reply: Reply, file: BinaryIO, expected: audio.AudioFormat | None, max_bytes: int, request: Request
) -> SavedBody:
    head = reply.head(audio.HEAD_BYTES)
    if audio.detect(head) is None or (expected and not expected.matches(head)):
        wanted = expected.extension if expected else "audio"
        # Not from the head, which may end within a token that the server quotes, and is then not known for one.
        shown = reply.error_body()[:_SHOWN_BYTES]
        raise RiffusionDownloadError(
            f"{request}: asked for {wanted}, got {'nothing' if not head else f'a body that starts with {shown!r}'}",
            transient=not head,
        )
    saved = reply.save(file, max_bytes=max_bytes)
    _raise_if_cut(file, saved, request)
    return saved


def _raise_if_cut(file: BinaryIO, saved: SavedBody, request: Request) -> None:
    def read_at(offset: int, length: int) -> bytes:
        file.seek(offset)
        return file.read(length)

    declared = audio.declared_size(read_at)
    if saved.size < declared:
        raise RiffusionDownloadError(
            f"{request}: the audio says it has {declared} bytes, and {saved.size} arrived", transient=True
        )


@contextmanager
def _replacing(destination: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the destination's place when the block ends well, and vanishes when it does not."""
    unfinished = destination.with_name(f".{destination.name[:32]}.{secrets.token_hex(4)}.part")
    try:
        with unfinished.open("x+b") as file:
            yield file
            _flush(file)
        unfinished.replace(destination)
    finally:
        unfinished.unlink(missing_ok=True)


def _flush(file: BinaryIO) -> None:
    """Have the bytes on the disk before the name, so that a power failure leaves no empty file of that name."""
    file.flush()
    os.fsync(file.fileno())
