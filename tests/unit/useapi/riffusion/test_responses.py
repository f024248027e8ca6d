from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.exceptions import AirflowFailException

from airflow_provider_riffusion import exceptions as errors
from airflow_provider_riffusion.useapi import errors as useapi_errors
from airflow_provider_riffusion.useapi import models, prompts
from airflow_provider_riffusion.useapi.riffusion import requests as api_requests
from airflow_provider_riffusion.useapi.riffusion import responses

REQUEST = api_requests.download_request("song", "mp3", "user-1")


def error_of(status: int, body: Any = b"") -> errors.RiffusionApiError:
    return useapi_errors.error_of(status, body if isinstance(body, bytes) else json.dumps(body).encode(), REQUEST)


@pytest.mark.parametrize(
    ("status", "error_class", "transient"),
    [
        (204, errors.RiffusionApiError, False),
        (302, errors.RiffusionApiError, False),
        (400, errors.RiffusionBadRequestError, False),
        (401, errors.RiffusionUnauthorizedError, False),
        (402, errors.RiffusionSubscriptionError, False),
        (403, errors.RiffusionUnauthorizedError, False),
        (404, errors.RiffusionNotFoundError, False),
        (408, errors.RiffusionApiError, True),
        (409, errors.RiffusionNotReadyError, False),
        (410, errors.RiffusionNotFoundError, False),
        (412, errors.RiffusionSubscriptionError, False),
        (413, errors.RiffusionApiError, False),
        (422, errors.RiffusionModerationError, False),
        (429, errors.RiffusionRateLimitError, True),
        (500, errors.RiffusionServerError, True),
        (501, errors.RiffusionServerError, False),
        (503, errors.RiffusionServerError, True),
        (504, errors.RiffusionServerError, True),
        (596, errors.RiffusionPendingError, False),
        (597, errors.RiffusionServerError, False),
        (600, errors.RiffusionServerError, False),
        (999, errors.RiffusionServerError, False),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", {"error": "text"}], ids=["empty", "html", "json"])
def test_each_status_has_its_error(status: int, error_class: type, transient: bool, body: Any) -> None:
    error = error_of(status, body)
    # Taken for the API's, a proxy's 404 would say that a song is not there.
    is_a_proxys = status == 404 and isinstance(body, bytes)
    assert type(error) is (errors.RiffusionApiError if is_a_proxys else error_class)
    assert error.http_status == status
    assert error.transient is transient
    assert error.request == "GET /v1/riffusion/music/download/"


@pytest.mark.parametrize("body", [b"", b"<html>not found</html>", b"[]", b'"x"', b"{}", b'{"detail": "Not Found"}'])
def test_a_404_that_is_not_the_apis_names_the_base_url_and_is_no_missing_song(body: bytes) -> None:
    error = useapi_errors.error_of(404, body, REQUEST, url="https://gateway.example/v2/songs")
    assert "Check the base URL" in str(error)
    assert "https://gateway.example/v2/songs was answered" in str(error)
    assert not isinstance(error, errors.RiffusionNotFoundError | AirflowFailException)
    assert (error.http_status, error.transient) == (404, False)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error": "text", "code": 400}, 400, "text"),
        ({"error": "text"}, None, "text"),
        ({"error": {"code": 400, "message": "text"}}, 400, "text"),
        ({"error": {"code": "E_BAD", "message": "text"}}, "E_BAD", "text"),
        ({"error": "text", "code": "400"}, 400, "text"),
        ({"message": "text"}, None, "text"),
        ({"error": ["odd"]}, None, '["odd"]'),
        ({"error": "x" * 10_000}, None, "x" * 500),
        ({"error": "text", "code": True}, True, "text"),
        (["text"], None, '["text"]'),
        (None, None, ""),
        (b"<html>\n  text</html>", None, "<html> text</html>"),
        (b"\xff\xfe\x00", None, "���"),
        (b"[" * 100_000, None, "[" * 500),
    ],
)
def test_every_error_envelope_is_read(body: Any, code: object, message: str) -> None:
    error = error_of(400, body)
    assert (error.code, error.api_message) == (code, message)


STATUSES = sorted({*useapi_errors._ERRORS_BY_STATUS, 204, 408, 413, 500, 503, 600})


@pytest.mark.parametrize("status", STATUSES)
def test_an_error_says_on_its_first_line_what_is_wrong_on_the_second_what_to_do_and_then_the_apis_words(
    status: int,
) -> None:
    error = error_of(status, {"error": "many\nwords " * 20})
    wrong, *remedy, words = str(error).split("\n")
    assert wrong.endswith(f" (HTTP {status}).")
    assert words.startswith(f"{REQUEST} was answered: many words many words")
    assert remedy
    for line in (wrong, *remedy):
        assert len(line) < 100
        assert not line.startswith(str(REQUEST))
    assert remedy[0].endswith(".")


def test_a_pending_error_tells_a_human_what_to_do() -> None:
    wrong, *remedy, _ = str(error_of(596, b"<html>")).split("\n")
    assert wrong == "The Riffusion account user-1 is broken: pending error (HTTP 596)."
    assert remedy == ["Post a fresh cookie, then clear the failed tasks.", f"How to: {useapi_errors.ACCOUNTS_PAGE}"]


