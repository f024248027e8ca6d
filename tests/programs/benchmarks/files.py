"""Ways to fetch a wav, by name, ours first: into a folder, or into an S3 store."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests

from tests.programs.benchmarks.servers import HEADERS

#: Takes the id of a song.
Fetch = Callable[[str], object]
OURS = "RiffusionDownloadOperator"
REQUESTS = "requests (1 MiB, sha256, fsync)"
CURL = "curl"
HTTP_OPERATOR = "HttpOperator"
BOTO3 = "requests, then boto3 upload_file"
HTTP_TO_S3 = "HttpToS3Operator"
#: The largest piece that is worth its memory.
CHUNK_BYTES = 2**20

_PATH = "/v1/riffusion/music/download/?download_format=wav&id="


def ways(where: str, url: str, folder: Path) -> Mapping[str, Fetch]:
    """
    Return the ways to fetch a wav.

    :param where: ``local`` or ``s3``
    :param url: base URL of the API
    :param folder: where local files end
    """
    return {"local": _local, "s3": _s3}[where](url, folder)


def ours(song_id: str, storage_path: str, **parameters: Any) -> Any:
    """Run the download operator without a context."""
    from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator

    parameters = {"download_format": "wav", **parameters}
    return RiffusionDownloadOperator(task_id="t", song_id=song_id, storage_path=storage_path, **parameters).execute({})


def save(url: str, path: Path, *, is_checked: bool) -> None:
    """Save a URL with requests, a MiB at a time, with its digest and on the disk, or without both."""
    digest = hashlib.sha256()
    with requests.get(url, headers=HEADERS, stream=True, timeout=60) as response, path.open("wb") as file:
        response.raise_for_status()
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)
            if is_checked:
                digest.update(chunk)
        if is_checked:
            file.flush()
            os.fsync(file.fileno())


def _local(url: str, folder: Path) -> Mapping[str, Fetch]:
    from airflow.providers.http.operators.http import HttpOperator

    def with_curl(song_id: str) -> None:
        headers = [f"-H{name}: {value}" for name, value in HEADERS.items()]
        subprocess.run(["curl", "-sf", *headers, "-o", str(folder / "curl.wav"), f"{url}{_PATH}{song_id}"], check=True)

    def with_http_operator(song_id: str) -> None:
        HttpOperator(
            task_id="t",
            method="GET",
            http_conn_id="songs_http",
            endpoint=f"{_PATH}{song_id}",
            headers=HEADERS,
            response_filter=lambda response: (folder / "operator.wav").write_bytes(response.content),
        ).execute({})

    found: dict[str, Fetch] = {
        OURS: lambda song_id: ours(song_id, str(folder), file_name="ours.wav"),
        REQUESTS: lambda song_id: save(f"{url}{_PATH}{song_id}", folder / "requests.wav", is_checked=True),
        HTTP_OPERATOR: with_http_operator,
    }
    return {**found, CURL: with_curl} if shutil.which("curl") else found


def _s3(url: str, _: Path) -> Mapping[str, Fetch]:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from airflow.providers.amazon.aws.transfers.http_to_s3 import HttpToS3Operator

    def with_boto3(song_id: str) -> None:
        # A task makes its own client, as ours does.
        client = S3Hook(aws_conn_id="song_store").get_conn()
        with tempfile.TemporaryDirectory() as spool:
            path = Path(spool, "song.wav")
            save(f"{url}{_PATH}{song_id}", path, is_checked=False)
            client.upload_file(str(path), "songs", "boto3.wav")

    def with_operator(song_id: str) -> None:
        HttpToS3Operator(
            task_id="t",
            http_conn_id="songs_http",
            endpoint=f"{_PATH}{song_id}",
            headers=HEADERS,
            s3_bucket="songs",
            s3_key="operator.wav",
            aws_conn_id="song_store",
            replace=True,
        ).execute({})

    return {
        OURS: lambda song_id: ours(song_id, "s3://song_store@songs", file_name="ours.wav"),
        BOTO3: with_boto3,
        HTTP_TO_S3: with_operator,
    }
