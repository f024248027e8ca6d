"""Whatever a server responses: a value or an error that is documented, and nothing else."""

from __future__ import annotations

import json
import string
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion import exceptions as errors
from airflow_provider_riffusion.tasks.events import event_of_error
from airflow_provider_riffusion.transport.request import Request
from airflow_provider_riffusion.useapi import errors as useapi_errors
from airflow_provider_riffusion.useapi import models, prompts
from airflow_provider_riffusion.useapi.client import parse_json
from airflow_provider_riffusion.useapi.models import summary_of
from airflow_provider_riffusion.useapi.riffusion import responses
from tests.support.strategies import (
    REQUEST,
    any_text,
    check_error,
    check_json,
    json_values,
    mutated,
    outcome,
    plain_text,
    song_ids,
)

maybe_text = st.none() | plain_text


counts = st.none() | st.integers(0, 100)


songs = st.builds(
    lambda status, **fields: models.Song(status=status, state=responses.state_of(status), **fields),
    id=song_ids,
    status=st.sampled_from(["completed", "complete", "queued", "generating_audio", "Failed", "odd"]) | maybe_text,
    title=maybe_text,
    created_at=st.none() | st.datetimes().map(datetime.isoformat),
    duration_s=st.none() | st.floats(0, 1e4),
    share_url=maybe_text,
    download_url=maybe_text,
    group_id=maybe_text,
    sound=maybe_text,
    topic=maybe_text,
    lyrics=maybe_text,
)


#: A response with only such keys is an error.
user_ids = plain_text.filter(lambda user_id: user_id not in ("error", "message", "code"))


accounts = st.builds(models.Account, user_id=user_ids, max_jobs=counts, error=maybe_text)


jobs = st.builds(models.Job, id=song_ids, user_id=maybe_text, started=maybe_text, reply_ref=maybe_text)


slots = st.builds(models.Slots, user_id=plain_text, max_jobs=counts, executing=counts, available=counts)


envelopes = st.one_of(
    st.fixed_dictionaries({"error": plain_text}, optional={"code": st.integers(100, 999) | plain_text}),
    st.fixed_dictionaries({"error": st.fixed_dictionaries({"code": st.integers(100, 999), "message": plain_text})}),
    st.just({"is_flagged": True, "reason": "moderation", "musician_replacement_data": None}),
    st.just({"error": "Your Riffusion account has pending error."}),
)


def account_document(account: models.Account) -> dict[str, Any]:
    document: dict[str, Any] = {"user_id": account.user_id, "maxJobs": account.max_jobs, "jwt": {"expires_at": 1}}
    return document if account.error is None else {**document, "error": account.error}


def job_document(job: models.Job) -> dict[str, Any]:
    return {"job_id": job.id, "user_id": job.user_id, "started": job.started, "replyRef": job.reply_ref}


def slots_document(slot: models.Slots) -> dict[str, Any]:
    return {
        "user_id": slot.user_id,
        "maxJobs": slot.max_jobs,
        "executing": slot.executing,
        "available": slot.available,
    }


song_documents = songs.map(asdict)


account_documents = accounts.map(account_document)


lists_of_songs = st.lists(song_documents, max_size=3)


objects_of_accounts = st.dictionaries(user_ids, account_documents, max_size=3)


lists_of_jobs = st.lists(jobs.map(job_document), max_size=3)


objects_of_slots = st.fixed_dictionaries(
    {"executing": lists_of_jobs, "available": st.lists(slots.map(slots_document), max_size=3)}
)


created_documents = st.one_of(
    st.fixed_dictionaries({"job_id": song_ids, "user_id": plain_text}),
    st.fixed_dictionaries({"jobs": st.lists(st.fixed_dictionaries({"id": song_ids}), max_size=3)}),
    lists_of_songs,
)


PARSERS: dict[str, tuple[Callable[..., object], st.SearchStrategy[Any]]] = {
    "songs": (responses.parse_songs, lists_of_songs | song_documents),
    "accounts": (responses.parse_accounts, objects_of_accounts),
    "account": (responses.parse_account, account_documents | objects_of_accounts),
    "jobs": (responses.parse_jobs, lists_of_jobs),
    "slots": (responses.parse_available, objects_of_slots),
    "lyrics": (responses.parse_lyrics, st.fixed_dictionaries({"lyrics": plain_text})),
    "created": (responses.parse_created, created_documents),
    "download url": (responses.parse_download_url, st.just({"url": "https://files.example/a?sig=1"})),
}


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_any_json_is_read_or_is_a_documented_error(name: str, data: st.DataObject) -> None:
    parse, documents = PARSERS[name]
    payload = data.draw(mutated(documents | envelopes) | json_values)
    found = outcome(lambda: parse(payload, REQUEST))
    if isinstance(found, errors.RiffusionError):
        assert isinstance(found, errors.RiffusionApiError)
        assert found.http_status == (596 if isinstance(found, errors.RiffusionPendingError) else 200)


