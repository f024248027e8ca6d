"""Many songs in one task: songs that are there already, memory, and pages of a library without anything new."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from airflow_provider_riffusion.emulator import Emulator
from airflow_provider_riffusion.emulator.emulator import example_songs
from airflow_provider_riffusion.operators import riffusion as operators
from tests.programs.benchmarks.files import ours
from tests.programs.benchmarks.memory import peak_megabytes
from tests.programs.benchmarks.rounds import in_process, tell
from tests.programs.benchmarks.servers import Servers
from tests.programs.benchmarks.table import NotRunError, Row

_SONGS = 300
_BATCH = 50


def rows(servers: Servers) -> Iterator[Row]:
    """Measure batches."""
    yield _archive()
    servers.need_nginx()
    names = servers.add_songs("there", _SONGS, "tiny")
    with tempfile.TemporaryDirectory() as folder:
        one_by_one = _seconds_per_song(names, lambda: [ours(name, folder) for name in names])
        skipped = _seconds_per_song(names, lambda: [ours(name, folder, if_exists="skip") for name in names])
        yield Row(f"{_SONGS} songs already there, one by one", _shown(skipped), f"stored: {_shown(one_by_one)}", "", "")
        if not hasattr(operators, "RiffusionDownloadSongsOperator"):
            raise NotRunError("there is no operator for many songs")
        batch = _seconds_per_song(names, lambda: _batch(names, folder, if_exists="skip"))
        work = f"{_SONGS} songs already there, in a batch"
        yield Row(work, _shown(batch), f"one by one: {_shown(skipped)}", f"{batch / skipped:.2f}", "<= 5 ms a song")
    one, many = in_process("library", *servers.add_songs("batch", _BATCH, "small"))
    work = f"peak memory of {_BATCH} songs of 10 MB with 4 workers"
    yield Row(work, f"{many:.0f} MB", f"one song: {one:.0f} MB", f"{many - one:+.0f} MB", "at most 8 MB more")


def _archive() -> Row:
    with Emulator(songs=example_songs(500)) as emulator:
        connection = {"conn_type": "riffusion", "host": emulator.url, "password": emulator.token}
        after = max(song.created_at for song in emulator.songs) + timedelta(days=2)
        with patch.dict(os.environ, {"AIRFLOW_CONN_RIFFUSION_DEFAULT": json.dumps(connection)}):
            found = operators.RiffusionListSongsOperator(task_id="t", created_after=after).execute({})
        pages = emulator.count("music")
    return Row("archive of 500 songs with nothing new", f"pages: {pages}, songs: {len(found)}", "", "", "pages: 1")


def _batch(names: list[str], folder: str, **parameters: Any) -> None:
    # Looked up here, because a package without it can be measured, too.
    operator = getattr(operators, "RiffusionDownloadSongsOperator")  # noqa: B009  # see above
    parameters = {"download_format": "wav", "storage_path": folder, "max_workers": 4, **parameters}
    operator(task_id="t", song_ids=names, **parameters).execute({})


def _seconds_per_song(names: list[str], work: Any) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / len(names)


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms a song"


def _measure(names: list[str]) -> None:
    """Tell the peaks of one song and of all, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        ours("tiny", folder)
        one = peak_megabytes(lambda: ours(names[0], folder))
        tell([one, peak_megabytes(lambda: _batch(names, folder, if_exists="replace"))])


if __name__ == "__main__":
    _measure(sys.argv[1:])
