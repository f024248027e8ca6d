"""
A stand-in server for the Riffusion API of useapi.net, to rehearse DAGs against and to test with.

It runs on the standard library alone: ``python -m airflow_provider_riffusion.emulator``, or as a context
manager:

.. code-block:: python

    with Emulator(generation_seconds=0.2) as emulator:
        emulator.fault("status", status=503, times=2, path="music/download")
        ...  # talk to emulator.url with emulator.token
"""

from __future__ import annotations

from airflow_provider_riffusion.emulator.emulator import Emulator, example_accounts, example_songs
from airflow_provider_riffusion.emulator.riffusion.models import AcceptedCreate, Account, Settings, Song
from airflow_provider_riffusion.emulator.server.faults import Fault
from airflow_provider_riffusion.emulator.server.request_log import LoggedRequest

__all__ = [
    "AcceptedCreate",
    "Account",
    "Emulator",
    "Fault",
    "LoggedRequest",
    "Settings",
    "Song",
    "example_accounts",
    "example_songs",
]
