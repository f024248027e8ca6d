"""What the emulator's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_riffusion.emulator import Emulator
from tests.emulator.support import SONG


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A running emulator with one song, which generates others in 0.05 s."""
    with Emulator(songs=[SONG], generation_seconds=0.05) as running:
        yield running
