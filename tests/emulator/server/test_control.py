"""The control endpoints under /_emulator/."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_riffusion.emulator import Emulator, Song
from airflow_provider_riffusion.emulator.server.http_server import Handler
from tests.emulator.support import SONG, control, create, download, refused


def test_faults(emulator: Emulator) -> None:
    response = control(emulator, "POST", "faults", json={"status": 503, "times": 2, "path": "music/download"})
    assert response.status_code == 201
    assert download(emulator).status_code == 503
    (fault,) = control(emulator, "GET", "faults").json()
    assert (fault["what"], fault["times"]) == ("status", 1)
    assert control(emulator, "DELETE", "faults").status_code == 200
    assert download(emulator).status_code == 200


@pytest.mark.parametrize(
    "body",
    [{}, [], {"what": "nonsense"}, {"what": "reset", "colour": 1}, {"status": "x"}, {"status": 502, "carried_out": 1}],
)
def test_bad_faults(emulator: Emulator, body: Any) -> None:
    assert refused(control(emulator, "POST", "faults", json=body), 400)
    assert control(emulator, "GET", "faults").json() == []


@pytest.mark.parametrize("body", [{"times": 2}, {"drip": 1000}])
def test_the_error_of_a_bad_fault_shows_a_good_one(emulator: Emulator, body: Any) -> None:
    assert '{"what": "drip"}' in refused(control(emulator, "POST", "faults", json=body), 400)


def test_a_retry_after_is_a_number_or_a_text(emulator: Emulator) -> None:
    emulator.fault("status", status=429, retry_after=30, times=1)
    assert download(emulator).headers["Retry-After"] == "30"
    assert control(emulator, "POST", "faults", json={"status": 429, "retry_after": 30}).status_code == 201
    assert download(emulator).headers["Retry-After"] == "30"


def test_accounts(emulator: Emulator) -> None:
    assert control(emulator, "POST", "accounts/user-1/break").status_code == 200
    assert download(emulator).status_code == 596
    assert control(emulator, "POST", "accounts/user-1/repair").status_code == 200
    assert download(emulator).status_code == 200
    assert refused(control(emulator, "POST", "accounts/nobody/break"), 404)
    assert refused(control(emulator, "POST", "accounts/user-1/hug"), 404)


def test_requests(emulator: Emulator) -> None:
    download(emulator)
    (logged,) = control(emulator, "GET", "requests").json()
    assert logged["path"] == "/v1/riffusion/music/download/"
    assert logged["token_sent"] is True
    assert logged["status"] == 200
    control(emulator, "DELETE", "requests")
    assert emulator.count() == 0


def test_accepted_creates(emulator: Emulator) -> None:
    job_id = create(emulator).json()["job_id"]
    (made,) = control(emulator, "GET", "creates").json()
    assert (made["body"], made["job_ids"]) == ({"prompt": "slow jazz"}, [job_id])
    assert len(made["song_ids"]) == 2
    control(emulator, "POST", "reset")
    assert control(emulator, "GET", "creates").json() == []


def test_settings(emulator: Emulator) -> None:
    assert control(emulator, "POST", "settings", json={"audio_reply": "url"}).status_code == 200
    assert download(emulator).json().keys() == {"url"}
    bodies: tuple[Any, ...] = (
        {"audio_reply": "x"},
        {"colour": "x"},
        [],
        {"generation_seconds": "soon"},
        {"songs_per_job": 0},
        {"final_status": None},
        {"retry_after": "1\r\nX: y"},
    )
    for body in bodies:
        assert refused(control(emulator, "POST", "settings", json=body), 400)


def test_reset(emulator: Emulator) -> None:
    emulator.fault("status", status=503)
    emulator.break_account("user-1")
    emulator.add_song(Song(id="new"))
    emulator.configure(audio_reply="url")
    download(emulator)
    assert control(emulator, "POST", "reset").status_code == 200
    assert emulator.count() == 0
    assert [song.id for song in emulator.songs] == [SONG.id]
    assert download(emulator).content == emulator.audio(SONG.id)


def test_only_on_loopback(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    # 192.0.2.1 is reserved for documentation; no packet goes there.
    real = Handler.setup

    def setup(self: Handler) -> None:
        real(self)
        self.client_address = ("192.0.2.1", 9)

    monkeypatch.setattr(Handler, "setup", setup)
    assert refused(control(emulator, "GET", "requests"), 403)
