"""Download a song."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, cast

from airflow_provider_riffusion.exceptions import RiffusionFileExistsError, RiffusionStemsError
from airflow_provider_riffusion.parameters import FILE_NAME, Rule, Rules, one_of, optional, text, whole_number
from airflow_provider_riffusion.storage.location import StorageLocation
from airflow_provider_riffusion.storage.manifest import MANIFEST, StemFile, publish_set, read_manifest
from airflow_provider_riffusion.tasks.base import ACCOUNT_RULES, RiffusionOperator
from airflow_provider_riffusion.tasks.lineage import register_outputs
from airflow_provider_riffusion.useapi.prompts import DOWNLOAD_FORMATS, SONG_ID, STEMS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_riffusion.storage.spool import Spool
    from airflow_provider_riffusion.storage.storage import Storage
    from airflow_provider_riffusion.useapi.models import AudioFormatName

IF_EXISTS = ("replace", "skip", "fail")
_MANIFEST_TYPE = "application/json"


def _storage_path(value: Any) -> str:
    # Text, because an ObjectStoragePath resolves its connection at once and loses it when it is copied.
    path = str(value) if isinstance(value, os.PathLike) or hasattr(value, "joinpath") else text(value)
    StorageLocation.of(path)
    return path


class DownloadResult(TypedDict):
    """The result of :class:`RiffusionDownloadOperator`; always small, never audio."""

    song_id: str
    download_format: str
    path: str
    storage_conn_id: str | None
    size: int
    sha256: str | None
    content_type: str
    skipped: bool
    files: list[StemFile]


class RiffusionDownloadOperator(RiffusionOperator):
    """
    Download a song as mp3, wav or stems into a storage path.

    The file at the final path is always whole and checked, or absent, or the older file. The task fails at once,
    without a retry, when the account is broken (HTTP 596), the token is refused, or a parameter is wrong.

    Stems become one file each in a folder, whose ``manifest.json`` is written last and exists only while the set is
    complete. Stems of an unknown shape are kept as ``<song_id>.stems.unknown.json`` in the storage path.

    Returns a :class:`DownloadResult`. For stems ``path`` is the folder, ``size`` the sum, and ``sha256`` and
    ``content_type`` those of the manifest. When the download was skipped, ``sha256`` is None.
    ``ObjectStoragePath(path, conn_id=storage_conn_id)`` opens it, with or without an Airflow connection.

    All parameters are templated.

    :param song_id: id of the song
    :param download_format: ``mp3``, ``wav`` or ``stems``
    :param storage_path: folder, an absolute local path or a URL such as ``s3://bucket/songs``; by default the
        connection's ``storage_path``
    :param storage_conn_id: Airflow connection of the store, unless the URL names it (``s3://conn_id@bucket/songs``)
    :param file_name: name of the file, or for stems of the folder; default ``<song_id>.mp3``, ``<song_id>.wav``,
        ``<song_id>.stems``; a file without an ending gets that of its format
    :param user_id: account; by default the connection's
    :param if_exists: ``replace`` an older file, ``skip`` the download, or ``fail``
    :param max_bytes: largest size in bytes that is accepted
    :param riffusion_conn_id: Airflow connection of the type ``riffusion``
    :raises RiffusionConfigurationError: a parameter, the connection or the storage path is wrong
    :raises RiffusionFileExistsError: the file exists and ``if_exists`` is ``fail``
    :raises RiffusionPendingError: the account is broken (HTTP 596)
    """

    parameter_rules: ClassVar[Rules] = {
        "song_id": SONG_ID,
        "download_format": one_of(DOWNLOAD_FORMATS),
        "storage_path": optional(Rule(_storage_path, "give a folder, a URL or a path object")),
        "storage_conn_id": optional(ACCOUNT_RULES["riffusion_conn_id"]),
        "file_name": optional(FILE_NAME),
        "if_exists": one_of(IF_EXISTS),
        "max_bytes": whole_number(1, 10**30, "use a number of bytes above 0"),
        **ACCOUNT_RULES,
    }
    template_fields: Sequence[str] = tuple(parameter_rules)

    def __init__(
        self,
        *,
        song_id: str,
        download_format: str = "mp3",
        storage_path: str | os.PathLike[str] | ObjectStoragePath | None = None,
        storage_conn_id: str | None = None,
        file_name: str | None = None,
        if_exists: str = "replace",
        max_bytes: int | str = 2**31,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.song_id, self.download_format = song_id, download_format
        self.storage_path: Any = storage_path
        self.storage_conn_id = storage_conn_id
        self.file_name, self.if_exists = file_name, if_exists
        self.max_bytes: Any = max_bytes
        self._spool: Spool | None = None
        self.check_parameters(only_literals=True)

    def execute(self, context: Context) -> DownloadResult:
        """Download, check and publish the song."""
        self.check_parameters()
        storage = self._open_storage()
        name = self.file_name or f"{self.song_id}.{self.download_format}"
        is_stems = self.download_format == STEMS
        # A store tells the content type by the ending.
        name += "" if is_stems or os.path.splitext(name)[1] else f".{self.download_format}"  # noqa: PTH122
        if (found := self._found(storage, name, is_stems=is_stems)) is not None:
            return found

        started, ti = time.monotonic(), context.get("ti")
        # The same name in each try of the task instance.
        instance = None if ti is None else f"{ti.dag_id}/{ti.task_id}/{ti.run_id}/{ti.map_index}"
        with storage.spool(name, instance) as self._spool:
            download = self._download_stems if is_stems else self._download_audio
            result = download(storage, self._spool, name)
        self.log.info(
            "Stored %(path)s, %(size)s bytes: the %(download_format)s of song %(song_id)s, in %(seconds).1f s, "
            "SHA-256 %(sha256)s",
            {**result, "seconds": time.monotonic() - started},
        )
        return result

    def on_kill(self) -> None:
        """Remove the unfinished download; an older file at the final path stays."""
        if self._spool is not None:
            self._spool.remove()

    def _download_audio(self, storage: Storage, spool: Spool, name: str) -> DownloadResult:
        # The name decides the content type that a store gives the object, and the spool is private, so it is used here.
        # The rule of the format and is_stems have made sure of mp3 or wav.
        download_format = cast("AudioFormatName", self.download_format)
        file = self.hook.download(
            self.song_id, download_format, spool.path / name, user_id=self.user_id, max_bytes=self.max_bytes
        )
        storage.publish(file.path, name)
        register_outputs(self, [storage.uri(name)])
        return self._result(storage, name, file.sha256, file.content_type, file.size, ())

    def _download_stems(self, storage: Storage, spool: Spool, name: str) -> DownloadResult:
        try:
            stems = self.hook.download_stems(self.song_id, spool.path, user_id=self.user_id, max_bytes=self.max_bytes)
        except RiffusionStemsError as error:
            if error.raw_path is None:
                raise
            raw_name = os.path.basename(error.raw_path)
            storage.publish(spool.path / raw_name, raw_name)
            register_outputs(self, [storage.uri(raw_name)])
            raw_path = storage.path(raw_name)
            raise RiffusionStemsError(f"{error} It is {raw_path}.", raw_path=raw_path) from None
        files = [StemFile(name=stem.name, path=stem.path.name, size=stem.size, sha256=stem.sha256) for stem in stems]
        sha256 = publish_set(storage, name, spool.path, files, {"song_id": self.song_id})
        register_outputs(self, [storage.uri(name, path) for path in (*(file["path"] for file in files), MANIFEST)])
        return self._result(storage, name, sha256, _MANIFEST_TYPE, 0, files)

    def _found(self, storage: Storage, name: str, *, is_stems: bool) -> DownloadResult | None:
        """Decide by ``if_exists`` what to do about an existing file; None means to download."""
        size = storage.size(name, MANIFEST) if is_stems else storage.size(name)
        if size is None or self.if_exists == "replace":
            return None
        path = storage.path(name)
        if self.if_exists == "fail":
            raise RiffusionFileExistsError(
                f"{path} exists already, and if_exists is 'fail'.\nDelete it, or set if_exists to 'replace' or 'skip'."
            )
        if is_stems:
            if (files := read_manifest(storage, name)) is None:
                return None
            result = self._result(storage, name, None, _MANIFEST_TYPE, 0, files)
        else:
            from airflow_provider_riffusion.useapi.models import AUDIO_FORMATS

            result = self._result(storage, name, None, AUDIO_FORMATS[self.download_format].content_type, size, ())
        what = "Skipped %s, %s bytes: the file of song %s exists already"
        self.log.info(what, path, result["size"], self.song_id)
        return result

    def _result(
        self, storage: Storage, name: str, sha256: str | None, content_type: str, size: int, files: Sequence[StemFile]
    ) -> DownloadResult:
        return DownloadResult(
            song_id=self.song_id,
            download_format=self.download_format,
            path=storage.path(name),
            storage_conn_id=storage.conn_id,
            size=size + sum(file["size"] for file in files),
            sha256=sha256,
            content_type=content_type,
            # The digest of a file that was not downloaded is unknown.
            skipped=sha256 is None,
            files=[StemFile({**file, "path": storage.path(name, file["path"])}) for file in files],
        )

    def _open_storage(self) -> Storage:
        from airflow_provider_riffusion.storage.storage import open_storage

        storage_path = self.hook.settings.storage_path if self.storage_path is None else self.storage_path
        remedy = f"give the operator one, or the connection {self.riffusion_conn_id!r} the extra storage_path"
        path = Rule(text, remedy).check("storage_path", storage_path)
        return open_storage(StorageLocation.of(path, self.storage_conn_id))