@pytest.mark.parametrize("status", [200, 400, 596])
def test_a_broken_account_has_status_596_whichever_way_the_api_tells_it(status: int) -> None:
    error = error_of(status, {"error": "Your Riffusion account has pending error. Please address this issue."})
    assert isinstance(error, errors.RiffusionPendingError)
    assert error.http_status == 596
    accounts = [models.Account("user-1", error="expired"), models.Account("u" * 1024, error="expired")]
    error = useapi_errors.broken_accounts_error(accounts, REQUEST)
    assert isinstance(error, errors.RiffusionPendingError)
    assert error.http_status == 596
    assert str(error).startswith("The Riffusion account user-1, uuu")
    assert len(str(error).partition("\n")[0]) <= 100


def test_a_prompt_that_is_quoted_is_no_broken_account() -> None:
    error = error_of(400, {"error": "The prompt 'my pending error' is too short"})
    assert type(error) is errors.RiffusionBadRequestError


@pytest.mark.parametrize(
    ("body", "error_class"),
    [
        ({"error": "x", "code": 401}, errors.RiffusionUnauthorizedError),
        ({"error": "x", "code": "503"}, errors.RiffusionServerError),
        ({"error": "Your Riffusion account has pending error."}, errors.RiffusionPendingError),
        ({"is_flagged": True, "reason": "moderation"}, errors.RiffusionModerationError),
        ({"message": "x"}, errors.RiffusionApiError),
        ({"what": "ever"}, errors.RiffusionApiError),
        (None, errors.RiffusionApiError),
    ],
)
def test_json_instead_of_audio_is_an_error(body: Any, error_class: type) -> None:
    with pytest.raises(errors.RiffusionApiError) as caught:
        responses.parse_download_url(body, REQUEST)
    assert type(caught.value) is error_class


def test_a_flagged_reply_is_moderation_whatever_its_status() -> None:
    assert isinstance(error_of(400, {"is_flagged": True, "reason": "moderation"}), errors.RiffusionModerationError)
    assert error_of(400, {"is_flagged": True, "reason": "moderation"}).api_message == "moderation"


def test_songs_are_read_and_odd_fields_become_none() -> None:
    songs = responses.parse_songs(
        [
            {"id": "a", "status": "completed", "title": "T", "duration_s": 12, "created_at": "2025-01-01"},
            {"id": "b", "status": 7, "title": None, "duration_s": "long", "new_field": {}},
            {"id": "c", "duration_s": 10**400},
            {"id": "d", "duration_s": True},
            {"id": None},
            {"id": "../x"},
            "text",
            {},
        ],
        REQUEST,
    )
    assert songs == [
        models.Song("a", "completed", models.SongState.COMPLETED, "T", "2025-01-01", 12.0),
        models.Song("b"),
        models.Song("c"),
        models.Song("d"),
    ]
    assert [song.is_completed for song in songs] == [True, False, False, False]
    assert responses.parse_songs([{"id": "x", "status": "complete"}], REQUEST)[0].is_completed


def test_a_single_song_is_a_list_of_one() -> None:
    assert responses.parse_songs({"id": "a", "error": "generation failed"}, REQUEST) == [models.Song("a")]


@pytest.mark.parametrize("payload", [None, "text", 3, {"songs": 1}])
def test_something_else_than_songs_is_an_error(payload: Any) -> None:
    with pytest.raises(errors.RiffusionApiError, match="expected a list of songs"):
        responses.parse_songs(payload, REQUEST)


def test_an_error_with_status_200_is_that_error_everywhere() -> None:
    with pytest.raises(errors.RiffusionPendingError):
        responses.parse_songs({"error": "Your Riffusion account has pending error."}, REQUEST)
    with pytest.raises(errors.RiffusionUnauthorizedError):
        responses.parse_accounts({"error": "x", "code": 401}, REQUEST)
    with pytest.raises(errors.RiffusionApiError, match="bad"):
        responses.parse_accounts({"error": {"code": 499, "message": "bad"}}, REQUEST)


def test_accounts_are_read() -> None:
    payload = {
        "u1": {"user_id": "u1", "maxJobs": 3, "jwt": {}},
        "u2": {"maxJobs": "x", "error": "pending"},
        "u3": {"error": {"message": "expired"}},
        "u4": {"error": ""},
    }
    assert responses.parse_accounts(payload, REQUEST) == [
        models.Account("u1", 3),
        models.Account("u2", None, "pending"),
        models.Account("u3", None, "expired"),
        models.Account("u4", None, "unknown error"),
    ]


@pytest.mark.parametrize("payload", [None, [], {"u1": "text"}])
def test_something_else_than_accounts_is_an_error(payload: Any) -> None:
    with pytest.raises(errors.RiffusionApiError, match="expected an object of accounts"):
        responses.parse_accounts(payload, REQUEST)


@pytest.mark.parametrize("song_id", ["a", "A1-b_c.d", "x" * 128, "8c7e0d0e-2b0a-4f5e-9d2f-0b5c1d2e3f40"])
def test_song_ids(song_id: str) -> None:
    assert prompts.is_song_id(song_id)


@pytest.mark.parametrize("song_id", ["", "../x", "/x", ".x", "-x", "x" * 129, "a\n", "a\0", "a b", "ä", None, 5])
def test_what_is_no_song_id(song_id: object) -> None:
    assert not prompts.is_song_id(song_id)
