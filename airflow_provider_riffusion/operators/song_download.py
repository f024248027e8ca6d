"""What the operators for one song and for many share: their parameters, and the download of one song."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, cast

from airflow_provider_riffusion.exceptions import RiffusionFileExistsError, RiffusionStemsError
from airflow_provider_riffusion.parameters import Rule, Rules, one_of, optional, text, whole_number
from airflow_provider_riffusion.storage.location import StorageLocation
from airflow_provider_riffusion.storage.manifest import MANIFEST, StemFile, publish_set, read_manifest
from airflow_provider_riffusion.tasks.base import ACCOUNT_RULES, RiffusionOperator
from airflow_provider_riffusion.tasks.lineage import Stored, openlineage
from airflow_provider_riffusion.useapi.prompts import DOWNLOAD_FORMATS, STEMS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
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


#: The parameters that say what to download and where to.
DOWNLOAD_RULES: Rules = {
    "download_format": one_of(DOWNLOAD_FORMATS),
    "storage_path": optional(Rule(_storage_path, "give a folder, a URL or a path object")),
    "storage_conn_id": optional(ACCOUNT_RULES["riffusion_conn_id"]),
    "if_exists": one_of(IF_EXISTS),
    "max_bytes": whole_number(1, 10**30, "use a number of bytes above 0"),
    **ACCOUNT_RULES,
}


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


class BaseDownloadOperator(RiffusionOperator):
    """What both operators share; their docstrings describe the parameters."""

    def __init__(
        self,
        *,
        download_format: str = "mp3",
        storage_path: str | os.PathLike[str] | ObjectStoragePath | None = None,
        storage_conn_id: str | None = None,
        if_exists: str = "replace",
        max_bytes: int | str = 2**31,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.download_format = download_format
        self.storage_path: Any = storage_path
        self.storage_conn_id, self.if_exists = storage_conn_id, if_exists
        self.max_bytes: Any = max_bytes
        self._source: str | None = None
        self._stored: list[Stored] = []

    def song_download(self) -> SongDownload:
        """Return what downloads a song as the parameters say."""
        return SongDownload(
            hook=self.hook,
            storage=self._open_storage(),
            download_format=self.download_format,
            if_exists=self.if_exists,
            max_bytes=self.max_bytes,
            user_id=self.user_id,
        )

    def note_source(self, song_id: str = "") -> None:
        """
        Note for lineage what is read: a song, or the library.

        :param song_id: id of the song
        """
        from airflow_provider_riffusion.useapi.riffusion.requests import SONGS_PATH

        self._source = f"{self.hook.settings.base_url}{SONGS_PATH}{song_id}".rstrip("/")

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the datasets of this try; only OpenLineage's provider calls it, at the end, also of a failed try."""
        return openlineage(self._source, self._stored)

    def _open_storage(self) -> Storage:
        from airflow_provider_riffusion.storage.storage import open_storage

        storage_path = self.hook.settings.storage_path if self.storage_path is None else self.storage_path
        remedy = f"give the operator one, or the connection {self.riffusion_conn_id!r} the extra storage_path"
        path = Rule(text, remedy).check("storage_path", storage_path)
        return open_storage(StorageLocation.of(path, self.storage_conn_id))


def instance_of(context: Context) -> str | None:
    """Return a name that is the same in each try of the task instance; None without one, as in a unit test."""
    ti = context.get("ti")
    return None if ti is None else f"{ti.dag_id}/{ti.task_id}/{ti.run_id}/{ti.map_index}"


