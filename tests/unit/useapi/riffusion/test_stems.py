from __future__ import annotations

import base64
from typing import Any

import pytest

from airflow_provider_riffusion.audio.encoded import Stem
from airflow_provider_riffusion.exceptions import (
    RiffusionApiError,
    RiffusionPendingError,
    RiffusionStemsError,
)
from airflow_provider_riffusion.useapi.riffusion import requests as api_requests
from airflow_provider_riffusion.useapi.riffusion import stems

REQUEST = api_requests.download_request("song", "stems", None)
AUDIO = b"\0\0\0\x1cftypM4A " + bytes(range(256)) * 8
TEXT = base64.b64encode(AUDIO).decode()
URL = "https://files.example/vocals.m4a?sig=1"


def parse(payload: object) -> list[Stem]:
    return stems.parse_stems(payload, REQUEST)


@pytest.mark.parametrize(
    "payload",
    [
        {"stems": {"vocals": TEXT}},
        {"vocals": TEXT},
        {"id": "abc", "duration_s": 12.5, "vocals": TEXT, "ok": True},
        {"stems": {"vocals": f"data:audio/mp4;base64,{TEXT}"}},
        {"stems": {"vocals": {"data": TEXT, "codec": "aac"}}},
        {"stems": [{"name": "vocals", "data": TEXT}]},
        [{"stem": "vocals", "audio": TEXT, "index": 1}],
        {"stems": {"vocals": TEXT, "drums": None, "bass": "", "other": {}}},
        {"stems": {"vocals": "\n".join(TEXT[i : i + 76] for i in range(0, len(TEXT), 76))}},
        {"stems": {"vocals": TEXT.rstrip("=")}},
        {"stems": {"vocals": TEXT.replace("+", "-").replace("/", "_")}},
    ],
)
def test_every_known_shape_with_bytes_is_read(payload: Any) -> None:
    (stem,) = parse(payload)
    assert stem.name == "vocals"
    assert stem.decode() == AUDIO


@pytest.mark.parametrize(
    "payload",
    [
        {"stems": {"vocals": URL}},
        {"vocals": {"url": URL}},
        {"stems": {"vocals": {"audio_url": URL, "page": "https://example.com/page"}}},
        [{"name": "vocals", "download_url": URL}],
    ],
)
def test_every_known_shape_with_urls_is_read(payload: Any) -> None:
    assert parse(payload) == [Stem("vocals", url=URL)]


@pytest.mark.parametrize(
    "payload",
    [
        {},
        [],
        None,
        "text",
        42,
        {"stems": {}},
        {"stems": None},
        {"stems": {"vocals": None}},
        {"stems": {"vocals": "short text"}},
        {"stems": {"vocals": 7}},
        {"stems": {"vocals": TEXT, "drums": ["?"]}},
        {"vocals": TEXT, "drums": "x" * 5000},
        {"result": {"state": "done"}},
        [TEXT],
        [{"data": TEXT}],
        {"stems": {"vocals": "data:audio/mp4;base64"}},
        {f"stem {number}": TEXT for number in range(stems.MAX_STEMS + 1)},
    ],
)
def test_an_unknown_shape_is_an_error_that_shows_no_content(payload: Any) -> None:
    with pytest.raises(RiffusionStemsError) as caught:
        parse(payload)
    assert TEXT[:40] not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_an_error_in_the_document_is_that_error() -> None:
    with pytest.raises(RiffusionPendingError):
        parse({"error": "Your Riffusion account has pending error."})
    with pytest.raises(RiffusionApiError, match="try later"):
        parse({"message": "try later"})


def test_names_stay_inside_their_folder_and_apart() -> None:
    raw = ["../x", "a/b", "", "v" * 5000, "Vocals", "vocals", "VOCALS", "\0", "manifest.json", "..", "a\\b", "ü"]
    names = [stem.name for stem in parse({"stems": dict.fromkeys(raw, TEXT)})]
    assert len({name.casefold() for name in names}) == len(raw)
    for name in names:
        assert 0 < len(name) <= stems.MAX_NAME_CHARS + 3
        assert not set(name) & set("/\\\0")
        assert not name.startswith(".")


def test_damaged_base64_is_an_error() -> None:
    (stem,) = parse({"vocals": TEXT[:200] + "!!" + TEXT[200:]})
    with pytest.raises(ValueError, match="base64"):
        stem.decode()


def test_a_data_uri_may_be_percent_encoded() -> None:
    encoded = "".join(f"%{byte:02x}" for byte in AUDIO)
    (stem,) = parse({"vocals": f"data:audio/mp4,{encoded}"})
    assert stem.decode() == AUDIO
