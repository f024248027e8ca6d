"""What the API may be asked for: ids, formats, and the parameters of create requests with their ranges."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from airflow_provider_riffusion.parameters import BOOLEAN, TEXT, Rule, Rules, optional, rule, whole_number, wrong
from airflow_provider_riffusion.safe_text import shown_value

STEMS = "stems"
DOWNLOAD_FORMATS = ("mp3", "wav", STEMS)
MAX_PROMPTS = 3

_SONG_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_song_id(value: object) -> bool:
    """Return whether a value can be the id of a song or job; ids become part of queries and file names."""
    return isinstance(value, str) and _SONG_ID.fullmatch(value) is not None


SONG_ID = rule(is_song_id, "use letters, digits, '.', '_' and '-', at most 128, as the API's ids are made")


class Prompt(TypedDict, total=False):
    """
    One of the prompts of a composition.

    :param text: what to play; required
    :param strength: 20 to 100, how much the prompt counts; the API's default is 50
    :param start: 0 to 100, where the prompt begins, in percent of the song
    :param end: 0 to 100, where the prompt ends, in percent of the song
    """

    text: str
    strength: int
    start: int
    end: int


#: The API takes 1,024 characters in a reference.
_REFERENCE = rule(lambda value: value.strip() != "" and len(value) <= 1024, "use text of at most 1024 characters")
_PERCENT = whole_number(0, 100)
_PROMPT_RULES: Rules = {
    "text": TEXT,
    "strength": optional(whole_number(20, 100)),
    **dict.fromkeys(("start", "end"), optional(_PERCENT)),
}


def _prompts(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not 1 <= len(value) <= MAX_PROMPTS:
        raise ValueError
    return [_prompt(f"prompts[{index}]", prompt) for index, prompt in enumerate(value)]


def _prompt(name: str, prompt: object) -> dict[str, Any]:
    if not isinstance(prompt, Mapping) or not prompt.keys() <= _PROMPT_RULES.keys():
        raise wrong(name, shown_value(prompt), f"use an object of {', '.join(_PROMPT_RULES)}")
    checked = {key: of.check(f"{name}['{key}']", prompt.get(key)) for key, of in _PROMPT_RULES.items()}
    if None not in (checked["start"], checked["end"]) and checked["start"] >= checked["end"]:
        raise wrong(name, shown_value(prompt), "let start be below end")
    return checked


#: Parameters that every create request takes.
_COMMON_RULES: Rules = {
    **dict.fromkeys(("model", "user_id"), optional(TEXT)),
    "max_jobs": optional(whole_number(1, 10)),
    **dict.fromkeys(("reply_url", "reply_ref"), optional(_REFERENCE)),
}
#: Parameters of a create request from one prompt.
PROMPT_RULES: Rules = {"prompt": TEXT, "instrumental": BOOLEAN, **_COMMON_RULES}
#: Parameters of a create request that composes a song.
COMPOSE_RULES: Rules = {
    "prompts": Rule(_prompts, f"use a list of one to {MAX_PROMPTS} prompts"),
    **dict.fromkeys(("lyrics", "title"), optional(TEXT)),
    **dict.fromkeys(("lyrics_strength", "lyrics_weirdness"), optional(_PERCENT)),
    **dict.fromkeys(("audio_upload_id", "image_id"), optional(TEXT)),
    **_COMMON_RULES,
}


def checked(rules: Rules, values: Mapping[str, object]) -> dict[str, Any]:
    """
    Return the checked parameters of a create request, without those that are None.

    :param rules: :data:`PROMPT_RULES` or :data:`COMPOSE_RULES`
    :param values: the parameters; those that are left out are None
    :raises RiffusionConfigurationError: a parameter is wrong or unknown; the message names it
    """
    if unknown := values.keys() - rules.keys():
        raise wrong(sorted(unknown)[0], "unknown", f"use {', '.join(rules)}")
    found = {name: of.check(name, values.get(name)) for name, of in rules.items()}
    return {name: value for name, value in found.items() if value is not None}
