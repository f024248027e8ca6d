"""The hook: from an Airflow connection to songs and files."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from airflow.providers.common.compat.sdk import BaseHook
from airflow.sdk.log import mask_secret

from airflow_provider_riffusion import api, audio, stems
from airflow_provider_riffusion.connection import ConnectionSettings
from airflow_provider_riffusion.exceptions import (
    RiffusionConfigurationError,
    RiffusionDownloadError,
    RiffusionNotFoundError,
    RiffusionStemsError,
    RiffusionTooLargeError,
)
from airflow_provider_riffusion.get_provider_info import get_provider_info
from airflow_provider_riffusion.transfer import Client, Reply, SavedBody

DEFAULT_MAX_BYTES = 2**31
_JSON_BYTES = 32 * 2**20
#: Enough to look past a byte order mark and white space.
_JSON_HEAD_BYTES = 256
#: Above this size a document is audio in base64, and its few words are read as Latin-1.
_LONG_DOCUMENT_BYTES = 2**20
_STEM_WORKERS = 4

T = TypeVar("T")


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


class RiffusionHook(BaseHook):
    """
    Speak with the useapi.net Riffusion API v1.

    Every GET is repeated after connection errors, timeouts, broken transfers and the statuses 408, 429, 500, 502, 503
    and 504; never after HTTP 596, when only a human can mend the account.

    All methods raise these; each method names what it raises beyond them:

    * :class:`RiffusionConfigurationError`: the connection or a parameter is wrong, no request was sent
    * :class:`RiffusionConnectionError`: no reply came
    * :class:`RiffusionApiError` and its subclasses: the reply is an error
    * :class:`RiffusionDownloadError`: the reply did not arrive whole

    :param riffusion_conn_id: Airflow connection of the type ``riffusion``
    """

    conn_name_attr = "riffusion_conn_id"
    default_conn_name = "riffusion_default"
    conn_type = "riffusion"
    hook_name = "Riffusion"

    def __init__(self, riffusion_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.riffusion_conn_id = riffusion_conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Tell Airflow 3.1 how its connection form looks; later versions read the provider info alone."""
        connection_type: dict[str, Any] = get_provider_info()["connection-types"][0]
        behaviour: dict[str, list[str] | dict[str, str]] = connection_type["ui-field-behaviour"]
        return {name.replace("-", "_"): value for name, value in behaviour.items()}

    @cached_property
    def settings(self) -> ConnectionSettings:
        """The connection, looked up once."""
        settings = ConnectionSettings.of(self.get_connection(self.riffusion_conn_id))
        # Airflow masks the password, which is only a part of a token that came as login:password.
        mask_secret(settings.token)
        return settings

    @cached_property
    def _client(self) -> Client:
        return Client(self.settings)

    def test_connection(self) -> tuple[bool, str]:
        """
        Test the connection, for the button of Airflow's form and ``airflow connections test``.

        :return: whether the token is good and no account is broken, and what was found
        """
        try:
            accounts = self.check_accounts()
        except Exception as error:
            return False, str(error)
        return True, f"The API token is good; healthy accounts: {', '.join(account.user_id for account in accounts)}"

    def check_accounts(self, *, user_id: str | None = None) -> list[api.Account]:
        """
        Check that the account can be used, at the cost of one request; a gate before many downloads.

        :param user_id: account; by default the connection's, and all of them when it names none
        :return: the accounts that were checked
        :raises RiffusionPendingError: an account is broken
        :raises RiffusionConfigurationError: there is no such account
        """
        user_id = self._user_id(user_id)
        accounts = [account for account in self.get_accounts() if user_id in (None, account.user_id)]
        if not accounts:
            missing = f"user_id is {user_id!r}, and no such account is" if user_id else "no Riffusion account is"
            raise RiffusionConfigurationError(
                f"The API token is good, but {missing} configured at useapi.net; see {api.ACCOUNTS_PAGE}."
            )
        if broken := [account for account in accounts if account.error is not None]:
            raise api.broken_accounts_error(broken)
        return accounts

    def get_accounts(self) -> list[api.Account]:
        """List the accounts that are configured at useapi.net; a broken one has an ``error``."""
        request = api.accounts_request()
        try:
            return api.parse_accounts(self._get_json(request), request)
        except RiffusionNotFoundError as error:
            # The API says 404 when there is none; a 404 without an error body means another server.
            if error.code is None and not error.message:
                raise
            return []

    def list_songs(self, *, offset: int = 0, limit: int = 10, user_id: str | None = None) -> list[api.Song]:
        """
        List a page of the library, as the API orders it, which was newest first.

        :param offset: songs to leave out at the start
        :param limit: most songs to return
        :param user_id: account; by default the connection's
        """
        request = api.songs_request(offset=offset, limit=limit, user_id=self._user_id(user_id))
        return api.parse_songs(self._get_json(request), request)

    def get_songs(self, song_or_job_id: str, *, user_id: str | None = None) -> list[api.Song]:
        """
        Get a song, or the songs of a job.

        :param song_or_job_id: id of either
        :param user_id: account; by default the connection's
        :raises RiffusionNotFoundError: the id is unknown
        """
        request = api.songs_request(song_or_job_id=_checked_song_id(song_or_job_id), user_id=self._user_id(user_id))
        return api.parse_songs(self._get_json(request), request)

    def download(
        self,
        song_id: str,
        download_format: api.AudioFormatName,
        destination: str | os.PathLike[str],
        *,
        user_id: str | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> DownloadedFile:
        """
        Download a song's audio into a local file.

        :param song_id: id of the song
        :param download_format: ``mp3`` or ``wav``
        :param destination: the file; until the download is whole, what stands there stays as it is
        :param user_id: account; by default the connection's
        :param max_bytes: largest size in bytes that is accepted
        :raises RiffusionTooLargeError: the song is larger than ``max_bytes``
        """
        if download_format not in api.AUDIO_FORMATS:
            raise RiffusionConfigurationError(
                f"download_format is {download_format!r}; use one of {', '.join(api.AUDIO_FORMATS)}, or download_stems."
            )
        request = api.download_request(_checked_song_id(song_id), download_format, self._user_id(user_id))
        expected = api.AUDIO_FORMATS[download_format]
        destination = Path(destination)
        with _replacing(destination) as file:

            def save(reply: Reply) -> SavedBody | str:
                """Save the audio, or return the URL that holds it."""
                _raise_for_status(reply, request)
                if _is_json(reply.head(_JSON_HEAD_BYTES)):
                    return api.parse_download_url(_parse_json(reply.read(max_bytes=_JSON_BYTES), request), request)
                return _save_audio(reply, file, expected, max_bytes, request)

            saved = self._get(request, save)
            if isinstance(saved, str):
                saved = _fetch_audio(self._client, saved, file, expected, max_bytes, request)
        return DownloadedFile(destination.stem, destination, saved.size, saved.sha256, expected.content_type)

    def download_stems(
        self,
        song_id: str,
        directory: str | os.PathLike[str],
        *,
        user_id: str | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> list[DownloadedFile]:
        """
        Download a song's stems, one file each, into a local folder.

        :param song_id: id of the song
        :param directory: the folder; it is made when it is not there, and gets the files only when all are whole
        :param user_id: account; by default the connection's
        :param max_bytes: largest size in bytes, of all stems together, that is accepted
        :raises RiffusionStemsError: the reply has an unknown shape; it is kept as ``<song_id>.stems.unknown.json``
        :raises RiffusionTooLargeError: the stems are larger than ``max_bytes``
        """
        request = api.download_request(_checked_song_id(song_id), api.STEMS, self._user_id(user_id))
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{song_id}.", suffix=".part", dir=directory) as spool:
            document = Path(spool, "reply.json")

            def parse(reply: Reply) -> list[stems.Stem]:
                _raise_for_status(reply, request)
                with document.open("w+b") as file:
                    size = reply.save(file, max_bytes=min(2 * max_bytes + _JSON_BYTES, stems.MAX_JSON_BYTES)).size
                return stems.parse_stems(_parse_json(self._text_of(document, size), request), request)

            try:
                found = self._get(request, parse)
            except RiffusionStemsError as error:
                raw_path = directory / f"{song_id}.stems.unknown.json"
                document.write_bytes(self.settings.hide_token(document.read_bytes()))
                document.replace(raw_path)
                raise RiffusionStemsError(f"{error} The reply was kept.", raw_path=str(raw_path)) from None
            document.unlink()
            files = self._save_stems(found, Path(spool), max_bytes, request)
            if sum(file.size for file in files) > max_bytes:
                raise RiffusionTooLargeError(f"{request}: the stems are larger than the {max_bytes} bytes of max_bytes")
            return [replace(file, path=file.path.replace(directory / file.path.name)) for file in files]

    def _text_of(self, document: Path, size: int) -> str:
        # From a file, because the bytes of a reply and its text never fill the memory together then; and as Latin-1
        # when it is long, because one character beyond it would make each of the text's characters four bytes wide.
        with document.open("rb") as file:
            if file.read(3) != codecs.BOM_UTF8:
                file.seek(0)
            text = file.read().decode("latin-1" if size > _LONG_DOCUMENT_BYTES else "utf-8", "replace")
        return self.settings.hide_token(text)

    def _save_stems(
        self, found: list[stems.Stem], folder: Path, max_bytes: int, request: api.Request
    ) -> list[DownloadedFile]:
        """Write the stems to a folder, several at once; the first that fails breaks the others off."""
        client = Client(self.settings)

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

    def _get_json(self, request: api.Request) -> object:
        def parse(reply: Reply) -> object:
            _raise_for_status(reply, request)
            return _parse_json(reply.read(max_bytes=_JSON_BYTES), request)

        return self._get(request, parse)

    def _get(self, request: api.Request, use: Callable[[Reply], T]) -> T:
        return self._client.get(f"{self.settings.base_url}{request.path}", use, params=request.params)

    def _user_id(self, user_id: str | None) -> str | None:
        return user_id or self.settings.user_id


def _fetch_audio(
    client: Client, url: str, file: BinaryIO, expected: audio.AudioFormat | None, max_bytes: int, request: api.Request
) -> SavedBody:
    """Fetch audio from a URL that came from a reply, without the token."""

    def save(reply: Reply) -> SavedBody:
        _raise_for_status(reply, request)
        return _save_audio(reply, file, expected, max_bytes, request)

    return client.get(url, save, authenticated=False)


def _decode_stem(stem: stems.Stem, file: BinaryIO, request: api.Request) -> SavedBody:
    try:
        content = stem.decode()
    except ValueError as error:
        raise RiffusionDownloadError(f"{request}: stem {stem.name!r} is damaged: {error}") from None
    file.write(content)
    saved = SavedBody(len(content), hashlib.sha256(content).hexdigest())
    _raise_if_cut(file, saved, request)
    return saved


def _checked_song_id(song_id: str) -> str:
    if not api.is_song_id(song_id):
        raise RiffusionConfigurationError(
            f"song_id is {repr(song_id)[:120]}; use letters, digits, '.', '_' and '-', at most 128."
        )
    return song_id


def _raise_for_status(reply: Reply, request: api.Request) -> None:
    if reply.status == 200:
        return
    if reply.is_foreign:
        raise RiffusionDownloadError(
            f"{request}: {reply.url}, where the reply sent us, answered HTTP {reply.status}",
            transient=reply.status in api.TRANSIENT_STATUSES,
        )
    raise api.error_of(reply.status, reply.error_body(), request, retry_after=reply.retry_after)


def _parse_json(text: str | bytes, request: api.Request) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        # A document that starts well was probably cut; another one was never JSON.
        is_cut = isinstance(error, ValueError) and text[:1] in ("", b"", "{", "[", b"{", b"[")
        raise RiffusionDownloadError(
            f"{request} was answered with something that is no JSON: {str(error)[:120]}", transient=is_cut
        ) from None


def _is_json(head: bytes) -> bool:
    return head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] in (b"{", b"[")


def _save_audio(
    reply: Reply, file: BinaryIO, expected: audio.AudioFormat | None, max_bytes: int, request: api.Request
) -> SavedBody:
    head = reply.head(audio.HEAD_BYTES)
    if audio.detect(head) is None or (expected and not expected.matches(head)):
        wanted = expected.extension if expected else "audio"
        raise RiffusionDownloadError(
            f"{request}: asked for {wanted}, got {'nothing' if not head else f'a body that starts with {head!r}'}",
            transient=not head,
        )
    saved = reply.save(file, max_bytes=max_bytes)
    _raise_if_cut(file, saved, request)
    return saved


def _raise_if_cut(file: BinaryIO, saved: SavedBody, request: api.Request) -> None:
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
