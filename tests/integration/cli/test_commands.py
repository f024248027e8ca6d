"""The commands for accounts, in this process."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from airflow.utils import yaml

from airflow_provider_riffusion.__main__ import main
from airflow_provider_riffusion.emulator import Account, Emulator
from airflow_provider_riffusion.exceptions import RiffusionBadRequestError
from airflow_provider_riffusion.hooks.riffusion import RiffusionHook
from airflow_provider_riffusion.useapi import models
from tests.support.commands import Ended, Run, runner

pytestmark = pytest.mark.usefixtures("connection")

COOKIE = "sb-auth=canary-0123456789abcdef; session=canary-of-user-1"


@pytest.fixture
def riffusion(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command: ``riffusion("accounts")``."""
    run = runner(capsys, monkeypatch)
    return lambda *arguments: run(main, list(arguments))


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put text where a command reads its standard input."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


# --- accounts


def cells(text: str, divider: str) -> list[list[str]]:
    """Return the cells of the accounts' lines."""
    return [[cell.strip() for cell in re.split(divider, line)] for line in text.splitlines() if "user-" in line]


@pytest.mark.parametrize(
    ("output", "read"),
    [
        ("json", json.loads),
        ("yaml", yaml.safe_load),
        ("table", lambda text: cells(text, r"\|")),
        ("plain", lambda text: cells(text, "  +")),
    ],
)
def test_accounts_tells_which_account_is_broken_in_the_vendors_words(
    connect: Callable[..., None], riffusion: Run, output: str, read: Callable[[str], list[object]]
) -> None:
    # Square brackets would be markup of the table, and a closing one alone a traceback.
    accounts = [Account("user-1", 3), Account("user-2", 5, "Unable to refresh [/cookie]")]
    with Emulator(accounts=accounts) as emulator:
        connect(emulator.url, emulator.token)
        ended = riffusion("accounts", "--output", output)
        assert emulator.count() == 1
    healthy, broken = read(ended.out)
    expected = ["user-2", "5", "True", "Unable to refresh [/cookie]"]
    if isinstance(broken, dict):
        assert broken == dict(zip(("user_id", "max_jobs", "broken", "error"), expected, strict=True))
    else:
        assert broken == expected
    assert "user-1" in str(healthy)
    assert ended.code == 1
    assert "account-cookie" in ended.err
    assert "https://useapi.net/docs" in ended.err


def test_accounts_ends_well_when_none_is_broken(riffusion: Run) -> None:
    ended = riffusion("accounts")
    assert (ended.code, ended.err) == (0, "")
    assert "user-1" in ended.out


def test_accounts_fails_when_there_is_none(connect: Callable[..., None], riffusion: Run) -> None:
    with Emulator(accounts=[]) as emulator:
        connect(emulator.url, emulator.token)
        assert riffusion("accounts").code == 1


def test_a_wrong_token_is_told_without_a_traceback(
    emulator: Emulator, connect: Callable[..., None], riffusion: Run, give: Callable[[str], None]
) -> None:
    connect(emulator.url, "wrong")
    give(COOKIE)
    for command in ("accounts", "account-cookie"):
        ended = riffusion(command)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("The API refused the token (HTTP 401).\nCheck the API token")
        assert "Traceback" not in ended.err
    # The cookie, which counts only once, was kept back.
    assert emulator.count(method="POST") == 0


def test_a_connection_that_is_missing_is_named(riffusion: Run) -> None:
    ended = riffusion("accounts", "--conn-id", "missing")
    assert ended.code == 2
    assert "There is no Airflow connection 'missing'" in ended.err


# --- account-cookie


def test_a_cookie_from_standard_input_repairs_the_account_and_keeps_its_slots(
    connect: Callable[..., None], riffusion: Run, give: Callable[[str], None]
) -> None:
    accounts = [Account("user-1", 5, "Unable to refresh cookie"), Account("user-2", 3)]
    with Emulator(accounts=accounts) as emulator:
        connect(emulator.url, emulator.token)
        give(f"{COOKIE}\n")
        ended = riffusion("account-cookie")
        assert ended == Ended(0, "Account user-1 is repaired; it may make 5 songs at once.\n", "")
        assert emulator.accounts == [Account("user-1", 5), Account("user-2", 3)]
        give("another cookie of user-2, which is healthy")
        assert "user-2 has a fresh cookie; it may make 7" in riffusion("account-cookie", "--max-jobs", "7").out
        emulator.break_account("user-2")
        give("a cookie of user-1, and not of user-2")
        ended = riffusion("account-cookie")
        assert "Account user-1 has a fresh cookie" in ended.out
        assert "user-2 is still broken: Unable to refresh cookie" in ended.err


