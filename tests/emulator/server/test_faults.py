"""Faults: which requests they hit, and what they answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from airflow_provider_riffusion.emulator import Emulator
from airflow_provider_riffusion.emulator.server.faults import parse_fault
from tests.emulator.support import PENDING, SONG, call, create, download, refused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "status=503,times=2,path=music/download",
            {"what": "status", "status": 503, "times": 2, "path": "music/download"},
        ),
        ("reset,after_bytes=1000", {"what": "reset", "after_bytes": 1000}),
        ("204", {"what": "204"}),
        ("what=stall,seconds=0.5", {"what": "stall", "seconds": 0.5}),
        (
            "status=429,retry_after=Wed, 21 Oct 2026 07:28:00 GMT,times=1",
            {"what": "status", "retry_after": "Wed, 21 Oct 2026 07:28:00 GMT", "times": 1},
        ),
        ("redirect,url=http://x/?a=b,c", {"what": "redirect", "url": "http://x/?a=b,c"}),
        ("status=502,carried_out=true", {"what": "status", "carried_out": True}),
        ("status=502,carried_out=false", {"what": "status", "carried_out": False}),
    ],
)
def test_faults_of_the_command_line(text: str, expected: dict[str, Any]) -> None:
    fault = parse_fault(text)
    assert {name: getattr(fault, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("what", "fields"),
    [
        ("explode", {}),
        ("status", {}),
        ("status", {"status": 100}),
        ("status", {"status": 503, "body": "poem"}),
        ("redirect", {}),
        ("redirect", {"url": "x\r\nSet-Cookie: y"}),
        ("drip", {}),
        ("reset", {"times": 0}),
        ("reset", {"after_bytes": -1}),
        ("truncate", {"framing": "origami"}),
    ],
)
def test_orders_that_make_no_sense(emulator: Emulator, what: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        emulator.fault(what, **fields)


def test_which_requests_a_fault_hits(emulator: Emulator) -> None:
    emulator.fault("status", status=503, path="music/download", song_id="other")
    emulator.fault("status", status=502, method="delete")
    emulator.fault("status", status=504, path="/v1/riffusion/music/")
    assert download(emulator).status_code == 200
    assert download(emulator, song_id="other").status_code == 503
    assert call(emulator, "DELETE", "music", params={"id": SONG.id}).status_code == 502
    assert call(emulator, "GET", "music").status_code == 504
    assert call(emulator, "GET", "scheduler").status_code == 200
    emulator.clear()
    assert emulator.requests == []
    assert call(emulator, "GET", "music").status_code == 200


def test_times_hold_under_concurrency(emulator: Emulator) -> None:
    emulator.fault("status", status=503, times=7)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: download(emulator).status_code, range(30)))
    assert answers.count(503) == 7


@pytest.mark.parametrize("status", [200, 400, 402, 404, 429, 500, 503, 599, 600, 999])
def test_status(emulator: Emulator, status: int) -> None:
    emulator.fault("status", status=status, times=2, path="music/download", retry_after="7")
    for _ in range(2):
        response = download(emulator)
        assert refused(response, status)
        assert response.headers["Retry-After"] == "7"
    assert download(emulator).content == emulator.audio(SONG.id)


def test_bodies_of_a_status(emulator: Emulator) -> None:
    def body(form: str, status: int = 422) -> requests.Response:
        emulator.clear()
        emulator.fault("status", status=status, body=form, message="No.")
        return download(emulator)

    assert body("json").json() == {"error": "No.", "code": 422}
    assert body("json-no-code").json() == {"error": "No."}
    assert body("json-nested").json() == {"error": {"code": 422, "message": "No."}}
    assert body("json-text-code").json() == {"error": "No.", "code": "422"}
    assert body("moderation").json()["is_flagged"] is True
    assert body("empty").content == b""
    assert body("html", 502).text.startswith("<!DOCTYPE html>")
    emulator.clear()
    emulator.fault("status", status=596)
    assert download(emulator).json() == {"error": PENDING}


@pytest.mark.parametrize(("what", "status"), [("status", 502), ("html", 200), ("204", 204)])
@pytest.mark.parametrize("carried_out", [True, False])
def test_whether_a_request_is_carried_out(emulator: Emulator, what: str, status: int, carried_out: bool) -> None:
    emulator.fault(what, status=status, times=1, path="music/create-", carried_out=carried_out)
    assert create(emulator).status_code == status
    assert len(emulator.accepted_creates) == carried_out
    assert create(emulator).status_code == 200
    assert len(emulator.accepted_creates) == 1 + carried_out


def test_json_error(emulator: Emulator) -> None:
    emulator.fault("json-error", message="Upstream said no")
    response = download(emulator)
    assert (response.status_code, response.json()) == (200, {"error": "Upstream said no"})


def test_html(emulator: Emulator) -> None:
    emulator.fault("html")
    response = download(emulator)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert "</html>" in response.text


@pytest.mark.parametrize(("what", "status", "length"), [("empty", 200, "0"), ("204", 204, None)])
def test_nothing(emulator: Emulator, what: str, status: int, length: str | None) -> None:
    emulator.fault(what)
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {emulator.token}"
        for _ in range(2):
            response = session.get(f"{emulator.url}/v1/riffusion/music/download", timeout=5)
            assert (response.status_code, response.content) == (status, b"")
            assert response.headers.get("Content-Length") == length


@pytest.mark.parametrize("url", ["https://example.org/x", "file:///etc/passwd", "/relative"])
def test_redirect(emulator: Emulator, url: str) -> None:
    emulator.fault("redirect", url=url, status=307)
    response = download(emulator, allow_redirects=False)
    assert (response.status_code, response.headers["Location"]) == (307, url)


def test_redirect_loop(emulator: Emulator) -> None:
    emulator.fault("redirect-loop", times=1)
    with pytest.raises(requests.TooManyRedirects):
        download(emulator)
    assert emulator.count("redirect-loop") == 30


@pytest.mark.parametrize(("kind", "sent"), [("mp3", "wav"), ("wav", "mp3"), ("stems", "mp3")])
def test_wrong_format(emulator: Emulator, kind: str, sent: str) -> None:
    emulator.fault("wrong-format")
    asked = {"mp3": "audio/mpeg", "wav": "audio/wav", "stems": "application/json"}[kind]
    response = download(emulator, kind)
    assert response.content == emulator.audio(SONG.id, sent)
    assert response.headers["Content-Type"] == asked


def test_faults_of_the_wire_also_hit_files(emulator: Emulator) -> None:
    emulator.configure(stems_reply="urls")
    emulator.fault("status", status=403, path="/files/" + SONG.id + "/drums.m4a", times=1)
    stems = download(emulator, "stems").json()["stems"]
    assert requests.get(stems["vocals"], timeout=5).status_code == 200
    assert requests.get(stems["drums"], timeout=5).status_code == 403
