"""The request log: what it holds, and what it never does."""

from __future__ import annotations

import logging
import time
from urllib.parse import quote

import pytest
import requests

from airflow_provider_riffusion.emulator import Emulator
from tests.emulator.support import SONG, call, download


def test_it_never_holds_a_token_or_a_cookie(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    call(emulator, "GET", f"music/?token={emulator.token}&quoted={quote(quote(emulator.token))}")
    call(emulator, "POST", "accounts", json={"cookie": "secret-cookie"})
    requests.post(
        f"{emulator.url}/v1/riffusion/music/create-prompt",
        json={"prompt": "other-token"},
        headers={"Authorization": "Bearer other-token"},
        timeout=5,
    )
    everything = repr(emulator.requests) + requests.get(f"{emulator.url}/_emulator/requests", timeout=5).text
    ours = [record.getMessage() for record in caplog.records if "emulator" in record.name]
    everything += repr(ours)
    assert "/v1/riffusion/music/" in everything
    for secret in (emulator.token, "abcdef", "secret-cookie", "other-token"):
        assert secret not in everything


def test_it_notes_a_token_that_came_to_a_file(emulator: Emulator) -> None:
    requests.get(f"{emulator.url}/files/{SONG.id}.mp3", headers={"Authorization": "Bearer x"}, timeout=5)
    assert emulator.requests[-1].token_sent is True
    assert emulator.requests[-1].status == 200


def test_one_line_per_request(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    download(emulator)
    call(emulator, "GET", "scheduler")
    deadline = time.monotonic() + 2
    while len(caplog.messages) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    ours = [record.getMessage() for record in caplog.records if "emulator" in record.name]
    assert len(ours) == 2
    assert "music/download" in ours[0]
    assert "200" in ours[0]
