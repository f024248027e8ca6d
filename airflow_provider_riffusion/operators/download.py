"""Download a song."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_riffusion.operators.song_download import (
    DOWNLOAD_RULES,
    BaseDownloadOperator,
    DownloadResult,
    instance_of,
)
from airflow_provider_riffusion.parameters import FILE_NAME, Rules, optional
from airflow_provider_riffusion.tasks.lineage import add_asset_events
from airflow_provider_riffusion.useapi.prompts import SONG_ID

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_riffusion.storage.spool import Spool


class RiffusionDownloadOperator(BaseDownloadOperator):
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

    parameter_rules: ClassVar[Rules] = {"song_id": SONG_ID, "file_name": optional(FILE_NAME), **DOWNLOAD_RULES}
    template_fields: Sequence[str] = tuple(parameter_rules)

    def __init__(self, *, song_id: str, file_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.song_id, self.file_name = song_id, file_name
        self._spool: Spool | None = None
        self.check_parameters(only_literals=True)

    def execute(self, context: Context) -> DownloadResult:
        """Download, check and publish the song."""
        self.check_parameters()
        download = self.song_download()
        self.note_source(self.song_id)
        name = self.file_name or download.name_of(self.song_id)
        # A store tells the content type by the ending.
        name += "" if download.is_stems or os.path.splitext(name)[1] else f".{self.download_format}"  # noqa: PTH122  # no path
        if (found := download.existing(self.song_id, name, download.size(name))) is not None:
            what = "Skipped %s, %s bytes: the file of song %s exists already"
            self.log.info(what, found["path"], found["size"], self.song_id)
            self._stored = [download.stored(name, found)]
            return found

        started = time.monotonic()
        with download.storage.spool(name, instance_of(context)) as self._spool:
            result = download.fetch(self.song_id, name, self._spool)
        stored = download.stored(name, result)
        self._stored = [stored]
        extra = {"song_id": self.song_id, "format": self.download_format, "size": stored.size, "sha256": stored.sha256}
        add_asset_events(context, self.outlets, stored.uri, extra)
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
