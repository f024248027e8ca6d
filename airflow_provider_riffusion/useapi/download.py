"""Download a song's audio or stems, whatever the shape of the response, into whole local files."""

import codecs
import hashlib
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from airflow_provider_riffusion.audio.encoded import Stem
from airflow_provider_riffusion.audio.formats import HEAD_BYTES, AudioFormat, declared_size, detect
from airflow_provider_riffusion.exceptions import RiffusionDownloadError, RiffusionStemsError, RiffusionTooLargeError
from airflow_provider_riffusion.transport.request import Request
from airflow_provider_riffusion.transport.response import Response
from airflow_provider_riffusion.useapi.client import MAX_JSON_BYTES, Parse, UseapiClient, parse_json

#: Enough to look past a byte order mark and white space.
_JSON_HEAD_BYTES = 256
#: Far above the 15 to 25 MB that were seen; the document is parsed in memory.
_MAX_STEMS_JSON_BYTES = 256 * 2**20
#: A longer document is audio in base64, and its few words may be misread as Latin-1.
_LONG_DOCUMENT_BYTES = 2**20
_STEM_WORKERS = 4
#: Bytes of a non-audio body to quote in the error: enough to reach an HTML page's title.
_QUOTED_BYTES = 60


@dataclass(frozen=True)
class DownloadedFile:
    """
    A file that arrived whole.

    :param path: where the file is
    :param size: bytes
    :param sha256: hexadecimal digest
    :param audio_format: format, read from the first bytes
    """

    path: Path
    size: int
    sha256: str
    audio_format: AudioFormat

    @property
    def name(self) -> str:
        """File name without extension, which is a stem's name."""
        return self.path.stem

    @property
    def content_type(self) -> str:
        """Media type of the format."""
        return self.audio_format.content_type


def download_audio(
    client: UseapiClient, request: Request, parse_url: Parse[str], expected: AudioFormat, path: Path, max_bytes: int
) -> DownloadedFile:
    """
    Download audio of one format; see :meth:`RiffusionHook.download`.

    :param parse_url: reads the URL of the audio from JSON that came in its place
    """
    with _spool(path.name[:32], path.parent) as spool, Path(spool, "audio").open("x+b") as file:

        def save(response: Response) -> DownloadedFile:
            return _save_audio(response, request, file, expected, max_bytes)

        def read(response: Response) -> DownloadedFile | Request:
            """Save the audio, or return the request for the URL that holds it."""
            if response.head(_JSON_HEAD_BYTES).removeprefix(codecs.BOM_UTF8).lstrip()[:1] not in (b"{", b"["):
                return save(response)
            payload = parse_json(response.read(max_bytes=MAX_JSON_BYTES), request)
            return replace(request, location=parse_url(payload, request))

        found = client.get(request, read, into=file)
        saved = client.get(found, save, into=file) if isinstance(found, Request) else found
        return replace(saved, path=saved.path.replace(path))


