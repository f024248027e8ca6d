"""A token is hidden in every text, in each of its forms."""

from __future__ import annotations

import re
from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion import exceptions
from airflow_provider_riffusion.exceptions import (
    RiffusionApiError,
)
from airflow_provider_riffusion.hooks.connection import ConnectionSettings
from tests.support.strategies import TOKEN

tokens = (
    st.just(TOKEN)
    | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=12)
    | st.text("*ab%:", min_size=8, max_size=12)
)


def forms_of(token: str) -> list[str]:
    quoted = quote(token, safe="")
    return [token, quoted, re.sub("%..", lambda match: match[0].lower(), quoted)]


@st.composite
def echoes(draw: st.DrawFn) -> tuple[str, str]:
    """A token, and a text that holds it or parts of it, one behind the other."""
    token = draw(tokens)
    forms = forms_of(token)
    parts = st.sampled_from([*forms, token[:4], token[4:], forms[1][:5], forms[1][5:], "***", "*", "%"])
    text = "".join(draw(st.lists(parts | st.text(st.characters(codec="utf-8"), max_size=5), max_size=6)))
    return token, text


@given(echo=echoes())
@example(echo=("ab***cde", "ab" + "ab***cde" + "cde"))
@example(echo=(TOKEN, "cookie=user%3a1234-abcdef"))
@example(echo=("abababab", "ababababababab"))
def test_a_hidden_token_is_in_no_text(echo: tuple[str, str]) -> None:
    token, text = echo
    settings = ConnectionSettings(base_url="https://api.useapi.net", token=token)
    hidden = settings.hide_token(text)
    for form in forms_of(token):
        assert form not in hidden
    assert settings.hide_token(hidden) == hidden
    assert settings.hide_token(text.encode()).decode() == hidden
    if not any(form in text for form in forms_of(token)):
        assert hidden == text


@given(echo=echoes(), error_class=st.sampled_from([RiffusionApiError, exceptions.RiffusionPendingError]))
def test_a_hidden_token_is_in_no_part_of_an_error(echo: tuple[str, str], error_class: type[RiffusionApiError]) -> None:
    token, text = echo
    error = error_class(text, http_status=400, code=text, api_message=text, request=text, retry_after=1.0)
    ConnectionSettings(base_url="https://api.useapi.net", token=token).hide_token_in(error)
    for part in (str(error), *map(str, vars(error).values())):
        assert not any(form in part for form in forms_of(token))
    assert (error.http_status, error.retry_after) == (400, 1.0)
