"""Whatever a user wrote into a parameter, or a stranger into a manifest: it is harmless, or it is refused by name."""

from __future__ import annotations

import json
import re
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
from airflow_provider_riffusion.operators.library import RiffusionDeleteSongOperator, RiffusionListSongsOperator
from airflow_provider_riffusion.sensors.riffusion import RiffusionAccountSensor, RiffusionSongSensor
from airflow_provider_riffusion.storage import manifest as stem_set
from airflow_provider_riffusion.storage.location import StorageLocation
from airflow_provider_riffusion.storage.manifest import StemFile
from airflow_provider_riffusion.tasks.base import is_template
from airflow_provider_riffusion.useapi.prompts import COMPOSE_RULES, PROMPT_RULES, is_song_id
from airflow_provider_riffusion.useapi.riffusion.requests import create_request
from tests.support.strategies import any_text, json_values, mutated, outcome, plain_text

# --- where files go

storage_paths = (
    st.builds(
        "".join,
        st.tuples(
            st.sampled_from(["", "file://", "local://", "s3://", "gs://", "S3://", "://", "x y://"]),
            st.sampled_from(["", "conn@", "a@b@"]),
            st.sampled_from(["", "/", "bucket", "bucket/", "/data/songs", "/data/../songs//", ".", "~", "//", "b\r"]),
            st.sampled_from(["", "/", "/a b/", "/ä", "/#?", "\0", "\n", "\x1b"]),
        ),
    )
    | any_text
)


@given(storage_path=storage_paths, conn_id=st.none() | st.sampled_from(["conn", "other", ""]))
def test_a_storage_path_is_taken_apart_or_refused(storage_path: str, conn_id: str | None) -> None:
    found = outcome(lambda: StorageLocation.of(storage_path, conn_id))
    if isinstance(found, RiffusionError):
        assert type(found) is RiffusionConfigurationError
        assert str(found).startswith("storage_path is ")
        return
    assert not re.search("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff]", found.path)
    if not found.scheme:
        assert Path(found.path).is_absolute()
        assert ".." not in Path(found.path).parts
        assert StorageLocation.of(found.path) == found
    else:
        assert "@" not in found.path.partition("/")[0]
        assert not found.path.endswith("/")
        assert StorageLocation.of(f"{found.scheme}://{found.path}", found.conn_id) == found


stored_files = st.builds(
    StemFile,
    name=plain_text,
    path=st.from_regex(r"[a-z0-9-]{1,40}\.(m4a|mp3)", fullmatch=True),
    size=st.integers(1, 10**9),
    sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
)


class OneManifest:
    """A storage in which only a manifest stands."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def size(self, *names: str) -> int:
        return len(self._content)

    def read(self, *names: str) -> bytes:
        return self._content


def read_manifest(content: bytes) -> list[StemFile] | None:
    storage: Any = OneManifest(content)
    return stem_set.read_manifest(storage, "song.stems")


@given(files=st.lists(stored_files, max_size=4))
def test_a_manifest_is_read_as_it_was_written(files: list[StemFile]) -> None:
    document = {"song_id": "song", "files": files}
    assert read_manifest(json.dumps(document).encode()) == files


paths = st.sampled_from(["../x", "..", ".", "", "/etc/passwd", "a/b", "a/..", "manifest.json", "vocals.m4a"]) | any_text
manifests = st.fixed_dictionaries(
    {
        "song_id": st.just("song"),
        "files": st.lists(
            st.fixed_dictionaries({"name": plain_text, "path": paths, "size": st.just(1), "sha256": st.just("0")}),
            max_size=3,
        ),
    }
)


@given(content=mutated(manifests).map(lambda document: json.dumps(document).encode()) | st.binary(max_size=60))
@example(content=b'{"files": [{"name": "x", "path": "manifest.json", "size": 1, "sha256": "0"}]}')
@example(content=b'{"files": [{"name": "x", "path": "..", "size": 1, "sha256": "0"}]}')
def test_a_manifest_of_anybody_names_only_files_of_its_own_folder(content: bytes) -> None:
    for file in read_manifest(content) or ():
        path = Path("/songs/set", file["path"])
        assert path.parent == Path("/songs/set")
        assert file["path"] == path.name
        assert file["path"].isprintable()
        assert file["size"] >= 0
        assert file["path"] not in ("..", "manifest.json")


# --- parameters

#: Of more digits than Python turns into text.
HUGE = 10**5000
odd = (
    json_values
    | st.binary(max_size=4)
    | st.datetimes()
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
        assert str(found).startswith("file_name is ")
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
        assert str(found).startswith(parameter)
        assert not is_template(value)
        return
    taken = getattr(found, parameter)
    if is_template(taken):
        return
    # What execute() does with it.
    if parameter in ("poll_interval", "timeout") and name in ("prompt", "compose"):
        assert 0 < float(taken) < 1e9
    elif parameter in ("limit", "page_size", "max_bytes") and taken is not None:
        assert int(taken) > 0
    elif parameter == "song_id":
        assert is_song_id(taken)
    elif parameter == "created_after" and taken is not None:
        assert isinstance(taken, str | datetime)
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
