"""What the property tests share: documents that are nearly valid, and what every error must keep to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from airflow_provider_riffusion.exceptions import RiffusionApiError, RiffusionError
from airflow_provider_riffusion.useapi.riffusion import requests as api_requests

_SHARED: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("normal", max_examples=60, derandomize=True, **_SHARED)
settings.register_profile("deep", max_examples=1200, **_SHARED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "normal"))

T = TypeVar("T")

REQUEST = api_requests.download_request("song", "mp3", "user-1")
TOKEN = "user:1234-abcdef"
MAX_ERROR_LENGTH = 2000
MAX_ERROR_LINES = 4

#: Any character, lone surrogates and control characters too.
any_text = st.text(st.characters(), max_size=40) | st.sampled_from(
    [
        "",
        " ",
        "\0",
        "a\nb\r",
        "\x1b[2J",
        "\ud83d",
        "..",
        "../x",
        "\u2028",
        "😀" * 60,
        "x" * 5000,
        "\x1b" * 3000,
        "\U000e0001" * 300,
        TOKEN,
        f"(Bearer {TOKEN})",
        "https://files.example/a?sig=1",
    ]
)
plain_text = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=40)
song_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | any_text
    | st.sampled_from([0, -1, 10**400, 2**31, float("nan"), float("inf"), "nan", "1e999", "9" * 5000])
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4), max_leaves=8
)


@st.composite
def mutated(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> Any:
    """A document as it was, or with one or two of its values replaced, added or gone."""
    document = draw(documents)
    for _ in range(draw(st.integers(0, 2))):
        document = _mutated(draw, document)
    return document


def _mutated(draw: st.DrawFn, node: Any) -> Any:
    if isinstance(node, list):
        node = list(node)
        if not node or draw(st.integers(0, 4)) == 0:
            return [*node, draw(json_values)]
        at = draw(st.integers(0, len(node) - 1))
        node[at] = _mutated(draw, node[at])
        return node
    if isinstance(node, dict):
        change = draw(st.integers(0, 5))
        if not node or change == 0:
            return {**node, draw(any_text): draw(json_values)}
        key = draw(st.sampled_from(sorted(node)))
        if change == 1:
            return {name: value for name, value in node.items() if name != key}
        return {**node, key: _mutated(draw, node[key])}
    return draw(json_values)


def outcome(call: Callable[[], T], check: Callable[[RiffusionError], None] | None = None) -> T | RiffusionError:
    """Return what a call returns, or the error of ours that it raises; any other exception fails the test."""
    try:
        return call()
    except RiffusionError as error:
        (check or check_error)(error)
        return error


def check_error(error: RiffusionError) -> None:
    """An error's lines are all of ours; it goes into a log, and in a trigger's event through JSON and a database."""
    lines = str(error).split("\n")
    assert len(lines) <= MAX_ERROR_LINES, lines
    assert not isinstance(error, RiffusionApiError) or len(lines[0]) <= 100, lines
    check_text("".join(lines))
    check_json(vars(error))


def check_text(text: str) -> None:
    assert len(text) < MAX_ERROR_LENGTH
    # Only the line breaks between what is wrong and what to do are there.
    assert all(line.isprintable() for line in text.split("\n")), ascii(text)


def check_json(value: object, *, max_length: int = 10_000) -> None:
    """What travels between processes must be strict JSON in UTF-8, without NUL, which PostgreSQL refuses."""
    encoded = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    assert len(encoded) < max_length
    assert b"\\u0000" not in encoded.replace(b"\\\\", b"")
