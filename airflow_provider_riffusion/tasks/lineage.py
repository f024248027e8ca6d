"""Tell Airflow which files a task has written."""

from collections.abc import Iterable
from typing import Any


def register_outputs(writer: Any, uris: Iterable[str]) -> None:
    """
    Register written files as outputs of the task.

    :param writer: the object that has written them
    :param uris: their URIs
    """
    # Imported here, because a DAG file never needs the collector.
    from airflow.providers.common.compat.sdk import get_hook_lineage_collector

    # Nobody can use a hidden file.
    for uri in (uri for uri in uris if "/." not in uri[uri.rfind("/") :]):
        get_hook_lineage_collector().add_output_asset(context=writer, uri=uri)
