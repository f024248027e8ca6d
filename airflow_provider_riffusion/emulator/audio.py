"""
Real, playable audio for the emulator's songs.

A wav is computed while it is sent, so that its length costs no memory. The mp3 and m4a files in ``data/``
were synthesised for this project with ffmpeg (``aevalsrc``, ``libmp3lame`` at 32 kbit/s with an Info frame,
``aac`` at 24 kbit/s); each song gets its own bytes through an ID3v2 tag (mp3) or a ``free`` box (m4a) around
them.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from array import array
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files

STEM_NAMES = ("vocals", "drums", "bass", "other")

SAMPLE_RATE = 44_100
_CHANNELS = 2
_BYTES_PER_FRAME = 2 * _CHANNELS
_WAV_HEADER_SIZE = 44
_MAX_DECLARED_SIZE = 0xFFFFFFFF


@lru_cache(maxsize=16)
def _data_file(name: str) -> bytes:
    return files(__package__).joinpath("data", name).read_bytes()


@lru_cache(maxsize=16)
def _one_second(song_id: str) -> bytes:
    digest = zlib.crc32(song_id.encode())
    pitch, level = 220 + digest % 660, 6_000 + (digest >> 16) % 8_192
    # A whole number of hertz fits a second exactly: the second can be repeated without a click.
    step = 2 * math.pi * pitch / SAMPLE_RATE
    values = (round(level * math.sin(step * frame)) for frame in range(SAMPLE_RATE))
    samples = array("h", (value for value in values for _ in range(_CHANNELS)))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def wav_size(duration_s: float) -> int:
    """Return the size in bytes of the wav of a song that lasts so many seconds."""
    return _WAV_HEADER_SIZE + round(duration_s * SAMPLE_RATE) * _BYTES_PER_FRAME


def wav(song_id: str, duration_s: float) -> Iterator[bytes]:
    """
    Yield a 44.1 kHz, 16-bit, stereo wav, at most one second of it at a time.

    :param song_id: the song's id; it decides the pitch and the loudness
    :param duration_s: the song's duration in seconds
    """
    size = wav_size(duration_s) - _WAV_HEADER_SIZE
    # Above 4 GiB the fields cannot hold the sizes; encoders then write the highest value.
    riff_size = min(_WAV_HEADER_SIZE - 8 + size, _MAX_DECLARED_SIZE)
    byte_rate = SAMPLE_RATE * _BYTES_PER_FRAME
    yield (
        struct.pack("<4sI4s", b"RIFF", riff_size, b"WAVE")
        + struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, _CHANNELS, SAMPLE_RATE, byte_rate, _BYTES_PER_FRAME, 16)
        + struct.pack("<4sI", b"data", min(size, _MAX_DECLARED_SIZE))
    )
    second = _one_second(song_id)
    whole, rest = divmod(size, len(second))
    for _ in range(whole):
        yield second
    if rest:
        yield second[:rest]


def _syncsafe(number: int) -> bytes:
    return bytes((number >> shift) & 0x7F for shift in (21, 14, 7, 0))


def _id3_frame(name: bytes, content: bytes) -> bytes:
    return name + _syncsafe(len(content)) + b"\0\0" + content


def mp3(song_id: str, title: str) -> bytes:
    """
    Return an mp3: an ID3v2.4 tag with the song's title and id, then a short tune behind an Info frame.

    :param song_id: the song's id, kept in a ``TXXX`` frame
    :param title: the song's title, kept in the ``TIT2`` frame
    """
    utf8 = b"\x03"
    frames = _id3_frame(b"TIT2", utf8 + title.encode()) + _id3_frame(b"TXXX", utf8 + b"song id\0" + song_id.encode())
    return b"ID3\x04\0\0" + _syncsafe(len(frames)) + frames + _data_file("song.mp3")


def m4a(song_id: str, name: str = "song", padding: int = 0) -> bytes:
    """
    Return a song or one of its stems as an m4a.

    :param song_id: the song's id, kept in a trailing ``free`` box
    :param name: ``song``, or one of :data:`STEM_NAMES`
    :param padding: bytes that players skip, to bring a stem to the size of a real one (4 to 6 MB [C])
    """
    content = f"{song_id}/{name}".encode() + bytes(padding)
    return _data_file(f"{name}.m4a") + struct.pack(">I4s", 8 + len(content), b"free") + content
