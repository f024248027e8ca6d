"""Uploads to an S3 server that refuses, forgets or never answers."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError, RiffusionStorageError
from airflow_provider_riffusion.storage import object_store, s3
from airflow_provider_riffusion.storage.location import StorageLocation
from airflow_provider_riffusion.storage.object_store import ObjectStore
from airflow_provider_riffusion.storage.storage import open_storage
from tests.support.raw_server import RawServer, Script, ok, response, serve

CREATED = ok(b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>")
COMPLETED = ok(b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")
STORED = response("HTTP/1.1 200 OK\nETag: e\nContent-Length: 0\nConnection: close")
DELETED = response("HTTP/1.1 204 No Content\nConnection: close")


def failed(status: str, code: str) -> Script:
    body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
    return response(f"HTTP/1.1 {status}\nContent-Length: {len(body)}\nConnection: close", body)


class S3Server:
    """An S3 server, whose answer to a part is to be chosen."""

    def __init__(self) -> None:
        self.part = STORED
        self.raw: RawServer

    def choose(self, request: bytes) -> Script:
        match request.split(b" ", 1)[0]:
            case b"POST":
                return CREATED if b"?uploads" in request.partition(b" HTTP")[0] else COMPLETED
            case b"PUT":
                return self.part
            case b"DELETE":
                return DELETED
        return failed("404 Not Found", "NoSuchKey")

    def lines(self) -> list[str]:
        """Return method and target of each request, without what identifies the client."""
        return [request.decode("latin-1").partition(" HTTP")[0] for request in self.raw.requests]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[S3Server, ObjectStore]]:
    """A server, and a store there that sends a file of any size in parts; to make boto3's client takes a while."""
    server = S3Server()
    with serve(choose=server.choose) as server.raw, pytest.MonkeyPatch.context() as patch:
        extra = {"endpoint_url": server.raw.url, "region_name": "us-east-1"}
        connection = {"conn_type": "aws", "login": "songs", "password": "songs", "extra": extra}
        patch.setenv("AIRFLOW_CONN_SONG_STORE", json.dumps(connection))
        patch.setattr(s3, "_TRANSFER", {**s3._TRANSFER, "multipart_threshold": 1})
        store = open_storage(StorageLocation.of("s3://song_store@songs/new"))
        assert isinstance(store, ObjectStore)
        yield server, store


@pytest.fixture
def server(running: tuple[S3Server, ObjectStore]) -> S3Server:
    """The server, which takes parts and has had no request yet."""
    running[0].part = STORED
    running[0].raw.requests.clear()
    return running[0]


@pytest.fixture
def store(running: tuple[S3Server, ObjectStore]) -> ObjectStore:
    return running[1]


@pytest.fixture
def spooled(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    return path


def test_an_upload_tells_the_content_type_by_the_ending(store: ObjectStore, server: S3Server, spooled: Path) -> None:
    store.publish(spooled, "a.wav")
    assert server.lines() == [
        "POST /songs/new/a.wav?uploads",
        "PUT /songs/new/a.wav?uploadId=u1&partNumber=1",
        "POST /songs/new/a.wav?uploadId=u1",
    ]
    assert b"\r\nContent-Type: audio/x-wav\r\n" in server.raw.requests[0]
    assert server.raw.requests[1].endswith(b"RIFF")


@pytest.mark.parametrize(
    ("part", "error", "message"),
    [
        (failed("403 Forbidden", "AccessDenied"), RiffusionConfigurationError, "AccessDenied.*check the bucket and"),
        (failed("404 Not Found", "NoSuchUpload"), RiffusionStorageError, "the upload was lost.*NoSuchUpload"),
        (failed("400 Bad Request", "InvalidPart"), RiffusionStorageError, "the store failed: ClientError.*InvalidPart"),
    ],
)
def test_a_refused_part_ends_the_upload_and_tells_whether_a_retry_helps(
    store: ObjectStore, server: S3Server, spooled: Path, part: Script, error: type[Exception], message: str
) -> None:
    server.part = part
    with pytest.raises(error, match=f"(?s){message}"):
        store.publish(spooled, "a.wav")
    assert server.lines()[-1] == "DELETE /songs/new/a.wav?uploadId=u1"


def test_an_upload_whose_spool_is_removed_ends_at_once(store: ObjectStore, server: S3Server, spooled: Path) -> None:
    attempts = []

    def kill(**_: object) -> None:
        attempts.append(spooled)
        spooled.unlink(missing_ok=True)

    # Several times what is sent between two looks at the spool.
    spooled.write_bytes(bytes(2**21))
    assert isinstance(store._objects, s3.S3Bucket)
    events = store._objects._client.meta.events
    events.register("before-send.s3.UploadPart", kill)
    try:
        with pytest.raises(RiffusionStorageError, match=r"The upload of a\.wav was aborted"):
            store.publish(spooled, "a.wav")
    finally:
        events.unregister("before-send.s3.UploadPart", kill)
    assert len(attempts) == 1
    assert server.lines()[-1] == "DELETE /songs/new/a.wav?uploadId=u1"


class TaskTimeout(BaseException):
    """Raised where Airflow raises its own."""


def test_a_task_leaves_an_upload_that_hangs_and_its_parts_are_removed_later(
    store: ObjectStore, server: S3Server, spooled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave = threading.Event()

    def hang(connection: object) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        leave.wait(60)
        # The connection is closed without an answer; by then nobody wants one.
        server.part = STORED

    def strike(_: int, __: FrameType | None) -> None:
        raise TaskTimeout

    server.part = hang
    monkeypatch.setattr(object_store, "_ABORT_SECONDS", 0.05)
    previous = signal.signal(signal.SIGUSR1, strike)
    try:
        with pytest.raises(TaskTimeout):
            store.publish(spooled, "a.wav")
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert not any(line.startswith("DELETE") for line in server.lines())
    assert not spooled.exists()
    leave.set()
    wait_for(lambda: server.lines()[-1] == "DELETE /songs/new/a.wav?uploadId=u1")
    assert not any(line == "POST /songs/new/a.wav?uploadId=u1" for line in server.lines())


def wait_for(is_so: Callable[[], bool]) -> None:
    for _ in range(1000):
        if is_so():
            return
        threading.Event().wait(0.01)
    raise TimeoutError
