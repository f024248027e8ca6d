"""Downloads into each store through Airflow's task runner."""

from __future__ import annotations

import pytest

from airflow_provider_riffusion.emulator import Emulator
from tests.stores.servers import Bucket, Store, bucket_url
from tests.stores.test_stores import FORMATS, whole, without_manifests
from tests.support.dag_runs import ROOT, outcomes_of, run_dag

pytestmark = pytest.mark.usefixtures("airflow_db")

DAGS = ROOT / "tests" / "airflow" / "dags" / "download.py"


def test_a_dag_downloads_into_the_store(store: Store, emulator: Emulator, storage_path: str, prefix: str) -> None:
    song_id = emulator.songs[0].id
    conf = {"song_id": song_id, "download_format": " ".join(FORMATS), "storage_path": storage_path}
    run = run_dag(DAGS, conf, name="expand")
    assert {state for state, _ in outcomes_of(run).values()} == {"success"}
    expected = {name: content for kind in FORMATS for name, content in whole(emulator, song_id, kind).items()}
    assert without_manifests(store.objects(prefix)) == expected
    assert emulator.count("music/download") == len(FORMATS)


def test_a_dag_with_a_missing_bucket_fails_at_its_first_try(bucket: Bucket, emulator: Emulator) -> None:
    if bucket.name == "sftp":
        pytest.skip("an SFTP server has no buckets, and a missing folder is made")
    run = run_dag(DAGS, {"storage_path": f"{bucket_url(bucket, name='missing')}/songs"}, name="download")
    assert outcomes_of(run) == {"download": ("failed", 1)}
    assert emulator.requests == []
