from __future__ import annotations

import io
import struct
import wave
from collections.abc import Callable

import pytest

from airflow_provider_riffusion.audio import formats as audio
from airflow_provider_riffusion.emulator import Emulator


def reader(content: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, length: content[offset : offset + length]


def make_wav(seconds: float = 0.1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(44100)
        writer.writeframes(b"\0\0\1\1" * int(44100 * seconds))
    return file.getvalue()


def make_mp3(*, tag: bytes = b"", flags: int = 3, byte_count: int | None = None, second: int = 0xFB) -> bytes:
    """One header, side information for stereo, an Info frame, and some bytes more."""
    is_mpeg1 = second >> 3 & 3 == 3
    side_information = 32 if is_mpeg1 else 17
    body = b"\0" * 500
    frame = bytes([0xFF, second, 0x90, 0x00]) + b"\0" * side_information + b"Info" + flags.to_bytes(4, "big")
    size = len(frame) + 8 * bool(flags & 2 and flags & 1) + 4 * (flags in (1, 2)) + len(body)
    if flags & 1:
        frame += (7).to_bytes(4, "big")
    if flags & 2:
        frame += (size if byte_count is None else byte_count).to_bytes(4, "big")
    return tag + frame + body


ID3 = b"ID3\x04\x00\x00\x00\x00\x01\x00" + b"\0" * 128
ID3_WITH_FOOTER = b"ID3\x04\x00\x10\x00\x00\x01\x00" + b"\0" * 138


@pytest.mark.parametrize(
    ("head", "extension"),
    [
        (b"ID3\x04", "mp3"),
        (b"\xff\xfb\x90\x00", "mp3"),
        (b"\xff\xe3\x90\x00", "mp3"),
        (b"RIFF\0\0\0\0WAVE", "wav"),
        (b"\0\0\0\x1cftypM4A ", "m4a"),
        (b"fLaC", "flac"),
        (b"OggS", "ogg"),
    ],
)
def test_formats_are_told_by_their_first_bytes(head: bytes, extension: str) -> None:
    found = audio.detect(head)
    assert found is not None
    assert found.extension == extension


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xff",
        b"RIFF\0\0\0\0AVI ",
        b"<html>",
        b'{"error": 1}',
        b"\xff\x1f",
        b"\xff\xfe<\0h\0",
        b"\xff\xf1\x50\x80",
        b"\xff\xfb\xf0\x00",
        b"\xff\xeb\x90",
    ],
)
def test_other_bytes_are_no_audio(head: bytes) -> None:
    assert audio.detect(head) is None


def test_a_wav_says_its_size() -> None:
    content = make_wav()
    assert audio.declared_size(reader(content)) == len(content)


@pytest.mark.parametrize("riff_size", [0, 0xFFFF_FFFF, 0x7FFF_F024])
def test_a_wav_from_a_streaming_encoder_says_nothing(riff_size: int) -> None:
    content = b"RIFF" + riff_size.to_bytes(4, "little") + make_wav()[8:]
    assert audio.declared_size(reader(content)) == 0


@pytest.mark.parametrize("tag", [b"", ID3, ID3_WITH_FOOTER], ids=["no tag", "tag", "tag with footer"])
@pytest.mark.parametrize("flags", [2, 3])
@pytest.mark.parametrize("second", [0xFB, 0xF3], ids=["MPEG 1", "MPEG 2"])
def test_an_mp3_says_its_size_after_the_tag(tag: bytes, flags: int, second: int) -> None:
    content = make_mp3(tag=tag, flags=flags, second=second)
    assert audio.declared_size(reader(content)) == len(content)


@pytest.mark.parametrize(
    "content",
    [
        make_mp3(flags=1),
        make_mp3(flags=0),
        make_mp3(byte_count=0),
        make_mp3(byte_count=0xFFFF_FFFF),
        b"\xff\xfb\x90\x00" + b"\0" * 500,
        b"\xff\xfb\x90",
        ID3,
        ID3 + b"no frame follows" * 10,
        b"OggS" + b"\0" * 100,
    ],
)
def test_an_mp3_without_a_byte_count_says_nothing(content: bytes) -> None:
    assert audio.declared_size(reader(content)) == 0


def test_the_emulators_audio_says_its_real_size(emulator: Emulator) -> None:
    song_id = emulator.songs[0].id
    for kind in ("mp3", "wav"):
        content = emulator.audio(song_id, kind)
        assert audio.declared_size(reader(content)) == len(content)


def box(kind: bytes, content: bytes, *, large: bool = False) -> bytes:
    head = struct.pack(">I4sQ", 1, kind, 16 + len(content)) if large else struct.pack(">I4s", 8 + len(content), kind)
    return head + content


FTYP = box(b"ftyp", b"M4A \0\0\2\0")
M4AS = {
    "moov first": FTYP + box(b"moov", bytes(50)) + box(b"mdat", bytes(500)),
    "mdat first": FTYP + box(b"free", b"") + box(b"mdat", bytes(500)) + box(b"moov", bytes(50)),
    "64 bit": FTYP + box(b"mdat", bytes(500), large=True) + box(b"moov", bytes(50)),
    "fragments": FTYP + (box(b"moof", bytes(20)) + box(b"mdat", bytes(100))) * 3,
}


@pytest.mark.parametrize("content", M4AS.values(), ids=M4AS)
def test_an_m4a_says_its_size_by_its_boxes(content: bytes) -> None:
    assert audio.declared_size(reader(content)) == len(content)
    assert audio.declared_size(reader(content[:-30])) > len(content) - 30


@pytest.mark.parametrize(
    "tail",
    [
        b"\0" * 200,
        b"TAG" + b"x" * 125,
        b"x",
        struct.pack(">I4s", 0, b"mdat") + bytes(100),
        struct.pack(">I4s", 5, b"mdat"),
        struct.pack(">I4sQ", 1, b"mdat", 2**62),
    ],
    ids=["zeros", "tag", "one byte", "mdat to the end", "nonsense", "placeholder"],
)
def test_what_follows_the_boxes_of_an_m4a_passes(tail: bytes) -> None:
    content = M4AS["mdat first"]
    assert audio.declared_size(reader(content + tail)) == len(content)


def test_the_emulators_m4a_says_its_size() -> None:
    with Emulator() as emulator:
        contents = [emulator.audio(emulator.songs[0].id, "m4a"), *emulator.stems(emulator.songs[0].id).values()]
    for content in contents:
        assert audio.declared_size(reader(content)) == len(content)


def test_an_m4a_of_endless_boxes_comes_to_an_end() -> None:
    reads = []

    def read_at(offset: int, length: int) -> bytes:
        reads.append(offset)
        return (FTYP if offset == 0 else box(b"free", b""))[:length]

    audio.declared_size(read_at)
    assert len(reads) < 20_000
