"""What the commands of ``airflow riffusion`` do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING

from airflow.cli.simple_table import AirflowConsole
from airflow.utils.providers_configuration_loader import providers_configuration_loaded
from rich.markup import escape

from airflow_provider_riffusion.cli.cookie import read_cookie
from airflow_provider_riffusion.exceptions import RiffusionError
from airflow_provider_riffusion.hooks.riffusion import DEFAULT_MAX_JOBS, RiffusionHook
from airflow_provider_riffusion.useapi.errors import ACCOUNTS_PAGE

if TYPE_CHECKING:
    from argparse import Namespace

    from airflow_provider_riffusion.useapi.models import Account

_BROKEN, _UNASKED = 1, 2


def _command(run: Callable[[Namespace], int]) -> Callable[[Namespace], None]:
    """Make a command of a function that returns an exit code; an error of ours ends it without a traceback."""

    @wraps(run)
    def command(args: Namespace) -> None:
        # Without this, Airflow looks for connections in the environment alone and not in its database.
        os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
        try:
            code = run(args)
        except RiffusionError as error:
            print(error, file=sys.stderr)
            code = _UNASKED
        if code:
            sys.exit(code)

    return providers_configuration_loaded(command)


@_command
def accounts(args: Namespace) -> int:
    """
    List the accounts.

    :param args: ``conn_id`` and ``output``
    """
    found = RiffusionHook(args.conn_id).get_accounts(attempts=1)
    # A table would take what stands in square brackets for markup.
    words = escape if args.output == "table" else str
    rows = [
        {
            "user_id": words(account.user_id),
            "max_jobs": account.max_jobs,
            "broken": account.error is not None,
            "error": words(account.error or ""),
        }
        for account in found
    ]
    AirflowConsole().print_as(data=rows, output=args.output)
    if found and not _broken(found):
        return 0
    what = "Post a fresh cookie with the command account-cookie, then clear the failed tasks."
    print(f"{what}\n{ACCOUNTS_PAGE}", file=sys.stderr)
    return _BROKEN


@_command
def account_cookie(args: Namespace) -> int:
    """
    Read a cookie from standard input, and post it.

    :param args: ``conn_id`` and ``max_jobs``
    """
    hook = RiffusionHook(args.conn_id)
    # The vendor takes each cookie only once, so that a wrong token or host should show before the cookie is sent.
    before = {account.user_id: account for account in hook.get_accounts(attempts=1)}
    broken = _broken(before.values())
    cookie = read_cookie()
    # The vendor overwrites the number, and whoever repairs an account at night does not mean to change it.
    likely = broken or list(before.values())
    max_jobs = args.max_jobs or (likely[0].max_jobs if len(likely) == 1 else None) or DEFAULT_MAX_JOBS
    account = hook.post_account(cookie, max_jobs=max_jobs)
    old = before.pop(account.user_id, None)
    if account.error is not None:
        print(f"Account {account.user_id} is still broken: {account.error}", file=sys.stderr)
        return _BROKEN
    did = "was added" if old is None else "has a fresh cookie" if old.error is None else "is repaired"
    print(f"Account {account.user_id} {did}; it may make {account.max_jobs or max_jobs} songs at once.")
    for other in _broken(before.values()):
        print(f"Account {other.user_id} is still broken: {other.error}", file=sys.stderr)
    return 0


def _broken(found: Iterable[Account]) -> list[Account]:
    return [account for account in found if account.error is not None]
