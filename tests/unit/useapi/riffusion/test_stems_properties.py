"""Stems of every documented shape are found, and of no shape do they get out of their folder."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion.audio.encoded import Stem
from airflow_provider_riffusion.exceptions import (
    RiffusionApiError,
    RiffusionStemsError,
)
from airflow_provider_riffusion.useapi.riffusion import stems
from tests.support.strategies import REQUEST, any_text, json_values, mutated, outcome, plain_text
from tests.unit.useapi.riffusion.test_stems import AUDIO, TEXT, URL

EXTENSIONS = ("mp3", "wav", "m4a", "flac", "ogg")
NAME_KEYS = ("name", "stem", "stem_name", "type", "label", "title")
URL_KEYS = ("url", "audio_url", "download_url")

raw_names = (any_text | plain_text).filter(lambda name: name not in ("stems", "error", "is_flagged"))
audio_files = st.binary(max_size=300).map(lambda rest: AUDIO[:12] + rest)

ENCODERS: Mapping[str, Callable[[bytes], str]] = {
    "base64": lambda content: base64.b64encode(content).decode(),
    "without padding": lambda content: base64.b64encode(content).decode().rstrip("="),
    "URL-safe": lambda content: base64.urlsafe_b64encode(content).decode(),
    "in lines": lambda content: base64.encodebytes(content).decode(),
    "data URI": lambda content: f"data:audio/mp4;base64,{base64.b64encode(content).decode()}",
    "DATA URI": lambda content: f"DATA:audio/mp4;BASE64,{base64.b64encode(content).decode()}",
    "quoted data URI": lambda content: "data:audio/mp4," + "".join(f"%{byte:02x}" for byte in content),
    "quoted base64 data URI": lambda content: (
        "data:audio/mp4;base64,"
        + base64.b64encode(content).decode().replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    ),
}
values = st.one_of(
    st.sampled_from([TEXT, URL, {"data": TEXT, "codec": "aac"}, None, ""]),
    st.builds(lambda key: {key: URL}, st.sampled_from(URL_KEYS)),
    st.builds(lambda name, content: ENCODERS[name](content), st.sampled_from(sorted(ENCODERS)), audio_files),
)
objects = st.dictionaries(raw_names, values, min_size=1, max_size=4)
lists = st.lists(
    st.builds(
        lambda key, name, value: {key: name, "data": value}, st.sampled_from(NAME_KEYS), raw_names, st.just(TEXT)
    ),
    min_size=1,
    max_size=4,
)
documents = st.one_of(
    objects, lists, objects.map(lambda found: {"stems": found}), lists.map(lambda found: {"stems": found})
)


def parse(payload: object) -> list[Stem]:
    return stems.parse_stems(payload, REQUEST)


def check_names(found: list[Stem]) -> None:
    names = [stem.name for stem in found]
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        for extension in EXTENSIONS:
            file_name = f"{name}.{extension}"
            assert Path("/songs/set", file_name).resolve().parent == Path("/songs/set")
            assert file_name.isascii()
            assert not file_name.startswith((".", "-"))
            assert len(os.fsencode(file_name)) <= 255


@given(payload=mutated(documents) | json_values)
@example(payload={"stems": {"\U000e0001" * 40 + str(number): 7 for number in range(10)}})
@example(payload={"\U000e0001" * 40 + str(number): 7 for number in range(10)})
def test_any_document_is_stems_or_a_documented_error(payload: Any) -> None:
    found = outcome(lambda: parse(payload))
    if not isinstance(found, list):
        assert isinstance(found, RiffusionStemsError | RiffusionApiError)
        return
    assert 0 < len(found) <= stems.MAX_STEMS
    check_names(found)
    for stem in found:
        assert (stem.text is None) is not (stem.url is None)
        assert stem.url is None or stem.url.lower().startswith(("http://", "https://"))


@given(names=st.lists(raw_names, min_size=1, max_size=stems.MAX_STEMS, unique=True))
@example(names=["a", "A", "a-2", "A-2", "a-2-2", "á", "x" * 48, "x" * 49, "x" * 47 + "é", "\u212a", "k"])
@example(names=["manifest.json", "CON", "..", ".", "-rf", "~", "a/../b", "a\\b", "a\0b", "\ud800"])
def test_names_stay_apart_and_inside_their_folder(names: list[str]) -> None:
    for payload in ({"stems": dict.fromkeys(names, TEXT)}, [{"name": name, "data": TEXT} for name in names]):
        found = parse(payload)
        assert len(found) == len(names)
        check_names(found)


@given(
    contents=st.lists(audio_files, min_size=1, max_size=4),
    encoder=st.sampled_from(sorted(ENCODERS)),
    name_key=st.sampled_from(NAME_KEYS),
    value_key=any_text.filter(lambda key: key not in (*NAME_KEYS, *URL_KEYS)),
    metadata=st.dictionaries(
        st.sampled_from(["id", "song_id", "duration_s", "ok"]), st.none() | st.integers() | plain_text
    ),
)
def test_the_bytes_of_every_shape_are_found(
    contents: list[bytes], encoder: str, name_key: str, value_key: str, metadata: dict[str, Any]
) -> None:
    by_name = {f"stem{number}": ENCODERS[encoder](content) for number, content in enumerate(contents)}
    listed = [{name_key: name, value_key: text} for name, text in by_name.items()]
    payloads: tuple[object, ...] = (
        {**metadata, **by_name},
        {**metadata, "stems": by_name},
        {**metadata, "stems": {name: {value_key: text} for name, text in by_name.items()}},
        {**metadata, "stems": listed},
        listed,
        {"stems": {**by_name, "none": None, "empty": "", "nothing": {}}},
    )
    for payload in payloads:
        found = parse(payload)
        assert [stem.name for stem in found] == list(by_name)
        assert [stem.decode() for stem in found] == contents


@given(
    text=st.builds(
        lambda text, at, extra: text[:at] + extra + text[at:], st.just(TEXT), st.integers(64, 3000), any_text
    )
)
@example(text=TEXT + "\ud800")
@example(text="data:audio/mp4," + TEXT)
def test_damaged_audio_is_bytes_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert isinstance(Stem("vocals", text=text).decode(), bytes)
    with pytest.raises(ValueError, match=r".") as caught:
        Stem("vocals", text=f"{TEXT}\ud800").decode()
    assert TEXT[:40] not in str(caught.value)
