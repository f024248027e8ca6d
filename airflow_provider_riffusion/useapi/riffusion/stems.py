"""
The shapes in which the API may send a song's stems: the vendor documents none of them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import unquote_to_bytes

from airflow_provider_riffusion.audio import formats as audio
from airflow_provider_riffusion.exceptions import RiffusionStemsError
from airflow_provider_riffusion.useapi.riffusion.requests import Request
from airflow_provider_riffusion.useapi.riffusion.responses import raise_if_error

#: Far above the 15 to 25 MB that were seen; the document is parsed in memory.
MAX_JSON_BYTES = 256 * 2**20
MAX_STEMS = 32
MAX_NAME_LENGTH = 48


@dataclass(frozen=True)
class Stem:
    """
    One stem of a song, either with its bytes or with the URL that holds them.

    :param name: a safe file name without ending, distinct within its song
    :param text: base64 or a data: URI
    :param url: http(s) URL
    """

    name: str
    text: str | None = None
    url: str | None = None

    def decode(self) -> bytes:
        """
        Decode the bytes of a stem that came within the JSON.

        :raises ValueError: the text is damaged
        """
        return _decode(self.text or "")


_URL_KEYS = ("url", "audio_url", "download_url")
_NAME_KEYS = ("name", "stem", "stem_name", "type", "label", "title")
_METADATA_LENGTH = 1024
_PROBE_LENGTH = 64
#: Some encoders write the URL-safe alphabet.
_BASE64_ALPHABET = bytes.maketrans(b"-_", b"+/")


def parse_stems(payload: object, request: Request) -> list[Stem]:
    """
    Read a stems document: a mapping under ``stems`` or at the top level, or a list of objects with a name.

    Missing, null and empty stems are left out.

    :raises RiffusionStemsError: the shape is unknown, or there is no stem in it
    :raises RiffusionApiError: the document is an error
    """
    raise_if_error(payload, request)
    is_top_level = not (isinstance(payload, dict) and isinstance(payload.get("stems"), dict | list))
    root = payload if is_top_level else payload["stems"]  # type: ignore[index]  # a dict, see above
    if isinstance(root, dict):
        entries = list(root.items())
    elif isinstance(root, list) and all(isinstance(entry, dict) for entry in root):
        entries = [_named_entry(entry, request) for entry in root]
    else:
        raise RiffusionStemsError(f"{request}: the stems reply is {_shape(root)}, which is no known shape.")

    if len(entries) > MAX_STEMS:
        raise RiffusionStemsError(f"{request}: the stems reply is {_shape(root)} with more than {MAX_STEMS} entries.")
    found: list[Stem] = []
    taken: set[str] = set()
    for raw_name, value in entries:
        if value in (None, "", {}, []):
            continue
        content = _stem_content(value)
        if content is None:
            if is_top_level and isinstance(root, dict) and _is_metadata(value):
                continue
            raise RiffusionStemsError(f"{request}: stem {raw_name[:80]!r} is {_shape(value)}, which is no known shape.")
        name = _safe_name(raw_name, taken)
        taken.add(name.casefold())
        found.append(Stem(name, url=content) if _is_url(content) else Stem(name, text=content))
    if not found:
        raise RiffusionStemsError(f"{request}: the stems reply is {_shape(root)} and holds no stem.")
    return found


def _named_entry(entry: Mapping[str, Any], request: Request) -> tuple[str, object]:
    name_key = next((key for key in _NAME_KEYS if isinstance(entry.get(key), str)), None)
    if name_key is None:
        raise RiffusionStemsError(f"{request}: a stem in the list has no name; its keys: {_shape(entry)}.")
    return entry[name_key], {key: value for key, value in entry.items() if key != name_key}


def _stem_content(value: object) -> str | None:
    """Return the URL or the encoded audio of a stem, wherever in the value it stands."""
    if isinstance(value, str):
        return value if _is_url(value) or _is_encoded_audio(value) else None
    if not isinstance(value, dict):
        return None
    urls = [value[key] for key in _URL_KEYS if isinstance(value.get(key), str) and value[key]]
    candidates = urls or [text for text in value.values() if isinstance(text, str) and _is_encoded_audio(text)]
    return next((text for text in candidates if _is_url(text) or _is_encoded_audio(text)), None)


def _is_metadata(value: object) -> bool:
    """Whether a value beside the stems of a top-level mapping is too small to be audio, such as the song's id."""
    return not isinstance(value, dict | list) and len(str(value)) < _METADATA_LENGTH


def _is_url(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://"))


def _is_encoded_audio(text: str) -> bool:
    if _is_data_uri(text):
        header, _, content = text[:_METADATA_LENGTH].partition(",")
        probe = f"{header},{content[:_PROBE_LENGTH]}"
    else:
        probe = text[:_PROBE_LENGTH]
    try:
        return audio.detect(_decode(probe, is_probe=True)) is not None
    except ValueError:
        return False


def _is_data_uri(text: str) -> bool:
    return text[:5].lower() == "data:"


def _decode(text: str, *, is_probe: bool = False) -> bytes:
    """
    Decode base64 or a data: URI.

    :param is_probe: the text is the start of a longer one, and ends anywhere
    """
    if _is_data_uri(text):
        header, comma, text = text.partition(",")
        if not comma:
            raise ValueError("a data: URI without a comma")
        if not header.lower().endswith(";base64"):
            return unquote_to_bytes(text)
    encoded = unquote_to_bytes(text) if "%" in text else text.encode("ascii")
    encoded = encoded.translate(_BASE64_ALPHABET, b" \t\r\n")
    if is_probe:
        encoded = encoded[: len(encoded) // 4 * 4]
    elif len(encoded) % 4:
        encoded += b"=" * (-len(encoded) % 4)
    return base64.b64decode(encoded, validate=True)


def _safe_name(raw_name: str, taken: set[str]) -> str:
    """Make a file name that cannot leave its folder and differs from all others, also where case does not count."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "_", raw_name[:1024]).strip("._-")[:MAX_NAME_LENGTH] or "stem"
    if cleaned.casefold() not in taken:
        return cleaned
    return next(name for number in count(2) if (name := f"{cleaned}-{number}").casefold() not in taken)


def _shape(value: object) -> str:
    """Describe a JSON value by its outline, never by its content."""
    if isinstance(value, dict):
        return f"an object with the keys {[str(key)[:40] for key in list(value)[:10]]}"[:500]
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    return f"a {type(value).__name__}"
