"""Write and hash a body in a thread of its own, while the rest of it is read."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from airflow_provider_riffusion.exceptions import RiffusionError

#: Far more than a packet, because each batch costs a switch between threads; two batches are in memory at once.
_BATCH_BYTES = 2**19


class BackgroundWriter:
    """
    Hands chunks on to a file and a digest, in order, while its caller reads the next ones.

    A ``with`` ends when all chunks are handed on, also when a :class:`RiffusionError` ends it: what has arrived of a
    body that broke is kept. Any other exception drops the chunks that wait. Less than 512 KiB take no thread.

    :param sinks: each is called with each chunk; what it raises is raised by a later ``write``, or at the end
    """

    def __init__(self, *sinks: Callable[[bytes], object]) -> None:
        self._sinks = sinks
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._written: Future[None] | None = None
        # It starts its thread with the first batch, and ends it even when a signal handler raises anywhere in here.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="riffusion-writer")

    def write(self, chunk: bytes) -> None:
        """Take a chunk, and hand it on before the ``with`` ends."""
        self._batch.append(chunk)
        self._batch_bytes += len(chunk)
        if self._batch_bytes >= _BATCH_BYTES:
            self._wait()
            self._written = self._pool.submit(self._hand_on, self._batch)
            self._batch, self._batch_bytes = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        # The file must be nobody else's when the next attempt begins to write to it, so the thread is waited for.
        with self._pool:
            if error is None or isinstance(error, RiffusionError):
                self._wait()
                self._hand_on(self._batch)

    def _wait(self) -> None:
        if self._written is not None:
            self._written.result()

    def _hand_on(self, batch: list[bytes]) -> None:
        for chunk in batch:
            for sink in self._sinks:
                sink(chunk)