def download_stems(
    client: UseapiClient, request: Request, parse_stems: Parse[list[Stem]], song_id: str, folder: Path, max_bytes: int
) -> list[DownloadedFile]:
    """
    Download stems, all or none; see :meth:`RiffusionHook.download_stems`.

    :param parse_stems: reads the stems from the JSON of the response
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _spool(song_id, folder) as spool:
        document = Path(spool, "response.json")

        def read(response: Response) -> list[Stem]:
            # What stems of max_bytes take in base64, and something for the rest of the document.
            most = min(2 * max_bytes + MAX_JSON_BYTES, _MAX_STEMS_JSON_BYTES)
            limit = "that JSON may have" if most == _MAX_STEMS_JSON_BYTES else "that fit max_bytes"
            response.save(max_bytes=most, limit=limit)
            file.flush()
            return parse_stems(parse_json(client.settings.hide_token(_text_of(document)), request), request)

        try:
            with document.open("w+b") as file:
                stems = client.get(request, read, into=file)
        except RiffusionStemsError as error:
            raw_path = folder / f"{song_id}.stems.unknown.json"
            document.write_bytes(client.settings.hide_token(document.read_bytes()))
            document.replace(raw_path)
            raise RiffusionStemsError(f"{error} The response was kept.", raw_path=str(raw_path)) from None
        document.unlink()
        files = _save_stems(client, request, stems, Path(spool), max_bytes)
        return [replace(file, path=file.path.replace(folder / file.path.name)) for file in files]


def _spool(name: str, folder: Path) -> tempfile.TemporaryDirectory[str]:
    """Make a hidden folder beside the final name, because a rename is atomic only within one file system."""
    return tempfile.TemporaryDirectory(prefix=f".{name}.", suffix=".part", dir=folder)


def _text_of(document: Path) -> str:
    # Read back from the file, so that bytes and text are never both in memory. A long document is decoded as Latin-1,
    # because one character beyond Latin-1 makes Python use 2 to 4 bytes for each.
    with document.open("rb") as file:
        if file.read(3) != codecs.BOM_UTF8:
            file.seek(0)
        return file.read().decode("latin-1" if document.stat().st_size > _LONG_DOCUMENT_BYTES else "utf-8", "replace")


def _save_stems(
    client: UseapiClient, request: Request, stems: Sequence[Stem], folder: Path, max_bytes: int
) -> list[DownloadedFile]:
    """Write the stems to a folder, several at once; the first that fails aborts the others."""
    sizes: list[int] = []

    def check_sizes() -> None:
        if sum(sizes) > max_bytes:
            raise RiffusionTooLargeError(f"{request}: the stems are larger than the {max_bytes} bytes of max_bytes")

    def save(number: int, stem: Stem) -> DownloadedFile:
        # A stem that waited for a thread must not be fetched when others have exceeded the limit meanwhile.
        check_sizes()
        with (folder / f"{number}.stem").open("x+b") as file:
            if stem.url is not None:
                at_url = replace(request, location=stem.url)
                use = partial(_save_audio, request=request, file=file, expected=None, max_bytes=max_bytes)
                saved = part.get(at_url, use, into=file)
            else:
                saved = _save_encoded(stem, request, file)
        sizes.append(saved.size)
        check_sizes()
        return replace(saved, path=saved.path.replace(folder / f"{stem.name}.{saved.audio_format.extension}"))

    # Aborting the exchanges of the part leaves the hook's client usable.
    with client.part() as part, ThreadPoolExecutor(_STEM_WORKERS, thread_name_prefix="riffusion-stem") as pool:
        try:
            tasks = [pool.submit(save, number, stem) for number, stem in enumerate(stems)]
            wait(tasks, return_when=FIRST_EXCEPTION)
            return [task.result() for task in tasks if task.done()]
        except BaseException:
            # Airflow's execution_timeout raises here, too, and leaving the block would wait for the threads.
            pool.shutdown(wait=False, cancel_futures=True)
            part.abort()
            raise


def _save_audio(
    response: Response, request: Request, file: BinaryIO, expected: AudioFormat | None, max_bytes: int
) -> DownloadedFile:
    head = response.head(HEAD_BYTES)
    found = detect(head)
    if found is None or (expected and not expected.matches(head)):
        wanted = expected.extension if expected else "audio"
        # Quote error_body(), not head: head can end inside an echoed token, and half a token is not recognised.
        quoted = response.error_body()[:_QUOTED_BYTES]
        raise RiffusionDownloadError(
            f"{request}: asked for {wanted}, got {'nothing' if not head else f'a body that starts with {quoted!r}'}",
            transient=not head,
        )
    sha256 = response.save(max_bytes=max_bytes)
    return _whole_file(request, file, sha256, expected or found)


def _save_encoded(stem: Stem, request: Request, file: BinaryIO) -> DownloadedFile:
    try:
        content = stem.decode()
    except ValueError as error:
        raise RiffusionDownloadError(f"{request}: stem {stem.name!r} is damaged: {error}") from None
    found = detect(content[:HEAD_BYTES])
    if found is None:
        raise RiffusionDownloadError(f"{request}: stem {stem.name!r} is no audio")
    file.write(content)
    return _whole_file(request, file, hashlib.sha256(content).hexdigest(), found)


def _whole_file(request: Request, file: BinaryIO, sha256: str, audio_format: AudioFormat) -> DownloadedFile:
    """Check that audio is as long as it declares to be."""

    def read_at(offset: int, length: int) -> bytes:
        file.seek(offset)
        return file.read(length)

    declared, size = declared_size(read_at), file.seek(0, os.SEEK_END)
    if size < declared:
        raise RiffusionDownloadError(
            f"{request}: the audio says it has {declared} bytes, and {size} arrived", transient=True
        )
    file.flush()
    return DownloadedFile(Path(file.name), size, sha256, audio_format)
