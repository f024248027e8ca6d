"""One wav into a folder, or into an S3 store: seconds, and peak memory."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.programs.benchmarks.files import BOTO3, CURL, HTTP_OPERATOR, HTTP_TO_S3, OURS, REQUESTS, ways
from tests.programs.benchmarks.memory import peak_megabytes
from tests.programs.benchmarks.rounds import Way, compare, in_process, tell
from tests.programs.benchmarks.servers import SONG_BYTES, Servers
from tests.programs.benchmarks.table import Row

_ROUNDS = {"usual": 9, "huge": 5}
_PLACES = {"local": "to a folder", "s3": "to S3"}
_TARGETS = {
    "local": {REQUESTS: "<= 1.10", CURL: "", HTTP_OPERATOR: "< 1"},
    "s3": {BOTO3: "<= 1.05", HTTP_TO_S3: "< 1"},
}
_MEMORY_BESIDE = {"local": HTTP_OPERATOR, "s3": HTTP_TO_S3}


def local(servers: Servers) -> Iterator[Row]:
    """Compare downloads into a folder."""
    yield from _rows("local", servers)


def s3(servers: Servers) -> Iterator[Row]:
    """Compare downloads into an S3 store."""
    servers.need_nginx()
    yield from _rows("s3", servers)


def _rows(where: str, servers: Servers) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        found = ways(where, servers.url, Path(folder))
        for song_id, rounds in _ROUNDS.items():
            work = f"{SONG_BYTES[song_id] / 1e6:.0f} MB {_PLACES[where]}"
            tasks: dict[str, Way] = {name: partial(fetch, song_id) for name, fetch in found.items()}
            yield from compare(work, tasks, _TARGETS[where], rounds)
        beside = _MEMORY_BESIDE[where]
        ours, its = (_shown(in_process("downloads", where, name, servers.url, folder)) for name in (OURS, beside))
        yield Row(f"peak memory of 45 and 200 MB {_PLACES[where]}", ours, f"{beside}: {its}", "", "at most 8 MB more")


def _shown(peaks: list[float]) -> str:
    usual, huge = peaks
    return f"{usual:.0f} and {huge:.0f} MB ({huge - usual:+.0f})"


def _measure(where: str, name: str, url: str, folder: str) -> None:
    """Tell the peaks of one way, in a process of its own."""
    fetch = ways(where, url, Path(folder))[name]
    fetch("tiny")
    tell([peak_megabytes(partial(fetch, song_id)) for song_id in _ROUNDS])


if __name__ == "__main__":
    _measure(*sys.argv[1:])
