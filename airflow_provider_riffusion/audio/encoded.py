"""Audio that comes as text: base64 and ``data:`` URIs, without I/O."""

import base64
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from airflow_provider_riffusion.audio.formats import detect

#: Characters of a ``data:`` URI among which its comma must be.
_HEADER_CHARS = 1024
#: Characters of base64 that hold more bytes than detect() needs.
_PROBE_CHARS = 64
#: Some encoders write the URL-safe alphabet.
_BASE64_ALPHABET = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True)
class Stem:
    """
    One stem of a song before its bytes are stored: either its encoded text or the URL that holds it.

    :param name: a safe file name without extension, distinct within its song
    :param text: base64 or a ``data:`` URI
    :param url: http(s) URL
    """

    name: str
    text: str | None = None
    url: str | None = None

    def decode(self) -> bytes:
        """
        Return the bytes of a stem whose text is known.

        :raises ValueError: the text is damaged
        """
        return _decode(self.text or "", is_prefix=False)


def is_encoded_audio(text: str) -> bool:
    """Return whether a text is base64 or a ``data:`` URI whose first bytes are audio."""
    comma = text[:_HEADER_CHARS].find(",") if _is_data_uri(text) else -1
    try:
        return detect(_decode(text[: comma + 1 + _PROBE_CHARS], is_prefix=True)) is not None
    except ValueError:
        return False


def _is_data_uri(text: str) -> bool:
    return text[:5].lower() == "data:"


def _decode(text: str, *, is_prefix: bool) -> bytes:
    if _is_data_uri(text):
        header, comma, text = text.partition(",")
        if not comma:
            raise ValueError("a data: URI without a comma")
        if not header.lower().endswith(";base64"):
            return unquote_to_bytes(text)
    encoded = unquote_to_bytes(text) if "%" in text else text.encode("ascii")
    encoded = encoded.translate(_BASE64_ALPHABET, b" \t\r\n")
    whole = encoded[: len(encoded) // 4 * 4] if is_prefix else encoded + b"=" * (-len(encoded) % 4)
    return base64.b64decode(whole, validate=True)
