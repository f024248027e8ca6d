"""A body over several exchanges: it goes on where a transfer broke, or starts over, and never mixes two versions."""

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from typing import BinaryIO

import requests

from airflow_provider_riffusion.exceptions import RiffusionDownloadError
from airflow_provider_riffusion.transport.settings import TransportSettings
from airflow_provider_riffusion.transport.urls import shown
from airflow_provider_riffusion.transport.writer import BackgroundWriter

log = logging.getLogger(__name__)

#: New bytes that excuse an attempt that broke, or a hundredth of the body where that is less.
_PROGRESS_BYTES = 2**20

#: A weak one promises no equal bytes. Last-Modified is not used at all: RFC 9110 (8.8.2.2) takes it for weak unless the
#: server's clock proves otherwise, its step is a second, and the stores that sign URLs give every file an ETag.
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE)


class StoredBody:
    """
    A body on its way into a file, over as many exchanges as it takes.

    It goes on after a break when the server can tell one version of the body from another: it says
    ``Accept-Ranges: bytes``, a Content-Length, and a strong ETag. Otherwise, it starts over.

    :param file: opened for reading and writing; its content is overwritten
    :param settings: the secrets that no request may carry to another host
    """

    def __init__(self, file: BinaryIO, settings: TransportSettings) -> None:
        self.file = file
        self._settings = settings
        #: Bytes of the whole body; None: unknown.
        self.length: int | None = None
        #: The version that the file holds a part of; None: a part that cannot be gone on with.
        self._etag: str | None = None
        self._is_trusted = True
        self._furthest = 0
        self._digest = hashlib.sha256()

    @property
    def size(self) -> int:
        """Bytes in the file, which is then at its end."""
        return self.file.seek(0, os.SEEK_END)

    def head(self, size: int) -> bytes:
        """Return the first bytes in the file, at most ``size``."""
        self.file.seek(0)
        return self.file.read(size)

    def range_headers(self) -> dict[str, str]:
        """Return the headers that ask for the rest of the body; none when all of it is needed."""
        return {} if self._etag is None else {"Range": f"bytes={self.size}-", "If-Range": self._etag}

    def is_continued_by(self, response: requests.Response) -> bool:
        """
        Return whether a response goes on where the file ends; if not, it is to be used as any other one.

        :raises RiffusionDownloadError: it is a part that does not fit; the next attempt starts over
        """
        if self._etag is None or response.status_code not in (206, 416):
            return False
        url = shown(response.url)
        if response.status_code == 206 and self._fits(response.headers):
            log.info("Going on with %s after %.1f of %.1f MB", url, self.size / 1e6, (self.length or 0) / 1e6)
            return True
        raise self._distrusted(f"{url}: the part that the server sent does not fit, so the download starts over")

    def start(self, response: requests.Response, length: int | None) -> None:
        """
        Start over with a response.

        :param response: its body is a whole one
        :param length: bytes of the body as it is stored, None when nothing tells
        """
        self.file.seek(0)
        self.file.truncate()
        self._digest = hashlib.sha256()
        self.length = length
        ranges, etag = (response.headers.get(name, "") for name in ("Accept-Ranges", "ETag"))
        takes_ranges = "bytes" in (unit.strip().lower() for unit in ranges.split(","))
        # An ETag that quotes a secret could go to another host with the next request.
        is_strong = _STRONG_ETAG.fullmatch(etag) and not self._settings.holds_secret(etag)
        can_go_on = self._is_trusted and response.status_code == 200 and takes_ranges and length is not None
        self._etag = etag if can_go_on and is_strong else None

    def writer(self) -> BackgroundWriter:
        """Return what appends to the file, and hashes what it appends."""
        self.file.seek(0, os.SEEK_END)
        return BackgroundWriter(self._digest.update, self.file.write)

    def finish(self, url: str) -> str:
        """
        End the body, whose last response arrived whole.

        :param url: URL to name, safe to show
        :return: the SHA-256 of the file, hexadecimal
        :raises RiffusionDownloadError: the parts do not make up the whole; the next attempt starts over
        """
        if self._etag is not None and self.size != self.length:
            raise self._distrusted(f"{url}: the parts have {self.size} bytes, and the whole {self.length}")
        # Whoever finds fault with a whole body and asks again wants all of it.
        self._etag = None
        return self._digest.hexdigest()

    def note_progress(self) -> bool:
        """Return whether the attempt that broke brought so much that is kept that it uses up no attempt."""
        if self._etag is None or self.length is None:
            return False
        # Beyond everything before, so that a server that makes the download start over cannot do so for ever.
        new = self.size - self._furthest
        self._furthest = max(self._furthest, self.size)
        return new >= min(_PROGRESS_BYTES, self.length / 100)

    def _fits(self, headers: Mapping[str, str]) -> bool:
        part = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        return (
            part is not None
            and [int(number) for number in part.groups()] == [self.size, (self.length or 0) - 1, self.length]
            and headers.get("ETag") == self._etag
            and "Content-Encoding" not in headers
            and not headers.get("Content-Type", "").lower().startswith("multipart/")
        )

    def _distrusted(self, message: str) -> RiffusionDownloadError:
        self._etag, self._is_trusted = None, False
        return RiffusionDownloadError(message, transient=True)
