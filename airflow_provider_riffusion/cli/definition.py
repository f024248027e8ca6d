"""The commands of ``airflow riffusion``. Every ``airflow`` command imports this module, so that it imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.cli.cli_config import ActionCommand, CLICommand


def get_riffusion_cli_commands() -> list[CLICommand]:
    """Return the group ``riffusion``, for the key ``cli`` of the provider info, which Airflow reads from 3.2 on."""
    from airflow.cli.cli_config import GroupCommand

    return [GroupCommand(name="riffusion", help="Look at accounts, and repair them", subcommands=get_commands())]


def get_commands() -> list[ActionCommand]:
    """Return the commands of the group."""
    from airflow.cli.cli_config import ARG_OUTPUT, ARG_VERBOSE, ActionCommand, Arg, lazy_load_command

    conn_id = Arg(
        ("--conn-id",), default="riffusion_default", help="Airflow connection of the type riffusion (%(default)s)"
    )
    max_jobs = Arg(
        ("--max-jobs",),
        type=int,
        # The range of the API once more, because a cookie is not asked for in vain, and nothing is imported here.
        choices=range(1, 11),
        metavar="N",
        help="songs that the account may make at once, 1 to 10 (as the only broken, or only, account had it; else 3)",
    )
    commands = f"{__package__}.commands"
    accounts = ActionCommand(
        name="accounts",
        help="List the accounts, and which are broken",
        description="List the accounts of the connection's API token. Exit code 1 when an account is broken or none is "
        "configured, 2 when the API cannot be asked.",
        func=lazy_load_command(f"{commands}.accounts"),
        args=(conn_id, ARG_OUTPUT, ARG_VERBOSE),
    )
    account_cookie = ActionCommand(
        name="account-cookie",
        help="Give a broken account a fresh cookie",
        description="Read a cookie from standard input, hidden at a terminal, and post it. The vendor knows by the "
        "cookie which account it is for. Exit code 1 when the account is broken all the same, 2 after another failure.",
        func=lazy_load_command(f"{commands}.account_cookie"),
        args=(conn_id, max_jobs, ARG_VERBOSE),
    )
    return [accounts, account_cookie]
