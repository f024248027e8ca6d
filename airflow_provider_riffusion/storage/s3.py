"""Objects of S3, through boto3: its threads send the parts of a file straight from the disk."""

import mimetypes
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PART_BYTES = 8 * 2**20
#: Four parts at a time keep up with what comes in, in little memory. The connection's service_config may say otherwise.
_TRANSFER: Mapping[str, Any] = {
    "multipart_threshold": 2 * _PART_BYTES,
    "multipart_chunksize": _PART_BYTES,
    "max_concurrency": 4,
}


class S3Bucket:
    """
    A bucket.

    :param conn_id: Airflow connection; None for the credentials that the machine has
    :param name: name of the bucket
    :raises ImportError: Airflow's provider for Amazon is missing
    """

    #: A bucket's name is enough.
    account: str | None = None

    def __init__(self, conn_id: str | None, name: str) -> None:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        hook = S3Hook(aws_conn_id=conn_id, transfer_config_args=dict(_TRANSFER))
        self._client, self._transfer = hook.get_conn(), hook.transfer_config
        self._name = name

    def check(self) -> None:
        """
        Ask whether the bucket is there.

        :raises FileNotFoundError: it is not
        """
        with _missing():
            self._client.head_bucket(Bucket=self._name)

    def size(self, path: str) -> int:
        """
        Return the size of an object in bytes.

        :raises FileNotFoundError: there is none
        """
        with _missing():
            return int(self._client.head_object(**self._object(path))["ContentLength"])

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the sizes in bytes of a folder's objects by their names, without those of folders in it."""
        bucket, prefix = self._object(f"{folder}/").values()
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
        with _missing():
            objects = [entry for page in pages for entry in page.get("Contents", ())]
        return {entry["Key"].removeprefix(prefix): int(entry["Size"]) for entry in objects}

    def read(self, path: str) -> bytes:
        """
        Read a small object.

        :raises FileNotFoundError: there is none
        """
        with _missing():
            return bytes(self._client.get_object(**self._object(path))["Body"].read())

    def delete(self, path: str) -> None:
        """Delete an object if there is one."""
        self._client.delete_object(**self._object(path))

    def start_upload(self, spooled: Path, path: str, go_on: Callable[..., None]) -> Future[None]:
        """
        Start to upload a file, which appears when it is whole.

        :param go_on: is called while bytes are sent; what it raises ends the upload and removes its parts
        """
        # boto3 waits for its own threads however long a server takes, and the task must be able to leave.
        pool = ThreadPoolExecutor(1, thread_name_prefix="riffusion-upload")
        try:
            return pool.submit(self._upload, spooled, path, go_on)
        finally:
            pool.shutdown(wait=False)

    def _upload(self, spooled: Path, path: str, go_on: Callable[..., None]) -> None:
        from boto3.exceptions import S3UploadFailedError

        content_type, _ = mimetypes.guess_type(spooled.name)
        with _missing():
            try:
                self._client.upload_file(
                    str(spooled),
                    **self._object(path),
                    ExtraArgs={"ContentType": content_type} if content_type else None,
                    Callback=go_on,
                    Config=self._transfer,
                )
            except S3UploadFailedError as error:
                # It has the server's answer in its text alone, and the status tells whether a retry helps.
                raise error.__context__ or error from None

    def _object(self, path: str) -> dict[str, str]:
        return {"Bucket": self._name, "Key": path.removeprefix(f"{self._name}/")}


@contextmanager
def _missing() -> Iterator[None]:
    """Raise what the file systems of other stores raise when something is not there."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            raise FileNotFoundError(str(error)) from error
        raise
