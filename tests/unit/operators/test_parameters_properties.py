"""Whatever a user wrote into a parameter: it is harmless, or it is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError, RiffusionError
from airflow_provider_riffusion.operators.create import RiffusionCreateComposeOperator, RiffusionCreatePromptOperator
from airflow_provider_riffusion.operators.download import RiffusionDownloadOperator
from airflow_provider_riffusion.operators.download_songs import RiffusionDownloadSongsOperator
from airflow_provider_riffusion.operators.library import RiffusionDeleteSongOperator, RiffusionListSongsOperator
from airflow_provider_riffusion.sensors.riffusion import RiffusionAccountSensor, RiffusionSongSensor
from airflow_provider_riffusion.tasks.base import is_template
from airflow_provider_riffusion.useapi.prompts import COMPOSE_RULES, PROMPT_RULES, is_song_id
from airflow_provider_riffusion.useapi.riffusion.requests import create_request
from tests.support.strategies import any_text, json_values, mutated, outcome

#: Of more digits than Python turns into text.
HUGE = 10**5000


odd = (
    json_values
    | st.binary(max_size=4)
    | st.datetimes()
    | st.timedeltas()
    | st.tuples(st.integers())
    | st.sets(st.integers(), max_size=2)
    | st.decimals()
    | st.sampled_from(
        [" 5 ", "1_0", "\u0661", "0x1", "-1", "1e9", 10**400, HUGE, "..", "a/b", "ä" * 128, "x" * 255, "x" * 256]
    )
)


templates = st.sampled_from(["{{ ds }}", "{% if x %}", "{# #}", "a{{b"])


PROMPT = {"text": "jazz", "strength": 50, "start": 0, "end": 100}


ACCOUNT = {"user_id": "user-1", "riffusion_conn_id": "riffusion_default"}


CREATE = {
    **ACCOUNT,
    "model": "FUZZ-0.8",
    "max_jobs": 3,
    "reply_url": "https://x.example",
    "reply_ref": "r",
    "poll_interval": 10,
    "timeout": "60",
}


OPERATORS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "download": (
        RiffusionDownloadOperator,
        {
            **ACCOUNT,
            "song_id": "song",
            "download_format": "mp3",
            "storage_path": "/data",
            "storage_conn_id": None,
            "file_name": "a.mp3",
            "if_exists": "skip",
            "max_bytes": "100",
        },
    ),
    "download songs": (
        RiffusionDownloadSongsOperator,
        {
            **ACCOUNT,
            "song_ids": ["song", "other"],
            "max_workers": 4,
            "manifest_name": "songs.jsonl",
            "download_format": "mp3",
            "storage_path": "/data",
            "storage_conn_id": None,
            "if_exists": "skip",
            "max_bytes": "100",
        },
    ),
    "prompt": (RiffusionCreatePromptOperator, {**CREATE, "prompt": "jazz", "instrumental": "true"}),
    "compose": (
        RiffusionCreateComposeOperator,
        {
            **CREATE,
            "prompts": [PROMPT, {"text": "rock"}],
            "lyrics": "la",
            "title": "T",
            "lyrics_strength": 50,
            "lyrics_weirdness": "50",
            "audio_upload_id": "a",
            "image_id": "i",
        },
    ),
    "list": (
        RiffusionListSongsOperator,
        {**ACCOUNT, "limit": 5, "page_size": "10", "created_after": "2025-01-01", "status": "completed"},
    ),
    "delete": (RiffusionDeleteSongOperator, {**ACCOUNT, "song_id": "song"}),
    "song sensor": (RiffusionSongSensor, {**ACCOUNT, "song_id": "song"}),
    "account sensor": (RiffusionAccountSensor, dict(ACCOUNT)),
}


names = st.lists(st.sampled_from(["a", "ä" * 100, ".", "..", "/", "\\", " ", "\0", "song.mp3"]), max_size=4).map(
    "".join
)


@given(name=names | any_text)
@example(name="ä" * 128)
@example(name="..")
@example(name="a/b")
@example(name="a\\b")
def test_a_file_name_stays_in_its_folder(name: str) -> None:
    found = outcome(lambda: RiffusionDownloadOperator(task_id="t", song_id="s", storage_path="/songs", file_name=name))
    if isinstance(found, RiffusionError):
        assert str(found).startswith("Task 't': file_name is ")
    elif not is_template(name):
        path = Path("/songs", name)
        assert path.parent == Path("/songs")
        assert path.name == name
        assert "\\" not in name
        assert len(name.encode()) <= 255
        assert name.isprintable()


@pytest.mark.parametrize("name", OPERATORS)
@given(data=st.data())
def test_any_parameter_is_taken_or_named(name: str, data: st.DataObject) -> None:
    operator, valid = OPERATORS[name]
    parameter = data.draw(st.sampled_from(sorted(valid)))
    value = data.draw(mutated(st.just(valid[parameter])) | odd | templates)
    if isinstance(value, str):
        value = value[:500]
    found = outcome(lambda: operator(task_id="t", **{**valid, parameter: value}))
    if isinstance(found, RiffusionError):
        assert type(found) is RiffusionConfigurationError
        assert str(found).startswith(f"Task 't': {parameter}")
        assert not is_template(value)
        return
    taken = getattr(found, parameter)
    if is_template(taken):
        return
    # What execute() does with it.
    if parameter in ("poll_interval", "timeout") and name in ("prompt", "compose"):
        assert isinstance(taken, float)
        assert 0 < taken < 1e9
    elif parameter in ("limit", "page_size", "max_bytes", "max_workers") and taken is not None:
        assert isinstance(taken, int)
        assert taken > 0
    elif parameter in ("song_id", "song_ids"):
        assert all(map(is_song_id, taken if parameter == "song_ids" else [taken]))
    elif parameter == "created_after" and taken is not None:
        assert isinstance(taken, datetime)
        assert taken.tzinfo
    if name in ("prompt", "compose"):
        names = PROMPT_RULES if name == "prompt" else COMPOSE_RULES
        values = {key: getattr(found, key) for key in names}
        request = create_request({**values, "user_id": found.user_id or "user-1", "reply_ref": "reference"})
        json.dumps(request.json, allow_nan=False)
        assert request.json
        assert None not in request.json.values()


@given(values=st.lists(odd | templates, max_size=3), text=st.text("{}%# ab\n", max_size=12))
@example(values=[], text="{{")
def test_all_that_jinja_would_fill_in_is_a_template(values: list[Any], text: str) -> None:
    try:
        is_plain = all(kind == "data" for _, kind, _ in jinja2.Environment().lex(text))
    except jinja2.TemplateSyntaxError:
        is_plain = False
    assert is_template(text) or is_plain
    assert is_template(values) is is_template(tuple(values)) is is_template({"x": values})
    assert is_template(values) is any(map(is_template, values))
    assert is_template([*values, {"deep": ["{{ ds }}"]}])
