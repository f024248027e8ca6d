"""What a body's chunks go through on their way to the file, whatever happens meanwhile."""

from __future__ import annotations

import errno
import itertools
import signal
import threading
from collections.abc import Iterable, Iterator

import pytest

from airflow_provider_riffusion.exceptions import RiffusionDownloadError
from airflow_provider_riffusion.transport.writer import BackgroundWriter

CHUNK = bytes(2**17)
CHUNKS = [bytes([number]) * 2**17 for number in range(40)]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not writers()


def writers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("riffusion-writer")]


def test_chunks_arrive_in_order_at_every_sink() -> None:
    first: list[bytes] = []
    second: list[bytes] = []
    with BackgroundWriter(first.append, second.append) as writer:
        for chunk in CHUNKS:
            writer.write(chunk)
    assert first == second == CHUNKS


def test_a_small_body_takes_no_thread_and_a_large_one_takes_one() -> None:
    def threads(count: int) -> set[bool]:
        found: set[bool] = set()
        with BackgroundWriter(lambda _: found.add(threading.current_thread() is threading.main_thread())) as writer:
            for _ in range(count):
                writer.write(CHUNK)
        return found

    assert threads(3) == {True}
    assert False in threads(5)


def test_little_is_in_memory() -> None:
    taken: list[int] = []
    handed_on: list[int] = []
    most: list[int] = []

    def sink(_: bytes) -> None:
        most.append(len(taken) - len(handed_on))
        handed_on.append(1)

    with BackgroundWriter(sink) as writer:
        for _ in range(200):
            taken.append(1)
            writer.write(CHUNK)
    assert len(handed_on) == len(taken)
    assert max(most) * len(CHUNK) <= 2**20


def write_all(writer: BackgroundWriter, chunks: Iterable[bytes], error: Exception | None = None) -> None:
    with writer:
        for chunk in chunks:
            writer.write(chunk)
        if error is not None:
            raise error


def test_an_error_of_a_sink_reaches_the_caller_soon() -> None:
    def write(_: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    rest = itertools.repeat(CHUNK, 1000)
    with pytest.raises(OSError, match="No space"):
        write_all(BackgroundWriter(write), rest)
    assert len(list(rest)) > 980


def test_an_error_of_a_sink_in_the_last_chunks_reaches_the_caller() -> None:
    def write(_: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_all(BackgroundWriter(write), [b"x"])


def test_what_arrived_of_a_broken_body_is_kept() -> None:
    kept: list[bytes] = []
    with pytest.raises(RiffusionDownloadError):
        write_all(BackgroundWriter(kept.append), CHUNKS[:11], RiffusionDownloadError("cut"))
    assert kept == CHUNKS[:11]


def test_any_other_exception_drops_the_chunks_that_wait() -> None:
    kept: list[bytes] = []
    with pytest.raises(ZeroDivisionError):
        write_all(BackgroundWriter(kept.append), CHUNKS[:11], ZeroDivisionError())
    assert kept == CHUNKS[:8]


def test_a_signal_that_raises_while_the_caller_waits_ends_the_thread() -> None:
    class Killed(BaseException):
        """What Airflow's handlers raise."""

    def kill(*_: object) -> None:
        killed.set()
        raise Killed

    def sink(_: bytes) -> None:
        taken.append(1)
        if len(taken) == 6:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            # Busy until the handler has run, so that there is a thread to wait for.
            assert killed.wait(10)

    killed = threading.Event()
    taken: list[int] = []
    before = signal.signal(signal.SIGUSR1, kill)
    try:
        with pytest.raises(Killed):
            write_all(BackgroundWriter(sink), itertools.repeat(CHUNK, 1000))
        assert not writers()
    finally:
        signal.signal(signal.SIGUSR1, before)
