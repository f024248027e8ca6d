"""The night that docs/runbook-596.md tells of."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from airflow_provider_riffusion.emulator import Emulator
from airflow_provider_riffusion.exceptions import RiffusionUnauthorizedError
from tests.support.dag_runs import ROOT, outcomes_of, run_dag
from tests.support.processes import free_port

pytestmark = pytest.mark.usefixtures("airflow_db", "connection")

DAGS = ROOT / "tests/airflow/dags/snippets.py"
DAG = "newest_songs"


class Human:
    """Gets mail, and repairs the account that it names."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Take a mail, under the name that aiosmtpd gives."""
        self.mails.append(message_from_bytes(envelope.content, EmailMessage, policy=policy.default))
        self._emulator.repair_account("user-1")
        return "250 OK"


@pytest.fixture
def human(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Human]:
    """Someone whose mail server is on this machine, and is Airflow's."""
    someone = Human(emulator)
    controller = Controller(someone, hostname="127.0.0.1", port=free_port())
    controller.start()
    extra = {"disable_ssl": True, "disable_tls": True}
    value = {"conn_type": "smtp", "host": "127.0.0.1", "port": controller.port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(value))
    yield someone
    controller.stop()


def test_a_broken_account_sends_one_mail_and_the_dag_goes_on_after_the_repair(
    emulator: Emulator, connect: Callable[..., None], tmp_path: Path, human: Human
) -> None:
    connect(emulator.url, emulator.token, storage_path=str(tmp_path))
    emulator.break_account("user-1")
    run = run_dag(DAGS, name=DAG)
    assert outcomes_of(run) == {
        "alert": ("failed", 1),
        "gate": ("success", 1),
        "songs": ("success", 1),
        **{f"download[{number}]": ("success", 1) for number in range(3)},
    }
    assert run.state == "success"
    assert len(list(tmp_path.glob("*.mp3"))) == 3
    (mail,) = human.mails
    body = mail.get_body(["html"])
    assert body is not None
    text = body.get_content()
    assert "The Riffusion account user-1 is broken" in text
    assert "https://useapi.net/docs/api-riffusion-v1/post-riffusion-accounts" in text
    assert mail["Subject"] == "newest_songs waits: a Riffusion account is broken"


def test_another_failure_sends_no_mail(human: Human) -> None:
    (mail_the_broken_account,) = runpy.run_path(str(DAGS))[DAG].get_task("alert").on_failure_callback
    mail_the_broken_account({"exception": RiffusionUnauthorizedError("The API refused the token (HTTP 401).")})
    mail_the_broken_account({})
    assert human.mails == []
