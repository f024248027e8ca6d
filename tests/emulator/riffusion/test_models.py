"""Values that are refused when they are made."""

from __future__ import annotations

import pytest

from airflow_provider_riffusion.emulator import Emulator


def test_settings_are_checked(emulator: Emulator) -> None:
    with pytest.raises(ValueError, match="stems_reply"):
        emulator.configure(stems_reply="sideways")
