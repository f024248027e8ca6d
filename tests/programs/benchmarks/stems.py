"""Stems that a response names by URL, and stems in base64."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import requests

from tests.programs.benchmarks.files import OURS, ours
from tests.programs.benchmarks.rounds import compare
from tests.programs.benchmarks.servers import HEADERS, Servers
from tests.programs.benchmarks.table import NotRunError, Row

_ROUNDS = 5


def rows(servers: Servers) -> Iterator[Row]:
    """Compare downloads of stems."""
    servers.need_nginx()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoded = {
            OURS: lambda: ours("encoded", name, download_format="stems"),
            "requests, decode, sha256, write, fsync": lambda: _decode(servers.url, folder),
        }
        targets = dict.fromkeys(encoded, "<= 1.10")
        yield from compare("4 stems of 6 MB in base64", encoded, targets, _ROUNDS)
        if not shutil.which("curl"):
            raise NotRunError("curl is not installed")
        urls = [f"{servers.url}/stems/{number}.m4a" for number in range(6)]
        arguments = [part for url in urls for part in ("-o", f"{folder}/{url.rpartition('/')[2]}", url)]
        by_url = {
            OURS: lambda: ours("by-url", name, download_format="stems"),
            "curl -Z": lambda: subprocess.run(["curl", "-sfZ", *arguments], stderr=subprocess.DEVNULL, check=True),
        }
        yield from compare("6 stems of 12.5 MB, 100 Mbit/s each", by_url, {"curl -Z": "<= 1.10"}, _ROUNDS)


def _decode(url: str, folder: Path) -> None:
    path = "/v1/riffusion/music/download/?download_format=stems&id=encoded"
    stems = requests.get(f"{url}{path}", headers=HEADERS, timeout=60).json()["stems"]
    for name, text in stems.items():
        content = base64.b64decode(text)
        hashlib.sha256(content).hexdigest()
        with (folder / f"{name}.decoded").open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
