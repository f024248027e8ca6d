"""What a wait says of what it has seen."""

from __future__ import annotations

import pytest

from airflow_provider_riffusion.tasks.waiting import Poll, Wait
from airflow_provider_riffusion.useapi.models import Song


@pytest.mark.parametrize(
    ("polled", "seen"),
    [
        (Poll([[]]), "job-1 has shown no song yet"),
        # The triggerer asks for a job's songs only when the job list has it no more.
        (Poll([[]], is_listed=True), "job-1 is still in the job list"),
        (Poll([[Song("song-1", "queued")]], is_listed=True), "song song-1 is 'queued'"),
    ],
)
def test_a_wait_begins_its_line_with_what_changes(polled: Poll, seen: str, caplog: pytest.LogCaptureFixture) -> None:
    wait = Wait(["job-1"], interval=1, deadline=160.0)
    with caplog.at_level("INFO"):
        assert wait.result(polled, now=100.0) is None
    assert caplog.messages == [f"Waiting, 60 s left: {seen}"]
    assert wait.last_seen == f"Last seen: {seen}."
