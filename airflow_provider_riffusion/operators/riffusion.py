"""Operators for songs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_riffusion import api
from airflow_provider_riffusion.exceptions import (
    RiffusionConfigurationError,
    RiffusionFileExistsError,
    RiffusionStemsError,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
    from airflow_provider_riffusion.storage import Spool, Storage, StoredFile

IF_EXISTS = ("replace", "skip", "fail")


class StemFile(TypedDict):
    """One stem in the result of :class:`RiffusionDownloadOperator`."""

    name: str
    path: str
    size: int
    sha256: str


class DownloadResult(TypedDict):
    """What :class:`RiffusionDownloadOperator` returns; always small, never audio."""

    song_id: str
    download_format: str
    path: str
    size: int
    sha256: str | None
    content_type: str
    skipped: bool
    files: list[StemFile]


class RiffusionDownloadOperator(BaseOperator):
    """
    Download a song as mp3, wav or stems into a storage path.

    What stands at the final path is always whole and checked, or absent, or the older file. The task fails at once,
    without a retry, when the account is broken (HTTP 596), the token is refused, or a parameter is wrong.

    Stems become one file each in a folder; its ``manifest.json`` is written last, so that its presence means that the
    set is complete. Stems of an unknown shape are kept as ``<song_id>.stems.unknown.json`` in the storage path.

    Returns a :class:`DownloadResult`. For stems ``path`` is the folder, ``size`` the sum, and ``sha256`` and
    ``content_type`` those of the manifest. When the download was skipped, ``sha256`` is None.

    All parameters are templated.

    :param song_id: id of the song
    :param download_format: ``mp3``, ``wav`` or ``stems``
    :param storage_path: folder, an absolute local path or a URL such as ``s3://bucket/songs``; by default the
        connection's ``storage_path``
    :param storage_conn_id: Airflow connection of the store, unless the URL names it (``s3://conn_id@bucket/songs``)
    :param file_name: name of the file, or for stems of the folder; default ``<song_id>.mp3``, ``<song_id>.wav``,
        ``<song_id>.stems``
    :param user_id: account; by default the connection's
    :param if_exists: ``replace`` what is there, ``skip`` the download, or ``fail``
    :param max_bytes: largest size in bytes that is accepted
    :param riffusion_conn_id: Airflow connection of the type ``riffusion``
    :raises RiffusionConfigurationError: a parameter, the connection or the storage path is wrong
    :raises RiffusionFileExistsError: the file is there and ``if_exists`` is ``fail``
    :raises RiffusionPendingError: the account is broken (HTTP 596)
    """

    template_fields: Sequence[str] = (
        "song_id",
        "download_format",
        "storage_path",
        "storage_conn_id",
        "file_name",
        "user_id",
        "if_exists",
        "max_bytes",
        "riffusion_conn_id",
    )
    ui_color = "#f4e3ff"

    def __init__(
        self,
        *,
        song_id: str,
        download_format: str = "mp3",
        storage_path: str | os.PathLike[str] | ObjectStoragePath | None = None,
        storage_conn_id: str | None = None,
        file_name: str | None = None,
        user_id: str | None = None,
        if_exists: str = "replace",
        max_bytes: int | str = 2**31,
        riffusion_conn_id: str = "riffusion_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.song_id = song_id
        self.download_format = download_format
        # A string, because an ObjectStoragePath resolves its connection and loses it when it is copied.
        is_path = storage_path is not None and not _is_template(storage_path)
        self.storage_path = str(storage_path) if is_path else storage_path
        self.storage_conn_id = storage_conn_id
        self.file_name = file_name
        self.user_id = user_id
        self.if_exists = if_exists
        self.max_bytes = max_bytes
        self.riffusion_conn_id = riffusion_conn_id
        self._spool: Spool | None = None
        self._check(only_literals=True)

    @cached_property
    def hook(self) -> RiffusionHook:
        """The hook for the connection."""
        from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

        return RiffusionHook(self.riffusion_conn_id)

    def execute(self, context: Context) -> DownloadResult:
        """Download, check and publish the song."""
        self._check(only_literals=False)
        storage = self._open_storage()
        is_stems = self.download_format == api.STEMS
        name = self.file_name or f"{self.song_id}.{self.download_format}"
        if (found := self._found(storage, name, is_stems=is_stems)) is not None:
            return found

        started = time.monotonic()
        with storage.spool(name) as self._spool:
            download = self._download_stems if is_stems else self._download_audio
            result = download(storage, self._spool, name)
        self.log.info(
            "Stored %s of song %s at %s: %s bytes in %.1f s, SHA-256 %s",
            self.download_format,
            self.song_id,
            result["path"],
            result["size"],
            time.monotonic() - started,
            result["sha256"],
        )
        return result

    def on_kill(self) -> None:
        """Remove the unfinished download; what stands at the final path stays."""
        if self._spool is not None:
            self._spool.remove()

    def _download_audio(self, storage: Storage, spool: Spool, name: str) -> DownloadResult:
        # The name decides the content type that a store gives the object; the spool is a folder of our own.
        file = self.hook.download(
            self.song_id,
            self.download_format,  # type: ignore[arg-type]  # checked: mp3 or wav
            spool.path / name,
            user_id=self.user_id,
            max_bytes=int(self.max_bytes),
        )
        storage.publish(file.path, name)
        return self._result(storage.path(name), file.size, file.sha256, file.content_type)

    def _download_stems(self, storage: Storage, spool: Spool, name: str) -> DownloadResult:
        from airflow_provider_riffusion.storage import StoredFile, publish_set

        try:
            stems = self.hook.download_stems(
                self.song_id, spool.path, user_id=self.user_id, max_bytes=int(self.max_bytes)
            )
        except RiffusionStemsError as error:
            if error.raw_path is None:
                raise
            raw_name = os.path.basename(error.raw_path)
            storage.publish(spool.path / raw_name, raw_name)
            raise RiffusionStemsError(
                f"{error} It is {storage.path(raw_name)}.", raw_path=storage.path(raw_name)
            ) from None
        files = [StoredFile(stem.name, stem.path.name, stem.size, stem.sha256) for stem in stems]
        sha256 = publish_set(storage, name, spool.path, files, self.song_id)
        return self._stems_result(storage, name, files, sha256=sha256)

    def _found(self, storage: Storage, name: str, *, is_stems: bool) -> DownloadResult | None:
        """Decide by ``if_exists`` what to do about a file that is there already; None means to download."""
        from airflow_provider_riffusion.storage import MANIFEST, read_manifest

        size = storage.size(name, MANIFEST) if is_stems else storage.size(name)
        if size is None or self.if_exists == "replace":
            return None
        path = storage.path(name)
        if self.if_exists == "fail":
            raise RiffusionFileExistsError(
                f"{path} is there already, and if_exists is 'fail'; delete it, or set if_exists to 'replace' or 'skip'."
            )
        if is_stems:
            files = read_manifest(storage, name)
            result = None if files is None else self._stems_result(storage, name, files, sha256=None)
        else:
            result = self._result(path, size, None, api.AUDIO_FORMATS[self.download_format].content_type)
        if result is not None:
            self.log.info("Skipped song %s: %s is there already, %s bytes", self.song_id, path, result["size"])
        return result

    def _stems_result(
        self, storage: Storage, name: str, files: Sequence[StoredFile], *, sha256: str | None
    ) -> DownloadResult:
        listed = [
            StemFile(name=file.name, path=storage.path(name, file.path), size=file.size, sha256=file.sha256)
            for file in files
        ]
        return self._result(
            storage.path(name), sum(file["size"] for file in listed), sha256, "application/json", listed
        )

    def _result(
        self, path: str, size: int, sha256: str | None, content_type: str, files: list[StemFile] | None = None
    ) -> DownloadResult:
        return DownloadResult(
            song_id=self.song_id,
            download_format=self.download_format,
            path=path,
            size=size,
            sha256=sha256,
            content_type=content_type,
            skipped=sha256 is None,
            files=files or [],
        )

    def _open_storage(self) -> Storage:
        from airflow_provider_riffusion.storage import StorageLocation, open_storage

        storage_path = self.hook.settings.storage_path if self.storage_path is None else self.storage_path
        if storage_path is None:
            raise RiffusionConfigurationError(
                "storage_path is None; give the operator one, or set the extra storage_path of the connection "
                f"{self.riffusion_conn_id!r}."
            )
        return open_storage(StorageLocation.of(str(storage_path), self.storage_conn_id))

    def _check(self, *, only_literals: bool) -> None:
        """
        Check the parameters; before they are rendered, only those without a template.

        :raises RiffusionConfigurationError: a parameter is wrong
        """
        for name, (is_right, remedy) in _CHECKS.items():
            value = getattr(self, name)
            if only_literals and _is_template(value):
                continue
            if not is_right(value):
                raise RiffusionConfigurationError(f"{name} is {repr(value)[:120]}; {remedy}.")
        if self.storage_path is not None and not (
            only_literals and _is_template(self.storage_path, self.storage_conn_id)
        ):
            from airflow_provider_riffusion.storage import StorageLocation

            StorageLocation.of(str(self.storage_path), self.storage_conn_id)


def _is_template(*values: object) -> bool:
    """Whether Airflow fills a value in later: Jinja, or an XComArg, DagParam or mapped argument."""
    return any(
        any(mark in value for mark in ("{{", "{%", "{#"))
        if isinstance(value, str)
        else hasattr(value, "iter_references")
        for value in values
    )


def _is_text_or_none(value: object) -> bool:
    return value is None or (isinstance(value, str) and 0 < len(value) <= 1024 and value.isprintable())


def _is_file_name(value: object) -> bool:
    return _is_text_or_none(value) and (
        value is None
        or (value not in (".", "..") and not set("/\\") & set(str(value)) and len(os.fsencode(str(value))) <= 255)
    )


def _is_size(value: object) -> bool:
    try:
        return not isinstance(value, bool) and isinstance(value, int | str) and int(value) > 0
    except ValueError:
        return False


_CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "song_id": (api.is_song_id, "use letters, digits, '.', '_' and '-', at most 128, as the API's ids are made"),
    "download_format": (lambda value: value in api.DOWNLOAD_FORMATS, f"use one of {', '.join(api.DOWNLOAD_FORMATS)}"),
    "storage_conn_id": (_is_text_or_none, "use the id of an Airflow connection, or None"),
    "file_name": (_is_file_name, "use one name without slashes, of at most 255 bytes, or None"),
    "user_id": (_is_text_or_none, "use the user_id of an account configured at useapi.net, or None"),
    "if_exists": (lambda value: value in IF_EXISTS, f"use one of {', '.join(IF_EXISTS)}"),
    "max_bytes": (_is_size, "use a number of bytes above 0"),
    "riffusion_conn_id": (
        lambda value: value is not None and _is_text_or_none(value),
        "use the id of an Airflow connection",
    ),
}
