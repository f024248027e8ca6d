"""Download a song."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_riffusion.exceptions import (
    RiffusionConfigurationError,
    RiffusionFileExistsError,
    RiffusionStemsError,
)
from airflow_provider_riffusion.tasks.base import (
    ACCOUNT_CHECKS,
    SONG_ID,
    Checks,
    UsesHook,
    check_parameters,
    is_template,
    is_text_or_none,
)
from airflow_provider_riffusion.useapi.riffusion import responses as api

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_riffusion.storage.manifest import StoredFile
    from airflow_provider_riffusion.storage.spool import Spool
    from airflow_provider_riffusion.storage.storage import Storage

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


class RiffusionDownloadOperator(UsesHook, BaseOperator):
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
        is_path = isinstance(storage_path, os.PathLike) or hasattr(storage_path, "joinpath")
        self.storage_path = str(storage_path) if is_path else storage_path
        self.storage_conn_id = storage_conn_id
        self.file_name = file_name
        self.user_id = user_id
        self.if_exists = if_exists
        self.max_bytes = max_bytes
        self.riffusion_conn_id = riffusion_conn_id
        self._spool: Spool | None = None
        self._check(only_literals=True)

    def execute(self, context: Context) -> DownloadResult:
        """Download, check and publish the song."""
        self._check(only_literals=False)
        storage = self._open_storage()
        is_stems = self.download_format == api.STEMS
        name = self.file_name or f"{self.song_id}.{self.download_format}"
        if (found := self._found(storage, name, is_stems=is_stems)) is not None:
            return found

        started = time.monotonic()
        with storage.spool(name, _task_instance(context)) as self._spool:
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
        from airflow_provider_riffusion.storage.manifest import StoredFile, publish_set

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
        from airflow_provider_riffusion.storage.manifest import MANIFEST, read_manifest

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
        from airflow_provider_riffusion.storage.storage import StorageLocation, open_storage

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
        check_parameters(self, _CHECKS, only_literals=only_literals)
        if self.storage_path is not None and not (
            only_literals and is_template(self.storage_path, self.storage_conn_id)
        ):
            from airflow_provider_riffusion.storage.storage import StorageLocation

            StorageLocation.of(str(self.storage_path), self.storage_conn_id)


def _task_instance(context: Context) -> str | None:
    """Name the task instance, the same in each of its tries."""
    ti = context.get("ti")
    return None if ti is None else f"{ti.dag_id}/{ti.task_id}/{ti.run_id}/{ti.map_index}"


def _is_file_name(value: object) -> bool:
    return is_text_or_none(value) and (
        value is None
        or (value not in (".", "..") and not set("/\\") & set(str(value)) and len(os.fsencode(str(value))) <= 255)
    )


def _is_size(value: object) -> bool:
    try:
        return not isinstance(value, bool) and isinstance(value, int | str) and int(value) > 0
    except ValueError:
        return False


_CHECKS: Checks = {
    "song_id": SONG_ID,
    "download_format": (lambda value: value in api.DOWNLOAD_FORMATS, f"use one of {', '.join(api.DOWNLOAD_FORMATS)}"),
    "storage_path": (
        lambda value: value is None or isinstance(value, str),
        "give an absolute folder such as /data/songs, a URL such as s3://bucket/songs, or a path object",
    ),
    "storage_conn_id": (is_text_or_none, "use the id of an Airflow connection, or None"),
    "file_name": (_is_file_name, "use one name without slashes, of at most 255 bytes, or None"),
    "if_exists": (lambda value: value in IF_EXISTS, f"use one of {', '.join(IF_EXISTS)}"),
    "max_bytes": (_is_size, "use a number of bytes above 0"),
    **ACCOUNT_CHECKS,
}