@dataclass(frozen=True)
class SongDownload:
    """
    Downloads songs into a storage; safe to share between threads.

    :param hook: the hook
    :param storage: where the songs end
    :param download_format: ``mp3``, ``wav`` or ``stems``
    :param if_exists: ``replace``, ``skip`` or ``fail``
    :param max_bytes: largest size in bytes that is accepted of a song
    :param user_id: account; by default the connection's
    """

    hook: RiffusionHook
    storage: Storage
    download_format: str
    if_exists: str
    max_bytes: int
    user_id: str | None

    @property
    def is_stems(self) -> bool:
        """Whether a song becomes a folder."""
        return self.download_format == STEMS

    def name_of(self, song_id: str) -> str:
        """Return the name of a song's file or folder, unless the user gives another."""
        return f"{song_id}.{self.download_format}"

    def size(self, name: str) -> int | None:
        """Return the size in bytes of a song's file, or of its set's manifest; None when there is none."""
        return self.storage.size(name, MANIFEST) if self.is_stems else self.storage.size(name)

    def existing(self, song_id: str, name: str, size: int | None) -> DownloadResult | None:
        """
        Decide by ``if_exists`` what to do about an existing file; None means to download.

        :param song_id: id of the song
        :param name: name of its file or folder
        :param size: what :meth:`size` returned
        :raises RiffusionFileExistsError: it exists and ``if_exists`` is ``fail``
        """
        if size is None or self.if_exists == "replace":
            return None
        if self.if_exists == "fail":
            path = self.storage.path(name)
            raise RiffusionFileExistsError(
                f"{path} exists already, and if_exists is 'fail'.\nDelete it, or set if_exists to 'replace' or 'skip'."
            )
        return self.found(song_id, name, size)

    def found(self, song_id: str, name: str, size: int) -> DownloadResult | None:
        """Return the result for an existing file that stays as it is; None when its set is incomplete."""
        if not self.is_stems:
            from airflow_provider_riffusion.useapi.models import AUDIO_FORMATS

            return self._result(song_id, name, None, AUDIO_FORMATS[self.download_format].content_type, size, ())
        files = read_manifest(self.storage, name)
        return None if files is None else self._result(song_id, name, None, _MANIFEST_TYPE, 0, files)

    def fetch(self, song_id: str, name: str, spool: Spool) -> DownloadResult:
        """
        Download, check and publish a song.

        :param song_id: id of the song
        :param name: name of its file or folder
        :param spool: a private folder of this download
        """
        return (self._fetch_stems if self.is_stems else self._fetch_audio)(song_id, name, spool)

    def stored(self, name: str, result: DownloadResult) -> Stored:
        """
        Return a song as lineage names it; stems by their manifest, which is there only while the set is complete.

        :param name: name of its file or folder
        :param result: the result
        """
        uri = self.storage.uri(name, MANIFEST) if self.is_stems else self.storage.uri(name)
        if result["skipped"]:
            return Stored(uri=uri, account=self.storage.account)
        files = len(result["files"]) + 1 if self.is_stems else 1
        return Stored(uri=uri, account=self.storage.account, size=result["size"], files=files, sha256=result["sha256"])

    def _fetch_audio(self, song_id: str, name: str, spool: Spool) -> DownloadResult:
        # The name decides the content type that a store gives the object, and the spool is private, so it is used here.
        # The rule of the format and is_stems have made sure of mp3 or wav.
        download_format = cast("AudioFormatName", self.download_format)
        file = self.hook.download(
            song_id, download_format, spool.path / name, user_id=self.user_id, max_bytes=self.max_bytes
        )
        self.storage.publish(file.path, name)
        return self._result(song_id, name, file.sha256, file.content_type, file.size, ())

    def _fetch_stems(self, song_id: str, name: str, spool: Spool) -> DownloadResult:
        try:
            stems = self.hook.download_stems(song_id, spool.path, user_id=self.user_id, max_bytes=self.max_bytes)
        except RiffusionStemsError as error:
            if error.raw_path is None:
                raise
            raw_name = os.path.basename(error.raw_path)
            self.storage.publish(spool.path / raw_name, raw_name)
            raw_path = self.storage.path(raw_name)
            raise RiffusionStemsError(f"{error} It is {raw_path}.", raw_path=raw_path) from None
        files = [StemFile(name=stem.name, path=stem.path.name, size=stem.size, sha256=stem.sha256) for stem in stems]
        sha256 = publish_set(self.storage, name, spool.path, files, {"song_id": song_id})
        return self._result(song_id, name, sha256, _MANIFEST_TYPE, 0, files)

    def _result(
        self, song_id: str, name: str, sha256: str | None, content_type: str, size: int, files: Sequence[StemFile]
    ) -> DownloadResult:
        return DownloadResult(
            song_id=song_id,
            download_format=self.download_format,
            path=self.storage.path(name),
            storage_conn_id=self.storage.conn_id,
            size=size + sum(file["size"] for file in files),
            sha256=sha256,
            content_type=content_type,
            # The digest of a file that was not downloaded is unknown.
            skipped=sha256 is None,
            files=[StemFile({**file, "path": self.storage.path(name, file["path"])}) for file in files],
        )