statuses = st.sampled_from([200, 204, 302, *range(400, 430), *range(500, 505), 596, 599, 600]) | st.integers(0, 2000)


bodies = st.one_of(
    mutated(envelopes).map(lambda document: json.dumps(document).encode()),
    json_values.map(lambda document: json.dumps(document).encode()),
    any_text.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=100),
)


@given(status=statuses, body=bodies, user_id=st.none() | plain_text | st.just("u" * 1024))
@example(status=400, body=b'{"error": "\\ud83d"}', user_id=None)
@example(status=400, body=b'{"error": "\\u001b[2J"}', user_id=None)
@example(status=400, body=b'{"error": "x", "code": "\\u0000%s"}' % (b"9" * 60_000), user_id=None)
@example(status=596, body=b'{"error": "%s"}' % (b"x" * 9000), user_id="u" * 1024)
def test_any_reply_that_is_an_error_is_a_documented_one(status: int, body: bytes, user_id: str | None) -> None:
    request = Request("GET", "/v1/riffusion/music/", {"user_id": user_id})
    error = useapi_errors.error_of(status, body, request, retry_after=1.5)
    check_error(error)
    shown = 596 if isinstance(error, errors.RiffusionPendingError) else status
    assert (error.http_status, error.request, error.retry_after) == (shown, str(request), 1.5)
    assert not (error.transient and isinstance(error, AirflowFailException)), "what ends a task must not be repeated"
    assert isinstance(error, errors.RiffusionPendingError) or status != 596
    assert error.transient <= (status in (*useapi_errors.TRANSIENT_STATUSES, 200))


@given(text=plain_text, code=st.integers(400, 599))
def test_every_envelope_of_a_message_says_the_same(text: str, code: int) -> None:
    documents: list[dict[str, Any]] = [
        {"error": text, "code": code},
        {"error": text, "code": str(code)},
        {"message": text, "code": code},
        {"error": "", "message": text, "code": code},
        {"error": text, "message": "less telling", "code": code},
        {"error": {"message": text, "code": code}},
        {"error": {"error": text, "code": code}, "code": 400},
    ]
    found = [useapi_errors.error_of(code, json.dumps(document).encode(), REQUEST) for document in documents]
    assert {(type(error), error.api_message, error.code, str(error)) for error in found} == {
        (type(found[0]), text, code, str(found[0]))
    }
    assert useapi_errors.error_of(code, json.dumps({"code": f"{code}0"}).encode(), REQUEST).code == f"{code}0"
    # With status 200 the status stands in the body.
    for document in documents:
        assert type(useapi_errors.error_in(document, REQUEST)) is type(found[0])


@given(payload=mutated(song_documents | objects_of_accounts | envelopes) | json_values)
def test_only_what_says_error_is_an_error(payload: Any) -> None:
    found = outcome(lambda: useapi_errors.error_in(payload, REQUEST))
    if not isinstance(payload, dict) or not payload.keys() & {"error", "message", "code", "is_flagged"}:
        assert found is None
    elif payload.get("error") or payload.get("is_flagged") is True:
        assert isinstance(found, errors.RiffusionApiError)


def test_json_of_any_depth_is_a_documented_error() -> None:
    for depth in range(1, sys.getrecursionlimit() + 1):
        for document in (b"[" * depth + b"]" * depth, b'{"error":' * depth + b"1" + b"}" * depth):
            check_error(useapi_errors.error_of(400, b'{"error": %s}' % document, REQUEST))


@given(body=bodies, cut=st.integers(0, 200))
@example(body=b"[" * 100_000, cut=0)
@example(body=b"9" * 5000, cut=0)
def test_json_is_read_or_is_a_download_error(body: bytes, cut: int) -> None:
    for text in (body[:cut], body[cut:], body[cut:].decode("latin-1")):
        found = outcome(partial(parse_json, text, REQUEST))
        assert not isinstance(found, errors.RiffusionError) or type(found) is errors.RiffusionDownloadError


noise = json_values.filter(lambda value: not isinstance(value, dict) or not value.keys() & {"id", "job_id", "user_id"})


@given(expected=st.lists(songs, max_size=3), unusable=st.lists(noise, max_size=3))
def test_songs_are_read_whatever_stands_between_them(expected: list[models.Song], unusable: list[Any]) -> None:
    assert responses.parse_songs([*unusable, *map(asdict, expected), *unusable], REQUEST) == expected


