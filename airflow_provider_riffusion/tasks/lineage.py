"""Tell Airflow what a task has stored: events for its outlets, and what OpenLineage's provider asks for."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import OutputDataset
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """
    What a task has stored, or found in its place.

    :param uri: URI of the file or folder
    :param account: account of Azure's storage, which the URI leaves out
    :param size: bytes that the task has written; None when it has written nothing
    :param files: files that the task has written
    :param rows: lines of the file, when it is a list
    :param sha256: hexadecimal digest of the file
    """

    uri: str
    account: str | None = None
    size: int | None = None
    files: int | None = None
    rows: int | None = None
    sha256: str | None = None


def add_asset_events(context: Context, outlets: Iterable[object], uri: str, extra: Mapping[str, Any]) -> None:
    """
    Give each asset alias among a task's outlets an event for a stored file, and the event of each asset its extra.

    Airflow makes these events when the task succeeds, and that of an asset also without this.

    :param context: context of the task; one without ``outlet_events``, as in a unit test, gets none
    :param outlets: the task's outlets
    :param uri: URI of the file
    :param extra: what the events tell about it
    """
    if (events := context.get("outlet_events")) is None:
        return
    # Imported here, because a task without outlets needs neither.
    from airflow.providers.common.compat.sdk import Asset, AssetAlias

    for outlet in outlets:
        try:
            if isinstance(outlet, AssetAlias):
                events[outlet].add(Asset(uri=uri), extra={"uri": uri, **extra})
            elif isinstance(outlet, Asset):
                events[outlet].extra.update({"uri": uri, **extra})
        except Exception:
            # The file is stored. Airflow refuses a URI of more than 1,500 characters, and some hosts.
            log.warning("%r gets no asset event for %s", outlet, uri, exc_info=True)


def dataset_name(uri: str, account: str | None = None) -> tuple[str, str]:
    """
    Return the namespace and the name of a dataset, as https://openlineage.io/docs/spec/naming says.

    Airflow's provider for Azure names no files. A file on an SFTP server has the namespace that Airflow's SFTPOperator
    gives it, which adds the port to the specification's.

    :param uri: URI of a file or folder, or of a song at the API
    :param account: account of Azure's storage
    """
    url = urlsplit(uri)
    path = unquote(url.path)
    key = path.removeprefix("/") or "/"
    match url.scheme:
        case "file":
            return "file", path
        case "sftp":
            return f"file://{url.netloc}", path
        case "abfs":
            return f"abfss://{url.netloc}@{account}.dfs.core.windows.net", key
        case "s3" | "gs":
            return f"{url.scheme}://{url.netloc}", key
    return f"{url.scheme}://{url.netloc}", path


def openlineage(source: str | None, stored: Sequence[Stored]) -> OperatorLineage[Any, Any]:
    """
    Return what OpenLineage's provider asks an operator for.

    :param source: URI of what was read; None when the task has not come to that
    :param stored: what was written
    """
    # Imported here, because only that provider calls this.
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage

    inputs = [] if source is None else [Dataset(*dataset_name(source))]
    return OperatorLineage(inputs=inputs, outputs=[_output(one) for one in stored])


def _output(stored: Stored) -> OutputDataset:
    from airflow.providers.common.compat.openlineage.facet import OutputDataset, OutputStatisticsOutputDatasetFacet
    from openlineage.client.facet_v2 import dataset_version_dataset

    output = OutputDataset(*dataset_name(stored.uri, stored.account), facets={}, outputFacets={})
    if stored.sha256 is not None:
        # The specification has no facet for a digest. A file whose bytes have changed is another version of it.
        version = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=f"sha256:{stored.sha256}")
        output.facets = {"version": version}
    if not (stored.size is stored.files is stored.rows is None):
        output.outputFacets = {
            "outputStatistics": OutputStatisticsOutputDatasetFacet(
                rowCount=stored.rows, size=stored.size, fileCount=stored.files
            )
        }
    return output
