"""Calls of a client that knows the API but nothing of this package."""

from __future__ import annotations

from typing import Any

import requests

from airflow_provider_riffusion.emulator import Emulator, Song

SONG = Song(id="11111111-2222-4333-8444-555555555555", title="Blue Façade", duration_s=2.0)
PENDING = (
    "Your Riffusion account has pending error. Please address this issue at "
    "https://useapi.net/docs/api-riffusion-v1/post-riffusion-accounts before making any new API calls."
)


def call(emulator: Emulator, method: str, path: str, **kwargs: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {emulator.token}", **kwargs.pop("headers", {})}
    kwargs.setdefault("timeout", 5)
    return requests.request(method, f"{emulator.url}/v1/riffusion/{path}", headers=headers, **kwargs)


def download(emulator: Emulator, kind: str = "mp3", song_id: str = SONG.id, **kwargs: Any) -> requests.Response:
    return call(emulator, "GET", "music/download/", params={"id": song_id, "download_format": kind}, **kwargs)


def control(emulator: Emulator, method: str, path: str, **kwargs: Any) -> requests.Response:
    return requests.request(method, f"{emulator.url}/_emulator/{path}", timeout=5, **kwargs)


def create(emulator: Emulator, prompt: str = "slow jazz", **fields: Any) -> requests.Response:
    return call(emulator, "POST", "music/create-prompt", json={"prompt": prompt, **fields})


def status_of(emulator: Emulator, handle: str) -> str:
    return str(call(emulator, "GET", "music", params={"id": handle}).json()[0]["status"])


def refused(response: requests.Response, status: int) -> str:
    document = response.json()
    assert response.status_code == status
    assert document["code"] == status
    return str(document["error"])
