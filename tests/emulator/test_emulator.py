"""The emulator as a context manager: it starts, stops promptly, and needs nothing else."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import requests

from airflow_provider_riffusion.emulator import Emulator, Song
from tests.emulator.support import SONG, download


def test_life() -> None:
    emulator = Emulator()
    with pytest.raises(RuntimeError, match="not started"):
        _ = emulator.url
    with emulator:
        port = int(emulator.url.rpartition(":")[2])
        with pytest.raises(RuntimeError, match="started already"):
            emulator.start()
        with pytest.raises(OSError, match="in use"):
            Emulator(port=port).start()
    emulator.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/", timeout=1)


@pytest.mark.parametrize(
    ("what", "fields"),
    [
        ("stall", {}),
        ("stall", {"after_bytes": 100}),
        ("drip", {"bytes_per_second": 1}),
        ("endless", {}),
    ],
)
def test_stops_promptly(what: str, fields: dict[str, Any]) -> None:
    # Emulators of other tests may have connections that are still open.
    others = set(threading.enumerate())
    emulator = Emulator(songs=[SONG])
    emulator.start()
    emulator.fault(what, **fields)
    ended = threading.Event()

    def client() -> None:
        try:
            download(emulator, timeout=30)
        except requests.RequestException:
            ended.set()

    threading.Thread(target=client, daemon=True).start()
    deadline = time.monotonic() + 30
    while emulator.count() == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    start = time.monotonic()
    emulator.stop()
    assert time.monotonic() - start < 10
    assert ended.wait(10)
    wait_for_the_end_of_connections(others)
    assert emulator.count("music/download") == 1


def test_stops_promptly_when_clients_neither_read_nor_leave() -> None:
    others = set(threading.enumerate())
    with Emulator(songs=[Song(id="long", duration_s=1200)]) as emulator, requests.Session() as idle:
        response = download(emulator, "wav", "long", stream=True)
        idle.get(f"{emulator.url}/v1/riffusion/music", timeout=5)
        time.sleep(0.05)
        start = time.monotonic()
        emulator.stop()
        assert time.monotonic() - start < 10
        wait_for_the_end_of_connections(others)
        response.close()


def wait_for_the_end_of_connections(others: set[threading.Thread]) -> None:
    deadline = time.monotonic() + 10
    while names := [thread.name for thread in set(threading.enumerate()) - others if "process_" in thread.name]:
        if time.monotonic() > deadline:
            pytest.fail(f"still running: {names}")
        time.sleep(0.01)


def test_both_families_on_one_socket() -> None:
    try:
        emulator = Emulator(host="::")
        emulator.start()
    except OSError:
        pytest.skip("this machine has no IPv6")
    try:
        port = emulator.url.rpartition(":")[2]
        assert emulator.url == f"http://[::]:{port}"
        for host in ("127.0.0.1", "[::1]"):
            assert requests.get(f"http://{host}:{port}/_emulator/requests", timeout=5).status_code == 200
    finally:
        emulator.stop()


def test_imports_nothing_of_the_rest() -> None:
    code = (
        "import sys, airflow_provider_riffusion.emulator.__main__\n"
        "names = [n for n in sys.modules if n.split('.')[0] in ('airflow', 'requests', 'tenacity')\n"
        "         or n.startswith('airflow_provider_riffusion.')\n"
        "         and not n.startswith('airflow_provider_riffusion.emulator')]\n"
        "print(names)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
