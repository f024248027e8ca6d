"""The pytest plugin, which pytest loads by itself where this package is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from airflow_provider_riffusion.testing import emulated_connection

if TYPE_CHECKING:
    from airflow_provider_riffusion.emulator import Emulator


@pytest.fixture
def riffusion_emulator() -> Iterator[Emulator]:
    """A running emulator of the Riffusion API, to which the connection riffusion_default leads."""
    with emulated_connection() as emulator:
        yield emulator
