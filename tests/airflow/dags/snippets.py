"""The first DAG of each snippet in the documents, under its id; only where the songs end is another folder."""

import os
import re

from airflow.sdk import DAG

from tests.support.documents import SNIPPETS_FOLDER, snippets

STORAGE_PATHS = ("/tmp/songs", "s3://aws_default@my-bucket/songs")

for snippet in snippets("python"):
    code = re.sub(r"^(with DAG\(.*\)):$", r"\1 as dag:", snippet.code, count=1, flags=re.MULTILINE)
    for path in STORAGE_PATHS:
        code = code.replace(path, os.environ.get(SNIPPETS_FOLDER, path))
    names: dict[str, object] = {}
    # Airflow wants a DAG to come from a file in its folder.
    exec(compile(code, __file__, "exec"), names)
    if isinstance(dag := names.get("dag"), DAG):
        globals()[dag.dag_id] = dag
