"""The two requests that start songs: their parameters, their ranges, and what they reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

from airflow_provider_riffusion.exceptions import (
    RiffusionApiError,
    RiffusionBadRequestError,
    RiffusionConfigurationError,
    RiffusionConnectionError,
    RiffusionDownloadError,
    RiffusionError,
    RiffusionModerationError,
    RiffusionNotFoundError,
    RiffusionPendingError,
    RiffusionRateLimitError,
    RiffusionSubscriptionError,
    RiffusionUnauthorizedError,
)
from airflow_provider_riffusion.safe_text import shown_value
from airflow_provider_riffusion.useapi.riffusion.requests import PREFIX, Request
from airflow_provider_riffusion.useapi.riffusion.responses import is_song_id, raise_if_error

MAX_PROMPTS = 3
MAX_REFERENCE_LENGTH = 1024

_REFUSALS = (
    RiffusionBadRequestError,
    RiffusionModerationError,
    RiffusionNotFoundError,
    RiffusionPendingError,
    RiffusionRateLimitError,
    RiffusionSubscriptionError,
    RiffusionUnauthorizedError,
)
#: Method not allowed, body too large.
_REFUSAL_STATUSES = (405, 413)


class Prompt(TypedDict, total=False):
    """
    One of the prompts of a composition.

    :param text: what to play; required
    :param strength: 20 to 100, how much it counts; the API's default is 50
    :param start: 0 to 100, where it begins, in percent of the song
    :param end: 0 to 100, where it ends, in percent of the song
    """

    text: str
    strength: int
    start: int
    end: int


def prompt_request(
    *,
    prompt: object,
    instrumental: object = False,
    model: object = None,
    user_id: object = None,
    max_jobs: object = None,
    reply_url: object = None,
    reply_ref: object = None,
) -> Request:
    """
    Build and check a POST music/create-prompt.

    :raises RiffusionConfigurationError: a parameter is out of its range; the message names it
    """
    body = {
        "prompt": _text("prompt", prompt),
        "instrumental": _boolean("instrumental", instrumental),
        **_common(model, user_id, max_jobs, reply_url, reply_ref),
    }
    return Request("POST", f"{PREFIX}/music/create-prompt", json=body)


def compose_request(
    *,
    prompts: object,
    lyrics: object = None,
    title: object = None,
    lyrics_strength: object = None,
    lyrics_weirdness: object = None,
    audio_upload_id: object = None,
    image_id: object = None,
    model: object = None,
    user_id: object = None,
    max_jobs: object = None,
    reply_url: object = None,
    reply_ref: object = None,
) -> Request:
    """
    Build and check a POST music/create-compose.

    :raises RiffusionConfigurationError: a parameter is out of its range; the message names it
    """
    body = {
        "title": _optional(_text, "title", title),
        "lyrics": _optional(_text, "lyrics", lyrics),
        "lyrics_strength": _optional(_number(0, 100), "lyrics_strength", lyrics_strength),
        "lyrics_weirdness": _optional(_number(0, 100), "lyrics_weirdness", lyrics_weirdness),
        "audio_upload_id": _optional(_text, "audio_upload_id", audio_upload_id),
        "image_id": _optional(_text, "image_id", image_id),
        **_prompts(prompts),
        **_common(model, user_id, max_jobs, reply_url, reply_ref),
    }
    return Request(
        "POST", f"{PREFIX}/music/create-compose", json={key: value for key, value in body.items() if value is not None}
    )


def parse_created(payload: object, request: Request) -> list[str]:
    """
    Read the ids from the reply of a create, song or job; none when its shape is unknown.

    :raises RiffusionApiError: the reply is an error
    :raises RiffusionModerationError: the prompt was moderated
    """
    entries: object = payload
    if isinstance(payload, dict):
        entries = next((payload[key] for key in ("jobs", "songs") if isinstance(payload.get(key), list)), None)
    found = [_id_of(entry, "id", "job_id") for entry in entries] if isinstance(entries, list) else []
    if not any(found):
        found = [_id_of(payload, "job_id", "id")]
    ids = list(dict.fromkeys(song_or_job_id for song_or_job_id in found if song_or_job_id))
    if not ids:
        # Only then: a reply that names ids has created them, whatever else it says.
        raise_if_error(payload, request)
    return ids


def _id_of(entry: object, *keys: str) -> str | None:
    return next((entry[key] for key in keys if is_song_id(entry.get(key))), None) if isinstance(entry, dict) else None


def may_have_created(error: RiffusionError) -> bool:
    """Tell whether a create that failed so may have been carried out after all: always, unless the API refused it."""
    if isinstance(error, RiffusionConnectionError):
        return error.may_have_arrived
    if isinstance(error, RiffusionApiError):
        return not isinstance(error, _REFUSALS) and error.http_status not in _REFUSAL_STATUSES
    return isinstance(error, RiffusionDownloadError)


def prompt_texts(request: Request) -> list[str]:
    """Return the prompts of a create request, by which its songs can be told from others."""
    names = ("prompt", *(f"prompt_{number}" for number in range(1, MAX_PROMPTS + 1)))
    return [str(value) for name in names if (value := (request.json or {}).get(name))]


def _common(
    model: object, user_id: object, max_jobs: object, reply_url: object, reply_ref: object
) -> Mapping[str, object]:
    body = {
        "model": _optional(_text, "model", model),
        "user_id": _optional(_text, "user_id", user_id),
        "maxJobs": _optional(_number(1, 10), "max_jobs", max_jobs),
        "replyUrl": _optional(_reference, "reply_url", reply_url),
        "replyRef": _optional(_reference, "reply_ref", reply_ref),
    }
    return {key: value for key, value in body.items() if value is not None}


def _prompts(prompts: object) -> Mapping[str, object]:
    if not isinstance(prompts, Sequence) or isinstance(prompts, str) or not 1 <= len(prompts) <= MAX_PROMPTS:
        raise _wrong("prompts", prompts, f"use a list of one to {MAX_PROMPTS} prompts")
    body: dict[str, object] = {}
    for number, prompt in enumerate(prompts, start=1):
        name = f"prompts[{number - 1}]"
        if not isinstance(prompt, Mapping) or not prompt.keys() <= Prompt.__annotations__.keys():
            raise _wrong(name, prompt, f"use an object of {', '.join(Prompt.__annotations__)}")
        body[f"prompt_{number}"] = _text(f"{name}['text']", prompt.get("text"))
        for key, lowest in (("strength", 20), ("start", 0), ("end", 0)):
            if prompt.get(key) is not None:
                body[f"prompt_{number}_{key}"] = _number(lowest, 100)(f"{name}['{key}']", prompt[key])
        start, end = body.get(f"prompt_{number}_start"), body.get(f"prompt_{number}_end")
        if isinstance(start, float | int) and isinstance(end, float | int) and start >= end:
            raise _wrong(name, prompt, "let start be below end")
    return body


def _optional(check: Callable[[str, object], object], name: str, value: object) -> object:
    return None if value is None else check(name, value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong(name, value, "use text that is not empty")
    return value


def _reference(name: str, value: object) -> str:
    text = _text(name, value)
    if len(text) > MAX_REFERENCE_LENGTH:
        raise _wrong(name, value, f"use at most {MAX_REFERENCE_LENGTH} characters")
    return text


def _boolean(name: str, value: object) -> bool:
    # Text, because that is what Jinja renders.
    found = {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise _wrong(name, value, "use True or False")
    return found


def _number(lowest: int, highest: int) -> Callable[[str, object], int]:
    def check(name: str, value: object) -> int:
        try:
            number = None if isinstance(value, bool | float) else int(value)  # type: ignore[call-overload]  # what int() does not take is caught
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None or not lowest <= number <= highest:
            raise _wrong(name, value, f"use a whole number from {lowest} to {highest}")
        return int(number)

    return check


def _wrong(name: str, value: object, remedy: str) -> RiffusionConfigurationError:
    return RiffusionConfigurationError(f"{name} is {shown_value(value)}; {remedy}.")
