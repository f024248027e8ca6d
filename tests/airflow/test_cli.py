"""Airflow's command line, run in this process, where Airflow is imported already."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest
from airflow.cli import cli_parser

from airflow_provider_riffusion.emulator import Emulator

pytestmark = pytest.mark.usefixtures("airflow_db", "connection")


@pytest.fixture
def airflow(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, str]]:
    """Run a command: ``airflow(*arguments)`` returns its exit code and what it printed."""
    monkeypatch.setenv("COLUMNS", "400")

    def run(*arguments: str) -> tuple[Any, str]:
        parsed = cli_parser.get_parser().parse_args(arguments)
        code: Any = 0
        try:
            parsed.func(parsed)
        except SystemExit as error:
            code = error.code or 0
        return code, capsys.readouterr().out

    return run


def test_airflow_shows_the_provider(airflow: Callable[..., tuple[Any, str]]) -> None:
    _, shown = airflow("providers", "get", "airflow-provider-riffusion", "--full", "--output", "json")
    for part in ("hooks.riffusion.RiffusionHook", "airflow_provider_riffusion.operators.riffusion", "connection-type"):
        assert part in shown, shown


def test_airflow_tests_the_connection(
    airflow: Callable[..., tuple[Any, str]], emulator: Emulator, connect: Callable[..., None]
) -> None:
    code, shown = airflow("connections", "test", "riffusion_default")
    assert code == 0
    assert "Connection success!" in shown
    connect(emulator.url, "wrong")
    code, shown = airflow("connections", "test", "riffusion_default")
    assert "Check the API token" in shown
    # Airflow 3.1 exits with 0 however the test went.
    assert bool(code) is (metadata.version("apache-airflow-core") >= "3.2")
