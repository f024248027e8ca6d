"""Parameters as people write them: literals, templates, numbers, text and times."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError
from airflow_provider_riffusion.operators.riffusion import (
    RiffusionCreateComposeOperator,
    RiffusionCreatePromptOperator,
    RiffusionDownloadOperator,
    RiffusionDownloadSongsOperator,
    RiffusionListSongsOperator,
)

TEMPLATE = "{{ params.x }}"


@pytest.mark.parametrize(
    ("name", "value"), [("max_jobs", 99), ("instrumental", "perhaps"), ("timeout", timedelta(0)), ("user_id", "a\nb")]
)
def test_one_template_does_not_switch_off_the_checks_of_the_other_parameters(name: str, value: Any) -> None:
    with pytest.raises(RiffusionConfigurationError, match=f"Task 'create': {name} is"):
        RiffusionCreatePromptOperator(task_id="create", prompt=TEMPLATE, **{name: value})
    with pytest.raises(RiffusionConfigurationError, match="Task 'download': storage_path is"):
        RiffusionDownloadOperator(task_id="download", song_id="s", storage_path="songs", storage_conn_id=TEMPLATE)


def test_an_error_of_the_dag_file_names_the_task_and_one_of_the_run_does_not() -> None:
    with pytest.raises(RiffusionConfigurationError, match=r"^Task 'compose': prompts\[0\]\['strength'\] is 5"):
        RiffusionCreateComposeOperator(task_id="compose", prompts=[{"text": "jazz", "strength": 5}])
    operator = RiffusionDownloadOperator(task_id="download", song_id=TEMPLATE)
    operator.song_id = "../x"
    with pytest.raises(RiffusionConfigurationError, match=r"^song_id is"):
        operator.execute({})


def test_the_remedy_has_a_line_of_its_own_where_a_log_would_cut_it() -> None:
    with pytest.raises(RiffusionConfigurationError) as caught:
        RiffusionDownloadOperator(task_id="t", song_id="s", file_name="a/b" * 20)
    wrong, remedy = str(caught.value).split("\n")
    assert wrong.endswith(";")
    assert remedy.startswith("use one name without slashes")


def test_a_timedelta_is_seconds() -> None:
    wait: dict[str, Any] = {"timeout": timedelta(minutes=30), "poll_interval": timedelta(seconds=10)}
    operator = RiffusionCreatePromptOperator(task_id="t", prompt="jazz", **wait)
    assert (operator.timeout, operator.poll_interval) == (1800.0, 10.0)


def test_what_was_checked_is_what_is_used() -> None:
    """Native rendering makes numbers of text, and Jinja makes text of numbers."""
    texts = {"prompt": 20250401, "user_id": 12345, "reply_ref": 7, "model": 0.8}
    others: dict[str, Any] = {"max_jobs": "3", "instrumental": "true", "timeout": "60", "poll_interval": 5}
    operator = RiffusionCreatePromptOperator(task_id="t", **dict.fromkeys((*texts, *others), TEMPLATE))
    for name, value in (texts | others).items():
        setattr(operator, name, value)
    operator.check_parameters()
    assert {name: getattr(operator, name) for name in texts} == {name: str(value) for name, value in texts.items()}
    assert {name: getattr(operator, name) for name in others} == {
        "max_jobs": 3,
        "instrumental": True,
        "timeout": 60.0,
        "poll_interval": 5.0,
    }


@pytest.mark.parametrize("value", [20250401, "20250401", "2025-04-01T00:00:00Z", datetime(2025, 4, 1)])
def test_a_time_is_a_datetime_with_a_zone(value: Any) -> None:
    operator = RiffusionListSongsOperator(task_id="t", created_after=value)
    assert operator.created_after == datetime(2025, 4, 1, tzinfo=UTC)


@pytest.mark.parametrize("value", [["b", 7, "b", "a"], ("b", "7", "a"), '["b", 7, "a"]'])
def test_songs_are_a_list_or_its_json_and_each_counts_once(value: Any) -> None:
    assert RiffusionDownloadSongsOperator(task_id="t", song_ids=value).song_ids == ["b", "7", "a"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("song_ids", value) for value in ("song", "['song']", "[" * 100_000, '{"a": 1}', {"a"}, b"ab", None, 5)),
        ("song_ids[1]", ["a", "../x"]),
        ("song_ids[0]", '[["a"]]'),
        *(("max_workers", value) for value in (0, 33, "many", True)),
        *(("manifest_name", value) for value in ("songs", "a/b.jsonl", "song.mp3", "")),
    ],
)
def test_a_wrong_parameter_of_a_batch_is_named(name: str, value: Any) -> None:
    parameters = {"song_ids": ["a"], name.partition("[")[0]: value}
    with pytest.raises(RiffusionConfigurationError, match=f"^Task 't': {re.escape(name)} is ") as caught:
        RiffusionDownloadSongsOperator(task_id="t", **parameters)
    assert len(str(caught.value)) < 500


def test_a_list_that_holds_a_template_is_checked_when_it_is_rendered() -> None:
    operator = RiffusionDownloadSongsOperator(task_id="t", song_ids=["a", TEMPLATE])
    operator.song_ids = ["a", "../x"]
    with pytest.raises(RiffusionConfigurationError, match=r"^song_ids\[1\] is"):
        operator.execute({})
