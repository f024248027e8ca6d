"""Download many songs in one task."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from airflow_provider_riffusion.exceptions import RiffusionBatchError, RiffusionBatchFailedError
from airflow_provider_riffusion.operators.song_download import DOWNLOAD_RULES, BaseDownloadOperator, instance_of
from airflow_provider_riffusion.parameters import Rule, Rules, is_file_name, optional, rule, whole_number
from airflow_provider_riffusion.tasks.lineage import Stored, add_asset_events
from airflow_provider_riffusion.useapi.prompts import SONG_ID

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_riffusion.operators.batch import Batch
    from airflow_provider_riffusion.operators.song_manifest import SongManifest

#: Songs that an error names.
_NAMED_SONGS = 10
_KILL = "a kill"


def _song_ids(value: Any) -> list[str]:
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except RecursionError:
        raise ValueError from None
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise ValueError
    return list(dict.fromkeys(SONG_ID.check(f"song_ids[{number}]", song_id) for number, song_id in enumerate(value)))


class DownloadSongsResult(TypedDict):
    """
    The result of :class:`RiffusionDownloadSongsOperator`; as small for 10,000 songs as for one.

    :param songs: how many songs there are in all
    :param downloaded: how many of them this try has downloaded
    :param skipped: how many were there already, also from an earlier try
    :param bytes: size of all songs
    :param storage_path: folder or URL that the songs are in
    :param storage_conn_id: Airflow connection of the store
    :param manifest: path or URL of the list of the songs, in JSON lines, each a :class:`SongEntry`
    """

    songs: int
    downloaded: int
    skipped: int
    bytes: int
    storage_path: str
    storage_conn_id: str | None
    manifest: str


class RiffusionDownloadSongsOperator(BaseDownloadOperator):
    """
    Download many songs in one task, each as :class:`RiffusionDownloadOperator` does, and list them in a manifest.

    A song that fails does not hide the others: they are stored, and the task fails with a list of those that failed.
    The next try fetches only what is missing, also with ``if_exists="replace"``. What no other song would escape, such
    as a broken account (HTTP 596), ends the batch at once with that error. So do ten failures in a row, of which those
    that are about one song, such as an unknown id, are no part.

    The manifest gets its name when all songs are there. Until then it is ``songs.<task instance>.unfinished.jsonl`` in
    the storage path; it is renewed every minute, and the next try of the task instance reads it.

    Returns a :class:`DownloadSongsResult`. All parameters are templated.

    :param song_ids: ids of the songs, a list or its JSON (in a template ``{{ … | tojson }}``); a song that comes twice
        counts once
    :param max_workers: 1 to 32 downloads at the same time; of stems each needs three times the memory of a document
    :param manifest_name: file name of the manifest, which ends in ``.jsonl``; default ``songs.<task instance>.jsonl``,
        where mapped tasks and other runs have other names
    :param download_format: ``mp3``, ``wav`` or ``stems``
    :param storage_path: folder, an absolute local path or a URL such as ``s3://bucket/songs``; by default the
        connection's ``storage_path``
    :param storage_conn_id: Airflow connection of the store, unless the URL names it (``s3://conn_id@bucket/songs``)
    :param if_exists: ``replace`` an older file, ``skip`` the song, or ``fail`` it
    :param max_bytes: largest size in bytes that is accepted of each song
    :param user_id: account; by default the connection's
    :param riffusion_conn_id: Airflow connection of the type ``riffusion``
    :raises RiffusionConfigurationError: a parameter, the connection or the storage path is wrong
    :raises RiffusionPendingError: the account is broken (HTTP 596)
    :raises RiffusionBatchError: songs were not stored
    :raises RiffusionBatchFailedError: songs were not stored, and no retry can help any of them
    """

    parameter_rules: ClassVar[Rules] = {
        "song_ids": Rule(_song_ids, "use a list of song ids, or its JSON, as {{ … | tojson }} writes it"),
        "max_workers": whole_number(1, 32),
        "manifest_name": optional(
            rule(
                # No song's file has this ending.
                lambda name: is_file_name(name) and name.endswith(".jsonl"),
                "use one name without slashes that ends in .jsonl, of at most 255 bytes",
            )
        ),
        **DOWNLOAD_RULES,
    }
    template_fields: Sequence[str] = tuple(parameter_rules)

    def __init__(
        self,
        *,
        song_ids: Sequence[str] | str,
        max_workers: int | str = 4,
        manifest_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.song_ids: Any = song_ids
        self.max_workers: Any = max_workers
        self.manifest_name = manifest_name
        self._batch: Batch | None = None
        self._is_killed = False
        self.check_parameters(only_literals=True)

    def execute(self, context: Context) -> DownloadSongsResult:
        """Download the songs that are not there, and publish the manifest."""
        from airflow_provider_riffusion.operators.batch import Batch
        from airflow_provider_riffusion.operators.song_manifest import SongManifest

        self.check_parameters()
        self.hook.open()
        self.note_source()
        download, instance = self.song_download(), instance_of(context)
        storage = download.storage
        digest = hashlib.sha256((instance or secrets.token_hex()).encode()).hexdigest()[:16]
        name, unfinished = self.manifest_name or f"songs.{digest}.jsonl", f"songs.{digest}.unfinished.jsonl"
        sizes = None if download.is_stems else storage.sizes([download.name_of(song_id) for song_id in self.song_ids])
        with storage.spool(name, instance) as lines, storage.spool("songs", instance) as spool:
            manifest = SongManifest(download, lines.path, name, unfinished)
            batch = self._batch = Batch(download, spool, manifest, sizes, self.max_workers)
            if self._is_killed:
                batch.stop(_KILL)
            try:
                batch.run(self.song_ids)
                self._raise_for(batch, manifest)
                manifest.finish()
            except BaseException:
                # A killed task has seconds left, and another try may run already.
                if not self._is_killed:
                    manifest.save()
                raise
            finally:
                # The folder stands for its songs, because an event with thousands of datasets helps nobody.
                size, files = (batch.downloaded_bytes, batch.downloaded) if batch.downloaded else (None, None)
                self._stored = [Stored(uri=storage.uri(), account=storage.account, size=size, files=files)]
        manifest_uri = storage.uri(name)
        self._stored.append(Stored(uri=manifest_uri, account=storage.account, rows=len(self.song_ids)))
        if batch.new:
            # One, because Airflow would keep an asset and an event for each song, and start a consumer for each.
            extra = {"songs": len(self.song_ids), "downloaded": batch.new, "bytes": batch.bytes}
            add_asset_events(context, self.outlets, manifest_uri, extra)
        return DownloadSongsResult(
            songs=len(self.song_ids),
            downloaded=batch.downloaded,
            skipped=batch.skipped,
            bytes=batch.bytes,
            storage_path=storage.path(),
            storage_conn_id=storage.conn_id,
            manifest=storage.path(name),
        )

    def on_kill(self) -> None:
        """Send no request any more, and remove the unfinished downloads; runs in a signal handler."""
        self._is_killed = True
        if self._batch is not None:
            self._batch.stop(_KILL)

    def _raise_for(self, batch: Batch, manifest: SongManifest) -> None:
        """Raise for songs that are not there."""
        total, there = len(self.song_ids), batch.downloaded + batch.skipped
        if there == total:
            return
        if batch.fatal is not None:
            raise batch.fatal
        if not self._is_killed:
            manifest.save()
        error_class, remedy = RiffusionBatchError, "Let Airflow retry the task: it fetches only what is missing."
        if not (batch.stopped or batch.may_succeed_later):
            error_class = RiffusionBatchFailedError
            remedy = "No retry can help: correct what follows, and clear the task, which fetches only what is missing."
        lines = [
            f"{total - there} of {total} songs were not stored{batch.stopped and f'; it ended after {batch.stopped}'}.",
            remedy,
            f"The songs that are there: {manifest.saved_path or 'in no manifest'}",
            *(f"{song_id}: {error}" for song_id, error in islice(batch.failed.items(), _NAMED_SONGS)),
        ]
        fields = {"song_ids": tuple(batch.failed), "manifest": manifest.saved_path, "retry_after": batch.retry_after}
        raise error_class("\n".join(lines), **fields)