def test_a_cookie_that_the_vendor_quotes_in_its_refusal_is_not_shown(
    emulator: Emulator, riffusion: Run, give: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    message = f"'{COOKIE[:30]}...' has expired, see {COOKIE}"
    emulator.fault("status", status=400, body="json-text-code", message=message, method="POST")
    give(COOKIE)
    with caplog.at_level("DEBUG"):
        ended = riffusion("account-cookie")
    assert ended.code == 2
    assert "'***...' has expired, see ***" in ended.err
    assert "canary" not in ended.err + ended.out + caplog.text
    with pytest.raises(RiffusionBadRequestError) as caught:
        RiffusionHook().post_account(COOKIE)
    assert "canary" not in repr(vars(caught.value))


def test_an_account_that_is_broken_all_the_same_fails(
    monkeypatch: pytest.MonkeyPatch, riffusion: Run, give: Callable[[str], None]
) -> None:
    answer = models.Account("user-1", 3, "Unable to refresh cookie")
    monkeypatch.setattr(RiffusionHook, "post_account", lambda *_, **__: answer)
    give(COOKIE)
    ended = riffusion("account-cookie")
    assert ended == Ended(1, "", "Account user-1 is still broken: Unable to refresh cookie\n")


@pytest.mark.parametrize("text", ["", " \n", "one line\nanother"])
def test_what_is_no_cookie_is_not_sent(
    emulator: Emulator, riffusion: Run, give: Callable[[str], None], text: str
) -> None:
    give(text)
    ended = riffusion("account-cookie")
    assert ended.code == 2
    assert ended.err == "The cookie is not a line of text; give the whole cookie on one line, without quotes.\n"
    assert emulator.count(method="POST") == 0
    # A process's arguments can be read by all users of its machine.
    assert riffusion("account-cookie", "--cookie", COOKIE).code == 2


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """A terminal as standard input: its other end, and itself."""
    ours, theirs = pty.openpty()
    with open(theirs, closefd=False) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield ours, theirs
    os.close(theirs)
    os.close(ours)


@contextmanager
def typing(terminal: tuple[int, int], *lines: str) -> Iterator[None]:
    """Type lines as soon as the terminal hides them."""
    ours, theirs = terminal

    def type_when_it_is_hidden() -> None:
        while termios.tcgetattr(theirs)[3] & termios.ECHO:
            time.sleep(0.001)
        for line in lines:
            os.write(ours, f"{line}\n".encode())

    thread = threading.Thread(target=type_when_it_is_hidden, daemon=True)
    thread.start()
    yield
    thread.join()


def test_a_cookie_with_a_line_break_is_refused_at_a_terminal_as_a_whole(
    emulator: Emulator, riffusion: Run, terminal: tuple[int, int]
) -> None:
    with typing(terminal, "the first half", "the second half"):
        ended = riffusion("account-cookie")
    assert ended.code == 2
    assert "half" not in ended.err + ended.out
    assert emulator.count(method="POST") == 0
    # Nothing is left that the shell would show and run.
    assert select.select(terminal, [], [], 0)[0] == []


def test_a_cookie_in_the_account_that_the_vendor_returns_is_not_shown(
    emulator: Emulator, riffusion: Run, give: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = models.Account("user-1", 3, f"{COOKIE} has expired")
    monkeypatch.setattr("airflow_provider_riffusion.useapi.client.UseapiClient.send_json", lambda *_, **__: answer)
    give(COOKIE)
    assert riffusion("account-cookie").err == "Account user-1 is still broken: *** has expired\n"


def test_a_cookie_in_an_error_that_is_no_text_is_not_shown(
    emulator: Emulator, riffusion: Run, give: Callable[[str], None]
) -> None:
    cookie = 'a="canary-1234567"; b="canary-7654321"'
    emulator.fault("status", status=400, body="json-text-code", message=json.dumps({"got": cookie}), method="POST")
    give(cookie)
    ended = riffusion("account-cookie")
    assert "***" in ended.err
    assert "canary" not in ended.err


def test_without_standard_input_there_is_no_cookie(riffusion: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert riffusion("account-cookie").code == 2


def test_a_terminal_takes_a_long_cookie_and_does_not_show_it(
    emulator: Emulator, riffusion: Run, terminal: tuple[int, int]
) -> None:
    emulator.break_account("user-1")
    ours, theirs = terminal
    before = termios.tcgetattr(theirs)
    # Longer than a line that a terminal edits itself, which ends after 4,095 characters.
    cookie = f"{COOKIE}{'x' * 6000}"
    with typing(terminal, cookie):
        ended = riffusion("account-cookie")
    assert "is repaired" in ended.out
    with pytest.raises(RiffusionBadRequestError, match="already used"):
        RiffusionHook().post_account(cookie)
    assert "not shown" in ended.err
    assert termios.tcgetattr(theirs) == before
    assert select.select([ours], [], [], 0)[0] == []
