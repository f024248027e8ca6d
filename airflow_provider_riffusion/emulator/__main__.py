"""Command line of the emulator: ``python -m airflow_provider_riffusion.emulator``."""

from __future__ import annotations

import argparse
import json
import logging
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from airflow_provider_riffusion.emulator.emulator import (
    DEFAULT_TOKEN,
    Emulator,
    example_accounts,
    example_songs,
)
from airflow_provider_riffusion.emulator.riffusion.models import Settings
from airflow_provider_riffusion.emulator.server.faults import FAULTS, Fault, parse_fault


def _fault(text: str) -> Fault:
    try:
        return parse_fault(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _from(lowest: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text} is below {lowest}")
        return int(text)

    return whole_number


def _descriptions(kind: type) -> dict[str, str]:
    """Return what the docstring of a class says of each parameter."""
    found = re.findall(r":param (\w+): (.*?)(?=\n\s*:param|\s*\Z)", kind.__doc__ or "", re.DOTALL)
    return {name: " ".join(text.replace("``", "").split()) for name, text in found}


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add an option for each field of :class:`Settings`; None, its default, leaves the setting as it is."""
    group = parser.add_argument_group(
        "settings", "How the service behaves. Known from: [D] the vendor's documentation, [C] code, [?] nobody."
    )
    descriptions, kinds = _descriptions(Settings), get_type_hints(Settings)
    for setting in fields(Settings):
        kind = kinds[setting.name]
        choices = get_args(kind) if get_origin(kind) is Literal else None
        group.add_argument(
            f"--{setting.name.replace('_', '-')}",
            choices=choices,
            type=kind if kind in (int, float) else str,
            metavar={float: "S", int: "N", str: "WORD"}.get(kind, None if choices else "VALUE"),
            help=f"{descriptions.get(setting.name, '')} ({setting.default})".replace("%", "%%"),
        )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    lines = [
        'faults, as --fault NAME,FIELD=VALUE,... or as {"what": "NAME", "FIELD": VALUE} to POST /_emulator/faults:',
        *(f"  {name}: {text}" for name, text in FAULTS.items()),
        "fields of a fault:",
        *(f"  {name}: {text}" for name, text in _descriptions(Fault).items() if name != "what"),
    ]
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_riffusion.emulator",
        description="A stand-in server for the Riffusion API, to rehearse DAGs against.",
        epilog="\n".join(lines).replace("``", ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8596, help="port to listen on, 0: a free one (%(default)s)")
    parser.add_argument("--token", default=DEFAULT_TOKEN, help="API token that requests must carry (%(default)s)")
    parser.add_argument("--accounts", type=_from(1), default=1, metavar="N", help="number of accounts (1)")
    parser.add_argument("--max-jobs", type=_from(1), default=3, metavar="N", help="jobs per account at once (3)")
    parser.add_argument("--songs", type=_from(0), default=5, metavar="N", help="songs in the library (5)")
    parser.add_argument("--broken-account", action="store_true", help="start with the first account broken (596)")
    parser.add_argument(
        "--fault",
        type=_fault,
        action="append",
        default=[],
        dest="faults",
        metavar="FAULT",
        help="such as status=503,times=2,path=music/download or reset,after_bytes=1000; may be repeated",
    )
    parser.add_argument("--quiet", action="store_true", help="no line per request")
    _add_settings(parser)
    return parser


def make_emulator(arguments: argparse.Namespace) -> Emulator:
    """
    Return the emulator that a command line asks for, not started.

    :param arguments: the parsed command line
    """
    accounts = example_accounts(arguments.accounts, arguments.max_jobs)
    given = {setting.name: getattr(arguments, setting.name) for setting in fields(Settings)}
    return Emulator(
        token=arguments.token,
        songs=example_songs(arguments.songs, accounts, arguments.song_seconds),
        accounts=accounts,
        host=arguments.host,
        port=arguments.port,
        **{name: value for name, value in given.items() if value is not None},
    )


def greeting(emulator: Emulator) -> str:
    """
    Return what a newcomer needs to know to use a running emulator.

    :param emulator: the emulator
    """
    # 0.0.0.0 is an address to listen on, not one to connect to.
    url = emulator.url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    first, *others = emulator.accounts
    connection: dict[str, Any] = {"conn_type": "riffusion", "host": url, "password": emulator.token}
    if others:
        connection["extra"] = {"user_id": first.user_id}
    lines = [f"Riffusion API emulator on {url} (Ctrl-C ends it)", "", f"  token     {emulator.token}"]
    for account in emulator.accounts:
        lines.append(f"  account   {account.user_id}{f' (broken: {account.error})' if account.error else ''}")
    for song in emulator.songs:
        lines.append(f"  song      {song.id}  {song.title}{f' ({song.user_id})' if others else ''}")
    environment = shlex.quote(json.dumps(connection, separators=(",", ":")))
    lines += [
        "",
        "The connection, for the shell in which Airflow runs:",
        f"  export AIRFLOW_CONN_RIFFUSION_DEFAULT={environment}",
    ]
    for song in emulator.songs[:1]:
        query = f"id={song.id}&download_format=mp3{f'&user_id={song.user_id}' if others else ''}"
        authorization = shlex.quote(f"Authorization: Bearer {emulator.token}")
        download = f"curl -H {authorization} -o song.mp3 '{url}/v1/riffusion/music/download/?{query}'"
        lines += ["", "Try it without Airflow:", f"  {download}"]
    control = f"{url}/_emulator"
    return (
        "\n".join(lines)
        + f"""

Break and repair the account, order a fault, read the request log:
  curl -X POST {control}/accounts/{first.user_id}/break
  curl -X POST {control}/accounts/{first.user_id}/repair
  curl -d '{{"status":503,"times":2,"path":"music/download"}}' {control}/faults
  curl -d '{{"what":"drip","bytes_per_second":1000,"times":2}}' {control}/faults
  curl {control}/requests
"""
    )


def main(argv: list[str] | None = None) -> int:
    """
    Run the emulator until Ctrl-C or SIGTERM.

    :param argv: the arguments; None: those of the process
    """
    parser = build_parser()
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING if arguments.quiet else logging.INFO, format="%(asctime)s %(message)s")
    try:
        emulator = make_emulator(arguments)
    except ValueError as error:
        parser.error(str(error))
    try:
        emulator.start()
    except (OSError, OverflowError) as error:
        print(
            f"cannot listen on {arguments.host} port {arguments.port}: {error}\n"
            "If another emulator runs there, use or end that one; otherwise give another --port, or 0 for a free one.",
            file=sys.stderr,
        )
        return 1
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    if arguments.broken_account:
        emulator.break_account(emulator.accounts[0].user_id)
    for fault in arguments.faults:
        emulator.fault(**asdict(fault))
    print(greeting(emulator), flush=True)
    ended.wait()
    emulator.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