@given(text=st.builds("".join, st.tuples(any_text | st.just(""), song_ids, any_text | st.just(""))))
@example(text="a\n")
def test_an_id_is_harmless_in_a_query_and_in_a_file_name(text: str) -> None:
    if prompts.is_song_id(text):
        assert set(text) <= set(f"{string.ascii_letters}{string.digits}._-")
        assert text[0].isalnum()
        assert len(f"{text}.stems.unknown.json") <= 255


@given(payload=mutated(lists_of_songs))
@example(payload=[{"id": "a", "duration_s": 10**400}, {"id": "b", "duration_s": float("inf")}])
@example(payload=[{"id": "a", "title": "cut in an emoji \ud83d", "status": "x" * 100_000, "share_url": "\0"}])
def test_a_song_can_be_asked_for_and_its_summary_can_be_stored(payload: Any) -> None:
    found = outcome(lambda: responses.parse_songs(payload, REQUEST))
    for song in found if isinstance(found, list) else []:
        assert prompts.is_song_id(song.id)
        check_json(summary_of(song))


@given(expected=st.lists(accounts, max_size=3, unique_by=lambda account: account.user_id))
def test_accounts_are_read(expected: list[models.Account]) -> None:
    payload = {account.user_id: account_document(account) for account in expected}
    found = responses.parse_accounts(payload, REQUEST)
    assert [(account.user_id, account.max_jobs) for account in found] == [
        (account.user_id, account.max_jobs) for account in expected
    ]
    assert [account.error is None for account in found] == [account.error is None for account in expected]
    for account in expected:
        assert responses.parse_account(account_document(account), REQUEST).user_id == account.user_id
    check_error(useapi_errors.broken_accounts_error(found, REQUEST))


@given(payload=mutated(objects_of_accounts))
@example(payload={f"u{number}\x1b": {"error": "x" * 60} for number in range(50)})
def test_broken_accounts_of_any_reply_are_one_error(payload: Any) -> None:
    found = outcome(lambda: responses.parse_accounts(payload, REQUEST))
    if isinstance(found, list):
        error = useapi_errors.broken_accounts_error(found, REQUEST)
        check_error(error)
        check_json(event_of_error(error))


@given(expected=st.lists(jobs, max_size=3), unusable=st.lists(noise, max_size=3))
def test_jobs_are_read_whatever_stands_between_them(expected: list[models.Job], unusable: list[Any]) -> None:
    assert responses.parse_jobs([*unusable, *map(job_document, expected)], REQUEST) == expected


@given(expected=st.lists(slots, max_size=3), unusable=st.lists(noise, max_size=3))
def test_slots_are_read_whatever_stands_between_them(expected: list[models.Slots], unusable: list[Any]) -> None:
    assert responses.parse_available({"available": [*map(slots_document, expected), *unusable]}, REQUEST) == expected


@given(lyrics=plain_text, others=st.dictionaries(any_text, json_values, max_size=2))
def test_lyrics_are_read_whatever_stands_beside_them(lyrics: str, others: dict[str, Any]) -> None:
    assert responses.parse_lyrics({**others, "lyrics": lyrics}, REQUEST) == lyrics


@given(expected=st.lists(song_ids, min_size=1, max_size=4, unique=True), unusable=st.lists(noise, max_size=2))
@example(expected=["a"], unusable=[{"id": 7}])
def test_created_ids_are_read_from_every_shape(expected: list[str], unusable: list[Any]) -> None:
    # A lost id is a song that was paid for and is not waited for.
    entries = [{"id": song_or_job_id} for song_or_job_id in expected]
    jobs = [{"job_id": song_or_job_id, "id": 7} for song_or_job_id in expected]
    payload: object
    for listed in ([*unusable, *entries], [*entries, *entries], [*jobs, *unusable]):
        for payload in (listed, {"jobs": listed}, {"songs": listed}, {"jobs": listed, "error": "too late"}):
            assert responses.parse_created(payload, REQUEST) == expected
    for payload in ({"job_id": expected[0]}, {"id": expected[0], "job_id": 7}, {"jobs": [], "job_id": expected[0]}):
        assert responses.parse_created(payload, REQUEST) == expected[:1]


@given(payload=mutated(created_documents | envelopes) | json_values)
def test_created_ids_can_be_asked_for(payload: Any) -> None:
    found = outcome(lambda: responses.parse_created(payload, REQUEST))
    if isinstance(found, list):
        assert all(map(prompts.is_song_id, found))
        assert len(set(found)) == len(found)


@given(url=plain_text, payload=json_values)
@example(url="x", payload=["https://files.example/a?sig=1"])
def test_a_download_url_is_returned_and_never_shown(url: str, payload: Any) -> None:
    assert responses.parse_download_url({"url": url, "message": payload}, REQUEST) == url
    found = outcome(lambda: responses.parse_download_url([payload, url], REQUEST))
    assert isinstance(found, errors.RiffusionApiError)
    assert "sig=1" not in str(found)
