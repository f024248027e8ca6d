"""The connection that leads to an emulator, and the fixture."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airflow_provider_riffusion.emulator import Account, Emulator
from airflow_provider_riffusion.exceptions import RiffusionConnectionError
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from airflow_provider_riffusion.testing import emulated_connection

pytestmark = pytest.mark.usefixtures("no_backoff")


def test_the_connection_leads_to_an_emulator_and_the_environment_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_RIFFUSION_DEFAULT", "riffusion://somewhere.example")
    monkeypatch.delenv("AIRFLOW_CONN_STUDIO", raising=False)
    before = dict(os.environ)
    with emulated_connection() as first, emulated_connection(conn_id="studio") as other:
        for emulator, conn_id in ((first, "riffusion_default"), (other, "studio")):
            RiffusionHook(conn_id).check_accounts()
            assert emulator.count() == 1
    assert dict(os.environ) == before
    # Both were started here, and so were stopped here.
    with emulated_connection(first), pytest.raises(RiffusionConnectionError, match="refused"):
        RiffusionHook().check_accounts(attempts=1)
    with pytest.raises(ZeroDivisionError), emulated_connection(first):
        raise ZeroDivisionError
    assert dict(os.environ) == before


def test_an_emulator_of_ones_own_goes_on_and_extras_reach_the_hook() -> None:
    with Emulator(accounts=[Account("user-1"), Account("user-2")]) as emulator:
        with emulated_connection(emulator, storage_path="/songs", user_id="user-2") as same:
            assert same is emulator
            assert [account.user_id for account in RiffusionHook().check_accounts()] == ["user-2"]
            assert RiffusionHook().settings.storage_path == "/songs"
        with emulated_connection(emulator):
            assert len(RiffusionHook().check_accounts()) == 2


def test_a_proxy_of_the_network_does_not_stand_between(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # Nobody listens there.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with emulated_connection():
        assert RiffusionHook().check_accounts(attempts=1)


TEST_OF_A_USER = """
import os

def test_the_fixture(riffusion_emulator):
    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

    riffusion_emulator.fault("status", status=596, times=1)
    assert riffusion_emulator.url in os.environ["AIRFLOW_CONN_RIFFUSION_DEFAULT"]
    assert not RiffusionHook().test_connection()[0]
    assert len(riffusion_emulator.requests) == 1
"""


def test_pytest_gives_the_fixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Where the package is installed, pytest has loaded the plugin already; loaded twice, it would be refused.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "test_of_a_user.py").write_text(TEST_OF_A_USER)
    monkeypatch.syspath_prepend(tmp_path)
    options = ["-q", "-c", os.devnull, f"--rootdir={tmp_path}", "-p", "no:cacheprovider"]
    options += ["-p", "no:faulthandler", "-p", "no:unraisableexception"]
    plugin = ["-p", "airflow_provider_riffusion.testing.pytest_plugin"]
    assert pytest.main([*options, *plugin, str(tmp_path)]) == 0, capsys.readouterr().out
