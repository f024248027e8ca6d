"""Downloads into each store through Airflow's task runner."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from airflow.models.asset import AssetEvent
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_provider_riffusion.emulator import Emulator
from tests.stores.servers import BUCKET, CONN_ID, AzureBlob, Bucket, Store, bucket_url
from tests.stores.test_stores import FORMATS, whole, without_manifests
from tests.support.dag_runs import ROOT, outcomes_of, run_dag
from tests.support.openlineage import listening, names

pytestmark = pytest.mark.usefixtures("airflow_db")

DAGS = ROOT / "tests" / "airflow" / "dags" / "download.py"


#: OpenLineage's namespace of each store, and what a name in it begins with.
NAMESPACES = {
    "local": ("file", ""),
    "s3": (f"s3://{BUCKET}", ""),
    "gcs": (f"gs://{BUCKET}", ""),
    "azure": (f"abfss://{BUCKET}@{AzureBlob.account}.dfs.core.windows.net", ""),
    "sftp": ("file://127.0.0.1:{port}", f"/{BUCKET}/"),
}


def test_a_dag_downloads_into_the_store_and_tells_of_it(
    store: Store, emulator: Emulator, storage_path: str, prefix: str, tmp_path: Path
) -> None:
    song_id = emulator.songs[0].id
    conf = {"song_id": song_id, "download_format": " ".join(FORMATS), "storage_path": storage_path}
    with listening(tmp_path) as events:
        run = run_dag(DAGS, conf, name="expand")
        told = names([output for event in events() for output in event["outputs"]])
    assert {state for state, _ in outcomes_of(run).values()} == {"success"}
    expected = {name: content for kind in FORMATS for name, content in whole(emulator, song_id, kind).items()}
    assert without_manifests(store.objects(prefix)) == expected
    assert emulator.count("music/download") == len(FORMATS)

    port = urlsplit(getattr(store, "endpoint", "")).port
    namespace, start = NAMESPACES[store.name]
    start = f"{start}{prefix}" if store.name != "local" else storage_path
    files = {kind: f"{song_id}.{kind}{'/manifest.json' if kind == 'stems' else ''}" for kind in FORMATS}
    assert sorted(output["name"] for output in told) == sorted(f"{start}/{file}" for file in files.values())
    assert {output["namespace"] for output in told} == {namespace.format(port=port)}
    with create_session() as session:
        found = session.scalars(select(AssetEvent).where(AssetEvent.source_run_id == run.run_id)).all()
        uris = {event.extra["format"]: (event.uri, event.extra["uri"]) for event in found}
    # The connection is no part of a name; an SFTP server is.
    base = storage_path.replace(f"{CONN_ID}@", f"127.0.0.1:{port}" if store.name == "sftp" else "")
    base = base if store.name != "local" else f"file://{base}"
    assert uris == {kind: (f"{base}/{file}",) * 2 for kind, file in files.items()}


def test_a_dag_with_a_missing_bucket_fails_at_its_first_try(bucket: Bucket, emulator: Emulator) -> None:
    if bucket.name == "sftp":
        pytest.skip("an SFTP server has no buckets, and a missing folder is made")
    run = run_dag(DAGS, {"storage_path": f"{bucket_url(bucket, name='missing')}/songs"}, name="download")
    assert outcomes_of(run) == {"download": ("failed", 1)}
    assert emulator.requests == []
