"""A response whose body is still unread: read it whole, save it whole, or raise."""

import logging
import time
import zlib
from collections.abc import Iterator
from itertools import chain

import requests

from airflow_provider_riffusion.exceptions import RiffusionDownloadError, RiffusionError, RiffusionTooLargeError
from airflow_provider_riffusion.transport.errors import translated_errors
from airflow_provider_riffusion.transport.resume import StoredBody
from airflow_provider_riffusion.transport.retry import parse_retry_after
from airflow_provider_riffusion.transport.settings import TransportSettings
from airflow_provider_riffusion.transport.urls import shown
from airflow_provider_riffusion.transport.watchdog import Watchdog

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_SECONDS = 5.0

#: Shorter reads cost more calls, and longer ones memory.
_READ_BYTES = 2**18
_ERROR_BODY_BYTES = 2**16


class Response:
    """
    A response whose body is still unread.

    :param response: the response of requests, opened with ``stream=True``
    :param settings: minimum speed, and the token that must not show in a text
    :param watchdog: is fed with every byte of the body that arrives
    :param stored: where :meth:`save` puts the body; a response that continues it looks like one that brings all of it
    :param is_foreign: whether it came from a URL that a response gave, and not from the API itself
    :raises RiffusionDownloadError: it is a part of a body that does not fit what is stored
    """

    def __init__(
        self,
        response: requests.Response,
        settings: TransportSettings,
        watchdog: Watchdog,
        stored: StoredBody,
        *,
        is_foreign: bool,
    ) -> None:
        self._response = response
        self._watchdog = watchdog
        self._settings = settings
        self.url = shown(response.url)
        self.status = response.status_code
        self.is_foreign = is_foreign
        self._stored = stored
        #: Whether the body goes on where an earlier one broke, as it was asked to.
        self.is_continuation = stored.is_continued_by(response)
        self._head = stored.head(_ERROR_BODY_BYTES) if self.is_continuation else b""
        self._stored_head_bytes = len(self._head)
        encoding = settings.hide_token(response.headers.get("Content-Encoding", ""))
        self._rest = _decoded(self._wire_chunks(), encoding, self.url)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, from the Retry-After header."""
        return parse_retry_after(self._response.headers.get("Retry-After"))

    def head(self, size: int) -> bytes:
        """Return the first ``size`` bytes of the body, or all when it is shorter; later reads return them again."""
        while len(self._head) < size and (chunk := next(self._rest, None)) is not None:
            self._head += chunk
        return self._head[:size]

    def error_body(self) -> bytes:
        """Return the start of an error's body, as far as it can be read, because the status alone says enough."""
        try:
            self.head(_ERROR_BODY_BYTES)
        except RiffusionError as error:
            log.debug("The body of the error was cut: %s", error)
        return self._settings.hide_token(self._head[:_ERROR_BODY_BYTES])

    def read(self, *, max_bytes: int) -> bytes:
        """
        Read a small body.

        :param max_bytes: most bytes that it may have, after decompression
        :raises RiffusionDownloadError: it is not whole, or too large
        """
        return self._settings.hide_token(b"".join(self._body(max_bytes, "that JSON may have")))

    def save(self, *, max_bytes: int, limit: str = "of max_bytes") -> str:
        """
        Write the body to the file that :meth:`Client.get` was given.

        :param max_bytes: most bytes that the body may have, after decompression
        :param limit: names that limit in the error
        :return: the body's SHA-256, hexadecimal
        :raises RiffusionDownloadError: the body is not whole, or too large
        """
        stored = self._stored
        if not self.is_continuation:
            stored.start(self._response, self._length)
        size = before = stored.size
        start = reported = time.monotonic()
        with stored.writer() as writer:
            for chunk in self._body(max_bytes, limit, size):
                writer.write(chunk)
                size += len(chunk)
                if (now := time.monotonic()) - reported >= PROGRESS_INTERVAL_SECONDS:
                    reported = now
                    share = f"{size / stored.length:.0%} of {stored.length / 1e6:.1f} MB, " if stored.length else ""
                    speed = (size - before) / 1e6 / (now - start)
                    log.info("Downloading %s: %s%.1f MB, %.2f MB/s", self.url, share, size / 1e6, speed)
        return stored.finish(self.url)

    @property
    def _length(self) -> int | None:
        headers = self._response.headers
        text = headers.get("Content-Length", "")
        is_coded = "Content-Encoding" in headers or "Transfer-Encoding" in headers
        return int(text) if text.isdecimal() and len(text) < 19 and not is_coded else None

    def _body(self, max_bytes: int, limit: str, size: int = 0) -> Iterator[bytes]:
        """Yield what comes after the ``size`` bytes that are stored already."""
        length = self._length or 0
        for chunk in chain((self._head[self._stored_head_bytes :],), self._rest):
            size += len(chunk)
            if max(size, length) > max_bytes:
                raise RiffusionTooLargeError(f"{self.url}: the body is larger than the {max_bytes} bytes {limit}")
            yield chunk

    def _wire_chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives; read1() returns at every packet, so that no drip hides in one long read."""
        limit, period = self._settings.low_speed_limit, self._settings.low_speed_time
        period_start, period_bytes = time.monotonic(), 0
        read1, watchdog = self._response.raw.read1, self._watchdog
        with translated_errors(self.url, RiffusionDownloadError, watchdog):
            while chunk := read1(_READ_BYTES, decode_content=False):
                watchdog.feed()
                yield chunk
                period_bytes += len(chunk)
                elapsed = time.monotonic() - period_start
                if elapsed < period:
                    continue
                if period_bytes < limit * elapsed:
                    raise RiffusionDownloadError(
                        f"{self.url}: {period_bytes / elapsed:.0f} bytes/s over {elapsed:.0f} s are below "
                        f"low_speed_limit={limit:g}",
                        transient=True,
                    )
                period_start, period_bytes = time.monotonic(), 0


def _decoded(chunks: Iterator[bytes], encoding: str, url: str) -> Iterator[bytes]:
    """Undo a Content-Encoding, and raise when the compressed stream stops before its end."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        yield from chunks
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise RiffusionDownloadError(f"{url}: Content-Encoding {encoding[:40]!r} was not requested")
    # 32 accepts the header of gzip and the one of zlib.
    decoder = zlib.decompressobj(32 + zlib.MAX_WBITS)
    try:
        for chunk in chunks:
            while chunk:
                if decoder.eof:
                    decoder = zlib.decompressobj(32 + zlib.MAX_WBITS)
                # The limit keeps memory small: a few kB can decompress to gigabytes.
                yield decoder.decompress(chunk, _READ_BYTES)
                chunk = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    except zlib.error as error:
        raise RiffusionDownloadError(f"{url}: damaged {encoding} stream: {error}", transient=True) from None
    if not decoder.eof:
        raise RiffusionDownloadError(f"{url}: the {encoding} stream was cut", transient=True)
