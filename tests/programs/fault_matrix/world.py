"""The servers of one cell: the emulator, a fault before it, and the name that leads there."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_provider_riffusion.emulator import Emulator, Song
from tests.programs.fault_matrix.faults import Fault, Good
from tests.support.raw_server import NoTls, RawServer, Script, ok, serve
from tests.support.relay import relay

#: Shown nowhere, whatever happens.
TOKEN = "user:7319-cAnArYbird"
API_NAME = "api.matrix.invalid"
SONG = "song-1"
OTHER_SONG = "song-2"
#: The stem that a fault hits when stems come by URL.
STRUCK_STEM = "vocals.m4a"
#: Of the block that is kept for documentation; no connection is made to it.
_ADDRESS_ELSEWHERE = "203.0.113.7"


class Names:
    """
    The address book of this process: names that end in ``.invalid`` lead where the cell wants, others as always.

    Nothing but name resolution is changed, so that connecting, TLS and HTTP are real.
    """

    def __init__(self) -> None:
        self._original = socket.getaddrinfo
        self.reset()

    def reset(self) -> None:
        """Forget the last cell."""
        self.lookups = 0
        self.good_port = 0
        self.bad_port: int | None = None
        self.strikes: Callable[[int], bool] = lambda lookups: False
        self.address = "127.0.0.1"

    def install(self) -> None:
        """Take the place of the system's resolver."""
        socket.getaddrinfo = self._getaddrinfo

    def _getaddrinfo(self, host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if not str(host).endswith(".invalid"):
            return self._original(host, port, *args, **options)
        if port is None:
            # Asked about, not connected to.
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.address, 0))]
        self.lookups += 1
        if not self.strikes(self.lookups):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", self.good_port))]
        if self.bad_port is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", self.bad_port))]


NAMES = Names()


@dataclass(frozen=True)
class Certificates:
    """
    Certificates for this run.

    :param folder: where they are
    """

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "good.pem"

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        for name in ("good", "untrusted"):
            subprocess.run(
                f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={name} -keyout {folder}/{name}.key "
                f"-out {folder}/{name}.pem -addext subjectAltName=DNS:{API_NAME}".split(),
                check=True,
                capture_output=True,
            )
        return cls(folder)

    def context(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        return context


@dataclass
class World:
    """
    What an operation meets.

    :param emulator: answers in the end
    :param front: stands before it where bytes are changed
    :param elsewhere: another server, with audio
    :param url: the connection's host
    :param by_url: whether stems come by URL; then only the fetch of one is struck
    :param extra: the connection's extras
    """

    emulator: Emulator
    front: RawServer
    elsewhere: RawServer
    url: str
    by_url: bool
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """
        Requests that the servers have received, without those for healthy stems.

        Where a name leads astray, the attempts to connect to it stand for the requests, of which none arrives.
        """
        if NAMES.bad_port is not None or NAMES.strikes(1):
            return NAMES.lookups + self.emulator.count("music/download") * self.by_url
        if self.front.requests:
            targets = [target_of(request) for request in self.front.requests]
        else:
            targets = [request.path for request in self.emulator.requests]
        return sum("/files/" not in target or self.is_struck(target) for target in targets) + len(
            self.elsewhere.requests
        )

    @property
    def creates(self) -> int:
        """Requests for new songs that arrived."""
        return self.emulator.count("create-", "POST")

    def is_struck(self, target: str) -> bool:
        return not self.by_url or STRUCK_STEM in target


def target_of(request: bytes) -> str:
    return request.split(b" ", 2)[1].decode("latin-1")


def _good(request: bytes, response: bytes, elsewhere: str) -> Good:
    head, _, body = response.partition(b"\r\n\r\n")
    status, *headers = head.decode("latin-1").split("\r\n")
    types = [line.partition(": ")[2] for line in headers if line.startswith("Content-Type")]
    return Good(target_of(request), int(status.split()[1]), types[0] if types else "", body, TOKEN, elsewhere)


@contextmanager
def world_of(
    fault: Fault, *, once: bool, by_url: bool, settings: dict[str, Any], audio: str, certificates: Certificates
) -> Iterator[World]:
    """
    Start the servers of a cell.

    :param fault: what goes wrong
    :param once: whether the second request is good again
    :param by_url: whether stems come by URL
    :param settings: of the emulator
    :param audio: the kind of audio that another server has
    """
    NAMES.reset()
    # One stem alone where all are struck, so that they do not race.
    stems = ("vocals",) if fault.lookup else ("vocals", "drums", "bass", "other")
    songs = [
        Song(SONG, created_at=datetime(2025, 4, 2, tzinfo=UTC), stems=stems),
        Song(OTHER_SONG, created_at=datetime(2025, 4, 1, tzinfo=UTC)),
    ]
    struck = threading.Lock()

    def choose(request: bytes) -> Script:
        good = relay(request, emulator)
        response = _good(request, good, f"{elsewhere.url}/audio")
        is_hit = world.is_struck(target_of(request)) and fault.hits(response)
        if fault.mangle and is_hit and (not once or struck.acquire(blocking=False)):
            return fault.mangle(response)
        return lambda connection: connection.sendall(good)

    with ExitStack() as stack:
        emulator = stack.enter_context(Emulator(token=TOKEN, songs=songs, **settings))
        content = emulator.stems(SONG)["vocals"] if by_url else emulator.audio(SONG, audio)
        elsewhere = stack.enter_context(serve(ok(content)))
        is_tls = fault.lookup in ("untrusted", "plain")
        front = stack.enter_context(serve(choose=choose, tls=certificates.context("good") if is_tls else None))
        world = World(emulator, front, elsewhere, emulator.url, by_url)
        if fault.mangle:
            world.url = front.url
        if fault.lookup or fault.api_is_elsewhere:
            named = f"{'https' if is_tls else 'http'}://{API_NAME}:{front.port}"
            world.extra = {"allow_http": True, "verify": str(certificates.authority)}
            NAMES.good_port = front.port
            if fault.lookup and by_url:
                emulator.configure(files_url=named)
            else:
                world.url = named
        if fault.api_is_elsewhere:
            NAMES.address = _ADDRESS_ELSEWHERE
        if fault.lookup:
            NAMES.strikes = lambda lookups: not once or lookups == 1
            NAMES.bad_port = stack.enter_context(_bad_port(fault.lookup, certificates))
        if fault.emulated:
            options = {name: value() if callable(value) else value for name, value in fault.emulated.items()}
            emulator.fault(**options, times=1 if once else None, path=STRUCK_STEM if by_url else None)
        yield world
    NAMES.reset()


@contextmanager
def _bad_port(lookup: str, certificates: Certificates) -> Iterator[int | None]:
    if lookup == "unknown":
        yield None
    elif lookup == "refused":
        # Bound, so that nobody else gets it, and never listened on.
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            yield unused.getsockname()[1]
    else:
        tls = certificates.context("untrusted") if lookup == "untrusted" else NoTls()
        with serve(ok(b"[]"), tls=tls) as server:
            yield server.port
            if server.requests:
                raise AssertionError("a request, and the token with it, went to a server that nobody trusts")
