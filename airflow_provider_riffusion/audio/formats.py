"""
Read an audio file's format, and the size that it declares, from its first bytes.

No Python library and no player notices that the second half of an mp3 or wav is missing; these headers show it.
"""

from collections.abc import Callable
from dataclasses import dataclass

#: Bytes that :func:`detect` looks at.
HEAD_BYTES = 12

#: Encoders that write to a pipe do not know the length, and leave 0 or a number from here up.
_WAV_UNKNOWN_FROM = 0x7FFF_F000

_BOX_HEADER_BYTES = 16
_BOX_TYPES = frozenset(b"ftyp styp moov mdat free skip wide meta uuid sidx moof mfra".split())
_BOX_UNKNOWN_FROM = 2**40
#: Far more boxes than the fragments of any song; a hostile file can hold millions.
_MAX_BOXES = 10_000

_ID3_HEADER_BYTES = 10


@dataclass(frozen=True)
class AudioFormat:
    """
    A kind of audio file.

    :param extension: file name extension, without the dot
    :param content_type: media type
    :param matches: returns from the first :data:`HEAD_BYTES` bytes whether a file is of this kind
    """

    extension: str
    content_type: str
    matches: Callable[[bytes], bool]


def _is_mp3_frame(head: bytes) -> bool:
    """Return whether a frame of MPEG layer III starts here; a frame sync alone also fits UTF-16 text and AAC."""
    if len(head) < 3 or head[0] != 0xFF or head[1] < 0xE0:
        return False
    version, layer, bitrate, sample_rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    # The standard reserves version 1, bitrate 15 and sample rate 3; layer 1 is layer III.
    return version != 1 and layer == 1 and bitrate != 15 and sample_rate != 3


MP3 = AudioFormat("mp3", "audio/mpeg", lambda head: head.startswith(b"ID3") or _is_mp3_frame(head))
WAV = AudioFormat("wav", "audio/wav", lambda head: head.startswith(b"RIFF") and head[8:12] == b"WAVE")
M4A = AudioFormat("m4a", "audio/mp4", lambda head: head[4:8] == b"ftyp")
FLAC = AudioFormat("flac", "audio/flac", lambda head: head.startswith(b"fLaC"))
OGG = AudioFormat("ogg", "audio/ogg", lambda head: head.startswith(b"OggS"))


def detect(head: bytes) -> AudioFormat | None:
    """
    Return the format of an audio file.

    :param head: at least its first :data:`HEAD_BYTES` bytes
    :return: None when it is no audio that this provider knows
    """
    return next((kind for kind in (MP3, WAV, M4A, FLAC, OGG) if kind.matches(head)), None)


def declared_size(read_at: Callable[[int, int], bytes]) -> int:
    """
    Return the size that a file declares: wav in the RIFF header, mp3 in the Xing or Info frame, m4a in its boxes.

    :param read_at: returns up to ``length`` bytes from ``offset`` of the file
    :return: bytes that a whole file has at least; 0 when the file declares no size
    """
    head = read_at(0, HEAD_BYTES)
    if WAV.matches(head):
        riff_size = int.from_bytes(head[4:8], "little")
        return riff_size + 8 if 0 < riff_size < _WAV_UNKNOWN_FROM else 0
    if MP3.matches(head):
        return _mp3_declared_size(read_at)
    return _m4a_declared_size(read_at) if M4A.matches(head) else 0


def _m4a_declared_size(read_at: Callable[[int, int], bytes]) -> int:
    """Return the end of the last top-level MP4 box; trailing bytes that are no box are allowed."""
    end = 0
    for _ in range(_MAX_BOXES):
        header = read_at(end, _BOX_HEADER_BYTES)
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        # A size of 0 means that the box reaches up to the end of the file.
        if header[4:8] not in _BOX_TYPES or not 8 <= size < _BOX_UNKNOWN_FROM:
            break
        end += size
    return end


def _mp3_declared_size(read_at: Callable[[int, int], bytes]) -> int:
    """Return the size of the ID3v2 tag plus the byte count in the Xing/Info frame, which counts from that frame on."""
    audio_start = 0
    tag = read_at(0, _ID3_HEADER_BYTES)
    if len(tag) < _ID3_HEADER_BYTES:
        return 0
    if tag.startswith(b"ID3"):
        has_footer = tag[5] & 0x10
        size = sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=True))
        audio_start = _ID3_HEADER_BYTES + size + (_ID3_HEADER_BYTES if has_footer else 0)
    frame = read_at(audio_start, 64)
    if len(frame) < 64 or not _is_mp3_frame(frame):
        return 0
    is_mpeg1, is_mono = frame[1] >> 3 & 3 == 3, frame[3] >> 6 == 3
    side_information = (17 if is_mono else 32) if is_mpeg1 else (9 if is_mono else 17)
    xing = frame[4 + side_information :]
    has_frames, has_bytes = xing[7] & 1, xing[7] & 2
    if xing[:4] not in (b"Xing", b"Info") or not has_bytes:
        return 0
    at = 12 if has_frames else 8
    byte_count = int.from_bytes(xing[at : at + 4], "big")
    return audio_start + byte_count if 0 < byte_count < 0xFFFF_FFFF else 0
