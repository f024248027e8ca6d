"""The hook alone, against the emulator."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_riffusion import exceptions as errors
from airflow_provider_riffusion.emulator import Account, Emulator
from airflow_provider_riffusion.hooks import riffusion
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator
from tests.support.proxies import proxy
from tests.support.raw_server import ok, response, serve

pytestmark = pytest.mark.usefixtures("connection", "no_backoff")


def test_a_request_over_a_kept_connection_may_have_arrived(emulator: Emulator) -> None:
    hook = RiffusionHook()
    hook.get_accounts()
    emulator.fault("reset")
    with pytest.raises(errors.RiffusionConnectionError) as caught:
        hook.get_accounts(attempts=1)
    assert caught.value.may_have_arrived


def test_the_other_endpoints(emulator: Emulator) -> None:
    hook = RiffusionHook()
    assert "the sea" in hook.generate_lyrics("the sea")
    assert hook.get_account("user-1").user_id == "user-1"
    with pytest.raises(errors.RiffusionNotFoundError):
        hook.get_account("nobody")
    (job_id,) = hook.create(hook.create_request({"prompt": "a song"}))
    (job,) = hook.get_scheduler()
    assert (job.id, job.user_id) == (job_id, "user-1")
    assert hook.get_available()[0].executing == 1
    assert hook.delete_job(job_id)
    assert not hook.delete_job(job_id)
    assert hook.create(hook.create_request({"prompts": [{"text": "a"}]}))
    emulator.break_account("user-1")
    assert hook.post_account("fresh cookie of user-1", max_jobs=2).error is None
    assert hook.check_accounts()


@pytest.fixture
def song_id(emulator: Emulator) -> str:
    return emulator.songs[0].id


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_hook_downloads_to_a_file(emulator: Emulator, song_id: str, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"old")
    found = RiffusionHook().download(song_id, "wav", tmp_path / "x.wav")
    assert files_in(tmp_path) == {"x.wav": emulator.audio(song_id, "wav")}
    assert (found.name, found.path, found.size) == ("x", tmp_path / "x.wav", len(emulator.audio(song_id, "wav")))


def test_the_hook_downloads_stems_all_or_none(emulator: Emulator, song_id: str, tmp_path: Path) -> None:
    emulator.configure(stems_reply="urls")
    emulator.fault("status", status=404, path="bass")
    with pytest.raises(errors.RiffusionDownloadError):
        RiffusionHook().download_stems(song_id, tmp_path / "stems")
    assert files_in(tmp_path) == {}
    emulator.clear()
    found = RiffusionHook().download_stems(song_id, tmp_path / "stems")
    assert {file.path.name: file.path.read_bytes() for file in found} == {
        f"{name}.m4a": content for name, content in emulator.stems(song_id).items()
    }


def test_the_hook_refuses_what_it_cannot_download(song_id: str, tmp_path: Path, emulator: Emulator) -> None:
    with pytest.raises(errors.RiffusionConfigurationError, match="download_format"):
        RiffusionHook().download(song_id, "stems", tmp_path / "x")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(errors.RiffusionConfigurationError, match="song_id"):
        RiffusionHook().download("../x", "mp3", tmp_path / "x")
    assert emulator.requests == []


def test_the_hook_lists_songs_and_gets_one(emulator: Emulator, song_id: str) -> None:
    hook = RiffusionHook()
    assert [song.id for song in hook.list_songs()] == [song.id for song in emulator.songs]
    assert [song.id for song in hook.list_songs(offset=1, limit=2)] == [song.id for song in emulator.songs[1:3]]
    (song,) = hook.get_songs(song_id)
    assert (song.id, song.title, song.is_completed) == (song_id, emulator.songs[0].title, True)
    with pytest.raises(errors.RiffusionNotFoundError):
        hook.get_songs("unknown")


def test_accounts(emulator: Emulator, connect: Callable[..., None]) -> None:
    hook = RiffusionHook()
    assert [account.user_id for account in hook.check_accounts()] == ["user-1"]
    assert hook.test_connection() == (True, "The API token is good; healthy accounts: user-1")
    with pytest.raises(errors.RiffusionConfigurationError, match="'nobody'"):
        hook.check_accounts(user_id="nobody")

    emulator.break_account("user-1")
    emulator.clear()
    with pytest.raises(errors.RiffusionPendingError, match="user-1"):
        hook.check_accounts()
    assert emulator.count() == 1
    is_good, message = hook.test_connection()
    assert not is_good
    assert "user-1" in message

    connect(emulator.url, "wrong-token")
    is_good, message = RiffusionHook().test_connection()
    assert not is_good
    assert "401" in message
    assert "wrong-token" not in message


def test_a_form_that_is_tested_has_no_id_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TBCOIBAL", '{"conn_type": "riffusion"}')
    is_good, message = RiffusionHook("tBcOIBal").test_connection()
    assert not is_good
    assert message.startswith("password is (empty)")


def test_a_connection_that_is_missing_ends_a_task_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_RIFFUSION_DEFAULT")
    with pytest.raises(
        errors.RiffusionConfigurationError, match=r"no Airflow connection 'riffusion_default'\.\nAdd it"
    ):
        RiffusionHook().list_songs()


def test_an_account_that_is_broken_does_not_stop_another(connect: Callable[..., None]) -> None:
    with Emulator(accounts=[Account("a"), Account("b", error="pending")]) as emulator:
        connect(emulator.url, emulator.token, user_id="a")
        assert [account.user_id for account in RiffusionHook().check_accounts()] == ["a"]
        with pytest.raises(errors.RiffusionPendingError):
            RiffusionHook().check_accounts(user_id="b")


def test_no_accounts(connect: Callable[..., None]) -> None:
    with Emulator(accounts=[]) as emulator:
        connect(emulator.url, emulator.token)
        assert RiffusionHook().get_accounts() == []
        is_good, message = RiffusionHook().test_connection()
        assert not is_good
        assert "no Riffusion account is configured" in message


def test_a_404_of_another_server_is_not_taken_for_no_accounts(connect: Callable[..., None]) -> None:
    with serve(response("HTTP/1.1 404 Not Found\nContent-Length: 0\nConnection: close")) as server:
        connect(server.url, "t")
        hook = RiffusionHook()
        calls: list[Callable[[], object]] = [
            hook.get_accounts,
            lambda: hook.get_songs("song"),
            lambda: hook.poll_songs(["song"]),
            lambda: hook.delete_song("song"),
            lambda: hook.delete_job("job"),
        ]
        for call in calls:
            with pytest.raises(
                errors.RiffusionApiError, match=rf"(?s)HTTP 404.*Check the base URL.*{server.url}"
            ) as caught:
                call()
            assert not isinstance(caught.value, errors.RiffusionNotFoundError)


@pytest.mark.parametrize("trouble", ["no whole response", "a slow look-up of the name", "503"])
def test_a_connection_test_answers_soon(
    trouble: str, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not ended.wait(0.05):
            connection.sendall(b" ")

    def look_up(*arguments: Any, **options: Any) -> Any:
        # With this flag only a literal address is read, without asking a name server.
        if trouble == "a slow look-up of the name" and options.get("flags") != socket.AI_NUMERICHOST:
            ended.wait()
        return real(*arguments, **options)

    ended, real = threading.Event(), socket.getaddrinfo
    monkeypatch.setattr("airflow_provider_riffusion.hooks.riffusion._TEST_SECONDS", 0.3)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    busy = response("HTTP/1.1 503 Busy\nRetry-After: 100\nContent-Length: 0\nConnection: close")
    with serve(busy if trouble == "503" else drip) as server:
        connect(server.url, "t")
        start = time.monotonic()
        is_good, message = RiffusionHook().test_connection()
        seconds = time.monotonic() - start
        ended.set()
        assert len(server.requests) <= 1
    assert not is_good
    assert ("503" if trouble == "503" else f"{server.url} gave no whole response within 0.3 s") in message
    assert seconds < 5


def test_a_connection_test_ends_within_10_seconds() -> None:
    assert riffusion._TEST_SECONDS < 10


def test_unknown_extras_are_named_by_a_warning_and_by_the_connection_test(
    emulator: Emulator, connect: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    connect(emulator.url, emulator.token, tiemout=5, header={}, extra__riffusion__timeout=3, user_id="user-1")
    is_good, message = RiffusionHook().test_connection()
    assert is_good
    unknown = "extras that are unknown and have no effect: extra__riffusion__timeout, header, tiemout"
    assert message == f"The API token is good; healthy accounts: user-1; {unknown}"
    assert [record.getMessage() for record in caplog.records if "unknown" in record.getMessage()] == [
        f"Connection 'riffusion_default': {unknown}"
    ]


def test_every_secret_of_a_connection_is_masked(connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []
    monkeypatch.setattr(riffusion, "mask_secret", masked.append)
    proxies = {"https": "socks5h://someone:s%C3%BCss@proxy.example:1080"}
    connect("https://api.example", "user:token", headers={"X-Key": "gateway-key"}, proxies=proxies)
    shown = repr(RiffusionHook().settings)
    assert masked == ["user:token", "gateway-key", "süss"]
    assert not [secret for secret in (*masked, "s%C3%BCss") if secret in shown]


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_an_operator_behind_a_proxy_and_a_gateway_gets_its_song(
    scheme: str,
    emulator: Emulator,
    connect: Callable[..., None],
    song_id: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    headers = {"X-Gateway-Key": "canary-gateway-key"}
    with proxy(scheme) as way, caplog.at_level("DEBUG"):
        connect(emulator.url, emulator.token, headers=headers, proxies=way.url("someone:canary-password"))
        operator = RiffusionDownloadOperator(task_id="t", song_id=song_id, storage_path=str(tmp_path))
        result = operator.execute({})
    assert Path(result["path"]).read_bytes() == emulator.audio(song_id, "mp3")
    assert set(way.targets) == {emulator.url.removeprefix("http://")}
    assert set(way.users) == {"someone:canary-password"}
    assert "canary-" not in caplog.text + repr(vars(operator.hook)) + str(result)


def test_get_conn_names_what_to_use_instead() -> None:
    with pytest.raises(NotImplementedError) as raised:
        RiffusionHook().get_conn()
    wrong, remedy = str(raised.value).splitlines()
    assert len(wrong) <= 100
    names = re.findall(r"(\w+)\(\)|; (settings) for", remedy)
    assert len(names) > 10
    assert [name for name in map("".join, names) if not hasattr(RiffusionHook, name)] == []


@pytest.mark.parametrize("body", [b"[" * 100_000, b"\xff\xfe", b'[{"id": NaN}', b""])
def test_odd_json(connect: Callable[..., None], body: bytes) -> None:
    with serve(ok(body)) as server:
        connect(server.url, "t")
        with pytest.raises(errors.RiffusionDownloadError, match="no JSON"):
            RiffusionHook().list_songs()
