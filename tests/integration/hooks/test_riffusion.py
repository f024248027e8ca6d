"""The hook alone, against the emulator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_riffusion import exceptions as errors
from airflow_provider_riffusion.emulator import Account, Emulator
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
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
    (job_id,) = hook.create_prompt("a song")
    (job,) = hook.get_scheduler()
    assert (job.id, job.user_id) == (job_id, "user-1")
    assert hook.get_available()[0].executing == 1
    assert hook.delete_job(job_id)
    assert not hook.delete_job(job_id)
    assert hook.create_compose([{"text": "a"}])
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
        with pytest.raises(errors.RiffusionNotFoundError):
            RiffusionHook().get_accounts()


@pytest.mark.parametrize("body", [b"[" * 100_000, b"\xff\xfe", b'[{"id": NaN}', b""])
def test_odd_json(connect: Callable[..., None], body: bytes) -> None:
    with serve(ok(body)) as server:
        connect(server.url, "t")
        with pytest.raises(errors.RiffusionDownloadError, match="no JSON"):
            RiffusionHook().list_songs()
