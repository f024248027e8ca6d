"""Read a stems document of the Riffusion API v1, whose shape the vendor does not document, without I/O."""

import re
from collections.abc import Mapping
from itertools import count
from typing import Any

from airflow_provider_riffusion.audio.encoded import Stem, is_encoded_audio
from airflow_provider_riffusion.exceptions import RiffusionStemsError
from airflow_provider_riffusion.transport.request import Request
from airflow_provider_riffusion.useapi.errors import error_in

MAX_STEMS = 32
MAX_NAME_CHARS = 48

_URL_KEYS = ("url", "audio_url", "download_url")
_NAME_KEYS = ("name", "stem", "stem_name", "type", "label", "title")
#: A value beside the stems of a top-level object that is shorter is no audio, such as the song's id.
_METADATA_CHARS = 1024


def parse_stems(payload: object, request: Request) -> list[Stem]:
    """
    Read a stems document: an object under ``stems`` or at the top level, or a list of objects with a name.

    Missing, null and empty stems are left out.

    :raises RiffusionStemsError: the shape is unknown, or the document holds no stem
    :raises RiffusionApiError: the document is an error
    """
    if error := error_in(payload, request):
        raise error
    root, is_top_level = payload, True
    if isinstance(payload, dict) and isinstance(payload.get("stems"), dict | list):
        root, is_top_level = payload["stems"], False
    found: dict[str, Stem] = {}
    for raw_name, value in _entries(root, request):
        if value in (None, "", {}, []):
            continue
        content = _content(value)
        if content is not None:
            name = _safe_name(raw_name, found)
            found[name.casefold()] = Stem(name, url=content) if _is_url(content) else Stem(name, text=content)
        elif not (is_top_level and isinstance(root, dict) and _is_metadata(value)):
            raise RiffusionStemsError(f"{request}: stem {raw_name[:80]!r} is {_shape(value)}, which is no known shape.")
    if not found:
        raise RiffusionStemsError(f"{request}: the stems response is {_shape(root)} and holds no stem.")
    return list(found.values())


def _entries(root: object, request: Request) -> list[tuple[str, object]]:
    if isinstance(root, dict):
        entries = list(root.items())
    elif isinstance(root, list) and all(isinstance(entry, dict) for entry in root):
        entries = [_named(entry, request) for entry in root]
    else:
        raise RiffusionStemsError(f"{request}: the stems response is {_shape(root)}, which is no known shape.")
    if len(entries) > MAX_STEMS:
        raise RiffusionStemsError(f"{request}: the stems response has more than {MAX_STEMS} entries: {_shape(root)}.")
    return entries


def _named(entry: Mapping[str, Any], request: Request) -> tuple[str, object]:
    name_key = next((key for key in _NAME_KEYS if isinstance(entry.get(key), str)), None)
    if name_key is None:
        raise RiffusionStemsError(f"{request}: a stem in the list has no name; its keys: {_shape(entry)}.")
    return entry[name_key], {key: value for key, value in entry.items() if key != name_key}


def _content(value: object) -> str | None:
    """Return the URL or the encoded audio of a stem, from wherever in the value it is."""
    if isinstance(value, str):
        return value if _is_url(value) or is_encoded_audio(value) else None
    if not isinstance(value, dict):
        return None
    urls = [value[key] for key in _URL_KEYS if isinstance(value.get(key), str) and value[key]]
    candidates = urls or [text for text in value.values() if isinstance(text, str) and is_encoded_audio(text)]
    return next((text for text in candidates if _is_url(text) or is_encoded_audio(text)), None)


def _is_metadata(value: object) -> bool:
    return not isinstance(value, dict | list) and len(str(value)) < _METADATA_CHARS


def _is_url(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://"))


def _safe_name(raw_name: str, taken: Mapping[str, Stem]) -> str:
    """Return a file name that cannot leave its folder and differs from all others, even where case does not count."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "_", raw_name[:1024]).strip("._-")[:MAX_NAME_CHARS] or "stem"
    if cleaned.casefold() not in taken:
        return cleaned
    return next(name for number in count(2) if (name := f"{cleaned}-{number}").casefold() not in taken)


def _shape(value: object) -> str:
    """Describe a JSON value by its outline, never by its content, which may hold signed URLs."""
    if isinstance(value, dict):
        return f"an object with the keys {[str(key)[:40] for key in list(value)[:10]]}"[:500]
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    return f"a {type(value).__name__}"
