"""The emulator as a context manager, for tests and for the command line."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from airflow_provider_riffusion.emulator.riffusion.endpoints import EXPIRED_COOKIE, Endpoints
from airflow_provider_riffusion.emulator.riffusion.files import file_response
from airflow_provider_riffusion.emulator.riffusion.models import AcceptedCreate, Account, Settings, Song
from airflow_provider_riffusion.emulator.riffusion.state import State
from airflow_provider_riffusion.emulator.server.faults import Fault
from airflow_provider_riffusion.emulator.server.http_server import EmulatorServer
from airflow_provider_riffusion.emulator.server.request import path_matches
from airflow_provider_riffusion.emulator.server.request_log import LoggedRequest

# The example token of the vendor's documentation [D]; it opens nothing.
DEFAULT_TOKEN = "user:1234-abcdef"  # noqa: S105  # made up

_TITLES = ("Midnight Harbor", "Paper Lanterns", "Slow Satellite", "Copper Rain", "Northbound", "Glass Orchard")


def example_accounts(count: int = 1, max_jobs: int = 3) -> list[Account]:
    """
    Return accounts named ``user-1``, ``user-2`` and so on.

    :param count: how many
    :param max_jobs: how many generations each may run at once, 1 to 10 [D]
    """
    return [Account(f"user-{number}", max_jobs) for number in range(1, count + 1)]


def example_songs(count: int = 5, accounts: Sequence[Account] = (), duration_s: float | None = None) -> list[Song]:
    """
    Return songs with plausible titles, and with the same ids each time.

    :param count: how many
    :param accounts: the accounts to spread them over; none: all go to the first account
    :param duration_s: duration of each in seconds; None: 2 to 5 s
    """
    start = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)
    return [
        Song(
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://example.org/riffusion-emulator/{number}")),
            title=_TITLES[number % len(_TITLES)],
            duration_s=2.0 + number % 7 * 0.5 if duration_s is None else duration_s,
            user_id=accounts[number % len(accounts)].user_id if accounts else None,
            created_at=start + timedelta(minutes=number),
            lyrics=None if number % 2 else f"[Verse]\n{_TITLES[number % len(_TITLES)]}, come along",
        )
        for number in range(count)
    ]


class Emulator:
    """
    A stand-in for the Riffusion API on a real port, in threads of its own.

    :param token: the API token that requests must carry
    :param songs: the library; None: five songs
    :param accounts: the configured accounts; None: ``user-1``; an empty list: none
    :param host: address to listen on
    :param port: port to listen on; 0: a free one
    :param settings: the fields of :class:`Settings`, such as ``generation_seconds=0.2``
    """

    def __init__(
        self,
        *,
        token: str = DEFAULT_TOKEN,
        songs: Iterable[Song] | None = None,
        accounts: Iterable[Account] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        **settings: Any,
    ) -> None:
        account_list = tuple(example_accounts() if accounts is None else accounts)
        song_list = tuple(example_songs(accounts=account_list) if songs is None else songs)
        self.token = token
        self._address = (host, port)
        self._state = State(Settings(**settings), account_list, song_list)
        self._server: EmulatorServer | None = None
        self._thread: threading.Thread | None = None

    # --- life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen and answer, in daemon threads. OSError when the address is in use."""
        if self._thread is not None:
            raise RuntimeError("the emulator was started already")
        self._server = EmulatorServer(self._address, Endpoints(self.token, self._state))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.005,), name="riffusion-emulator", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop at once, also while responses stall; the request log stays readable."""
        if self._server is not None and self._thread is not None and self._thread.is_alive():
            self._server.stop()
            self._thread.join()

    @property
    def _running(self) -> EmulatorServer:
        if self._server is None:
            raise RuntimeError("the emulator is not started")
        return self._server

    @property
    def url(self) -> str:
        """Base URL such as ``http://127.0.0.1:54321``, without ``/v1/riffusion``."""
        return self._running.url

    # --- what happened

    @property
    def requests(self) -> list[LoggedRequest]:
        """The requests so far, oldest first; a copy."""
        return self._running.request_log.snapshot()

    def count(self, path: str | None = None, method: str | None = None) -> int:
        """
        Count logged requests.

        :param path: a part of their path; with a leading slash the whole path, trailing slash aside; None:
            any
        :param method: their HTTP method; None: any
        """
        return sum(path_matches(request.path, path) and method in (None, request.method) for request in self.requests)

    @property
    def accepted_creates(self) -> list[AcceptedCreate]:
        """The create requests that were accepted, and so are paid for, oldest first; :meth:`clear` keeps them."""
        return self._state.creates

    def clear(self) -> None:
        """Forget faults and requests."""
        self._running.faults.clear()
        self._running.request_log.clear()

    # --- what goes wrong

    def fault(self, what: str, **fields: Any) -> Fault:
        """
        Put a fault in force.

        :param what: one of :data:`FAULTS`
        :param fields: further fields of :class:`Fault`, such as ``times=2`` or ``path="music/download"``
        """
        fault = Fault(what, **fields)
        self._running.faults.add(fault)
        return fault

    def break_account(self, user_id: str) -> None:
        """Break an account: its endpoints answer 596 [D] until it is repaired."""
        self._state.set_account_error(user_id, EXPIRED_COOKIE)

    def repair_account(self, user_id: str) -> None:
        """Repair an account."""
        self._state.set_account_error(user_id, None)

    # --- what is there

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._state.settings

    def configure(self, **changes: Any) -> None:
        """Change fields of :class:`Settings`; jobs that run keep their duration and final status."""
        self._state.configure(**changes)

    @property
    def accounts(self) -> list[Account]:
        """All accounts as they are now."""
        return self._state.accounts()

    @property
    def songs(self) -> list[Song]:
        """All songs as they are now, newest first, also those that ``GET music`` does not show."""
        return self._state.songs()

    def add_song(self, song: Song) -> Song:
        """Put a song into the library, and return it with the account that it goes to."""
        return self._state.add_song(song)

    def set_song_status(self, song_id: str, status: str) -> None:
        """Give a song another status word, show it, and end the job that makes it."""
        self._state.set_song_status(song_id, status)

    def audio(self, song_id: str, kind: str = "mp3") -> bytes:
        """
        Return the bytes of a song's whole file.

        :param song_id: the song
        :param kind: ``mp3``, ``wav`` or ``m4a``
        """
        return file_response(self._state.song(song_id), kind).to_bytes()

    def stems(self, song_id: str) -> dict[str, bytes]:
        """Return the bytes of a song's stems by name."""
        song = self._state.song(song_id)
        return {name: file_response(song, name).to_bytes() for name in song.stems}
