"""Which request of the soak meets which fault, and how many requests and tries each song therefore takes."""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_riffusion.emulator import Song
from airflow_provider_riffusion.emulator.server.faults import FAULTS
from airflow_provider_riffusion.emulator.server.ranges import RANGE_FAULTS

FORMATS = ("mp3", "wav", "stems")
PROBABILITY = 0.05
RETRIES = 3
# As the README says, and not imported from what is tested, which would also bring Airflow into this process.
_ATTEMPTS = 5
_MAX_REDIRECTS = 5


class Effect(enum.Enum):
    """What the hook makes of a struck request."""

    NONE = "none, the response is good"
    REPEATED = "the hook repeats the request"
    RETRIED = "the try ends, Airflow makes another"


@dataclass(frozen=True)
class Strike:
    """
    A fault of the emulator, and what it costs.

    :param what: the fault
    :param effect: what the hook makes of it
    :param parameters: the fault's other parameters
    """

    what: str
    effect: Effect
    parameters: Mapping[str, Any]

    def __str__(self) -> str:
        return " ".join((self.what, *(f"{name}={value}" for name, value in self.parameters.items())))


def _repeated(what: str, **parameters: Any) -> Strike:
    return Strike(what, Effect.REPEATED, parameters)


def _retried(what: str, **parameters: Any) -> Strike:
    return Strike(what, Effect.RETRIED, parameters)


#: Where nobody listens.
_NOWHERE = "http://127.0.0.1:1/"

STRIKES = (
    _repeated("status", status=429, retry_after="1"),
    _repeated("status", status=429),
    _repeated("status", status=408, body="empty"),
    _repeated("status", status=500),
    _repeated("status", status=502, body="html"),
    _repeated("status", status=503, body="json-nested", retry_after="0"),
    _repeated("status", status=504, body="empty"),
    _repeated("reset"),
    _repeated("reset", after_bytes=3000),
    _repeated("truncate"),
    # Whose end no framing tells: only the audio itself says that some is missing.
    _repeated("truncate", framing="close"),
    _repeated("stall", seconds=12),
    _repeated("stall", seconds=12, after_bytes=3000),
    _repeated("drip", bytes_per_second=300),
    _repeated("gzip-cut"),
    _repeated("empty"),
    _repeated("lost-reply"),
    _repeated("redirect", url=_NOWHERE),
    _retried("204"),
    _retried("html"),
    _retried("json-error"),
    _retried("wrong-format"),
    _retried("redirect-loop"),
    Strike("gzip", Effect.NONE, {}),
)
#: By design the task fails at once, whatever its retries: more than max_bytes.
FINAL_FAULTS = {"endless"}


@dataclass(frozen=True)
class PlannedSong:
    """
    A song of the soak.

    :param song: as the emulator has it
    :param download_format: in which it is asked for
    :param strikes: the faults that its first requests meet, in order
    """

    song: Song
    download_format: str
    strikes: tuple[Strike, ...]

    @property
    def requests(self) -> int:
        """How many requests for it reach the download endpoint: one, and one for each that was struck in earnest."""
        return 1 + sum(strike.effect is not Effect.NONE for strike in self.strikes)

    @property
    def tries(self) -> int:
        """How many tries of its task that takes."""
        tries, attempts = 1, 0
        for strike in self.strikes:
            attempts += 1
            if strike.effect is Effect.RETRIED or (strike.effect is Effect.REPEATED and attempts == _ATTEMPTS):
                tries, attempts = tries + 1, 0
        return tries

    @property
    def loop_requests(self) -> int:
        """How many requests it costs to go round in circles."""
        return _MAX_REDIRECTS * sum(strike.what == "redirect-loop" for strike in self.strikes)


def make_plan(count: int, seed: int) -> list[PlannedSong]:
    """
    Draw for each request whether it is struck, and by what; the same for the same seed.

    Bound to the song and the number of its request, so that it does not matter in which order requests come. The
    faults go round like a deck of cards, so that each kind has its turn.

    :param count: how many songs
    :param seed: of the random numbers
    """
    planned = {strike.what for strike in STRIKES}
    # The soak's server knows no ranges; the tests of the transport tell every lie about them.
    if planned | FINAL_FAULTS != FAULTS.keys() - RANGE_FAULTS.keys():
        raise ValueError(f"the plan and the emulator differ in their faults: {planned ^ set(FAULTS)}")
    chance = random.Random(seed)
    deck: list[Strike] = []
    songs = []
    for number in range(count):
        strikes: list[Strike] = []
        # One try more than it can lose is left to each song.
        while len(strikes) < RETRIES and chance.random() < PROBABILITY:
            deck = deck or chance.sample(STRIKES, len(STRIKES))
            strikes.append(deck.pop())
            if strikes[-1].effect is Effect.NONE:
                break
        song = Song(f"song-{number:04}", title=f"Song {number}", duration_s=0.05 + number % 10 * 0.01)
        songs.append(PlannedSong(song, FORMATS[number % len(FORMATS)], tuple(strikes)))
    return songs
