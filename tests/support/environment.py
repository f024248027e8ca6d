"""Airflow's configuration in tests and programs; Airflow reads it when it is imported, so this is imported first."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="riffusion-airflow-"))
# A bundle for each file, because dag.test() of Airflow 3.3 saves all DAGs of a bundle anew.
BUNDLES = [
    {
        "name": file.stem,
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(file)},
    }
    for folder in ("example_dags", "tests/airflow/dags")
    for file in sorted((ROOT / folder).glob("*.py"))
]
os.environ.update(
    AIRFLOW_HOME=str(AIRFLOW_HOME),
    AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "tests/airflow/dags"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__TEST_CONNECTION="Enabled",
    AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST=json.dumps(BUNDLES),
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{AIRFLOW_HOME}/airflow.db",
    HYPOTHESIS_STORAGE_DIRECTORY=str(AIRFLOW_HOME / "hypothesis"),
    # A developer's proxy must not stand between the tests and their servers.
    NO_PROXY="127.0.0.1,localhost",
)
