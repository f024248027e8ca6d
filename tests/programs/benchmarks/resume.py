"""A download whose connection breaks again and again: bytes moved."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from typing import Any
from unittest.mock import patch

from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.emulator.riffusion.models import Settings
from airflow_provider_riffusion.exceptions import RiffusionError
from airflow_provider_riffusion.transport import retry
from tests.programs.benchmarks.files import ours
from tests.programs.benchmarks.servers import WAV_BYTES_PER_SECOND, Servers
from tests.programs.benchmarks.table import Row

_BYTES = 200 * 10**6
_CUTS = 5


def rows(_: Servers) -> Iterator[Row]:
    """Count the bytes that the emulator sends, because it can cut a body where a row wants it."""
    # An emulator that serves no ranges yet is measured, too.
    ranges: dict[str, Any] = {"ranges": "yes"} if "ranges" in {field.name for field in fields(Settings)} else {}
    songs = [Song("cut", duration_s=_BYTES / WAV_BYTES_PER_SECOND)]
    with Emulator(songs=songs, **ranges) as emulator, tempfile.TemporaryDirectory() as folder:
        connection = {"conn_type": "riffusion", "host": emulator.url, "password": emulator.token}
        for cut in range(_CUTS):
            emulator.fault("reset", times=1, path="music/download", after_bytes=_BYTES // (_CUTS + 1) - cut)
        with (
            patch.dict(os.environ, {"AIRFLOW_CONN_RIFFUSION_DEFAULT": json.dumps(connection)}),
            patch.object(retry, "MAX_BACKOFF_SECONDS", 0.01),
        ):
            try:
                ours("cut", folder)
                end = "stored"
            except RiffusionError as error:
                end = f"not stored ({type(error).__name__})"
        moved = sum(request.bytes_sent for request in emulator.requests)
    ratio = f"{moved / _BYTES:.2f}"
    yield Row("200 MB with 5 cuts: bytes moved", f"{moved / 1e6:.0f} MB, {end}", "its size", ratio, "<= 1.01")
