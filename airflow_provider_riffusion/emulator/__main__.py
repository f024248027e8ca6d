"""Command line of the emulator: ``python -m airflow_provider_riffusion.emulator``."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import signal
import sys
import threading
from dataclasses import asdict
from typing import Any

from airflow_provider_riffusion.emulator.emulator import (
    DEFAULT_TOKEN,
    Emulator,
    example_accounts,
    example_songs,
)
from airflow_provider_riffusion.emulator.riffusion.models import (
    AUDIO_REPLIES,
    JOB_REPLIES,
    MISSING_STEMS,
    STEMS_REPLIES,
)
from airflow_provider_riffusion.emulator.server.faults import FAULTS, Fault, parse_fault


def _fault(text: str) -> Fault:
    try:
        return parse_fault(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_riffusion.emulator",
        description="A stand-in server for the Riffusion API, to rehearse DAGs against.",
        epilog=f"Faults: {', '.join(FAULTS)}. Their fields: times, path, song_id, method, status, body, "
        "message, retry_after, after_bytes, seconds, bytes_per_second, url, framing.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8596, help="port to listen on, 0: a free one (%(default)s)")
    parser.add_argument("--token", default=DEFAULT_TOKEN, help="API token that requests must carry (%(default)s)")
    parser.add_argument("--accounts", type=_positive, default=1, metavar="N", help="number of accounts (1)")
    parser.add_argument("--max-jobs", type=_positive, default=3, metavar="N", help="jobs per account at once (3)")
    parser.add_argument("--songs", type=_natural, default=5, metavar="N", help="songs in the library (5)")
    parser.add_argument(
        "--song-seconds", type=float, metavar="S", help="duration of each wav (2 to 5; 3 for new songs)"
    )
    parser.add_argument(
        "--generation-seconds", type=float, default=3.0, metavar="S", help="time that a generation takes (3)"
    )
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
    parser.add_argument("--job-reply", choices=JOB_REPLIES, help="how a create answers")
    parser.add_argument("--songs-per-job", type=_positive, metavar="N", help="songs that a create yields (2)")
    parser.add_argument("--final-status", metavar="WORD", help="status that a generation ends with (complete)")
    parser.add_argument("--moderated-word", metavar="WORD", help="word that makes a prompt moderated (moderated)")
    parser.add_argument("--failing-word", metavar="WORD", help="word that makes a generation fail (failing)")
    parser.add_argument("--retry-after", metavar="VALUE", help="Retry-After header when all slots are full (none)")
    parser.add_argument("--audio-reply", choices=AUDIO_REPLIES, help="how mp3 and wav are answered")
    parser.add_argument("--stems-reply", choices=STEMS_REPLIES, help="shape of the stems JSON")
    parser.add_argument("--missing-stems", choices=MISSING_STEMS, help="how a missing stem shows")
    parser.add_argument("--content-type", help="Content-Type of mp3 and wav (audio/mpeg, audio/wav)")
    parser.add_argument("--quiet", action="store_true", help="no line per request")
    return parser


_SETTINGS = (
    "generation_seconds",
    "job_reply",
    "songs_per_job",
    "song_seconds",
    "final_status",
    "moderated_word",
    "failing_word",
    "retry_after",
    "audio_reply",
    "stems_reply",
    "missing_stems",
    "content_type",
)


def make_emulator(arguments: argparse.Namespace) -> Emulator:
    """
    Return the emulator that a command line asks for, not started.

    :param arguments: the parsed command line
    """
    accounts = example_accounts(arguments.accounts, arguments.max_jobs)
    settings: dict[str, Any] = {
        name: getattr(arguments, name) for name in _SETTINGS if getattr(arguments, name) is not None
    }
    return Emulator(
        token=arguments.token,
        songs=example_songs(arguments.songs, accounts, arguments.song_seconds),
        accounts=accounts,
        host=arguments.host,
        port=arguments.port,
        **settings,
    )


def greeting(emulator: Emulator) -> str:
    """
    Return what a newcomer needs to know to use a running emulator.

    :param emulator: the emulator
    """
    # 0.0.0.0 is an address to listen on, not one to connect to.
    url = emulator.url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    several = len(emulator.accounts) > 1
    connection: dict[str, Any] = {"conn_type": "riffusion", "host": url, "password": emulator.token}
    if several:
        connection["extra"] = {"user_id": emulator.accounts[0].user_id}
    lines = [f"Riffusion API emulator on {url} (Ctrl-C ends it)", "", f"  token     {emulator.token}"]
    for account in emulator.accounts:
        lines.append(f"  account   {account.user_id}{f' (broken: {account.error})' if account.error else ''}")
    for song in emulator.songs:
        lines.append(f"  song      {song.id}  {song.title}{f' ({song.user_id})' if several else ''}")
    environment = shlex.quote(json.dumps(connection, separators=(",", ":")))
    lines += ["", "Airflow connection:", f"  export AIRFLOW_CONN_RIFFUSION_DEFAULT={environment}"]
    if emulator.songs:
        song = emulator.songs[0]
        query = f"id={song.id}&download_format=mp3{f'&user_id={song.user_id}' if several else ''}"
        authorization = shlex.quote(f"Authorization: Bearer {emulator.token}")
        lines += [
            "",
            "Try it:",
            f"  curl -H {authorization} -o song.mp3 '{url}/v1/riffusion/music/download/?{query}'",
        ]
    lines += [
        "",
        "Break and repair the account, order a fault, read the request log:",
        f"  curl -X POST {url}/_emulator/accounts/{emulator.accounts[0].user_id}/break",
        f"  curl -X POST {url}/_emulator/accounts/{emulator.accounts[0].user_id}/repair",
        f'  curl -d \'{{"status":503,"times":2,"path":"music/download"}}\' {url}/_emulator/faults',
        f"  curl {url}/_emulator/requests",
        "",
    ]
    return "\n".join(lines)


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
        print(f"cannot listen on {arguments.host} port {arguments.port}: {error}", file=sys.stderr)
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
