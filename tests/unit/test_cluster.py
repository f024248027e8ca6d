"""What the cluster's program counts."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_provider_riffusion.emulator.riffusion.models import AcceptedCreate
from airflow_provider_riffusion.emulator.server.request_log import LoggedRequest
from tests.programs.cluster.outcome import (
    paid_twice,
    peaks_by_kind,
    requests_by_endpoint,
    tries_after,
    undelivered,
    unpaid,
)
from tests.support.processes import descendants, is_alive, kill, processor_seconds

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="finds children in Linux's /proc")


def create(reference: str, *song_ids: str) -> AcceptedCreate:
    return AcceptedCreate({"replyRef": reference}, ("job",), song_ids)


def test_a_task_that_pays_for_two_requests_has_paid_twice() -> None:
    assert paid_twice([create("one-first"), create("two-first"), create("one-second")]) == ["one"]


def test_a_task_that_failed_is_unpaid_unless_a_create_of_its_prompt_was_accepted() -> None:
    def task(index: int, state: str, **rendered: str) -> dict[str, object]:
        return {"map_index": index, "state": state, "rendered_fields": rendered}

    creates = [AcceptedCreate({"prompt": "song 0"}, ("job",), ("song",))]
    tasks = [
        task(0, "failed", prompt="song 0"),
        task(1, "failed", prompt="song 1"),
        task(2, "success", prompt="song 2"),
    ]
    assert unpaid([*tasks, task(3, "upstream_failed"), task(4, "failed")], creates) == [1]


def test_a_song_is_delivered_when_all_its_bytes_are_there(tmp_path: Path) -> None:
    for song_id, content in (("whole", b"audio"), ("cut", b"aud")):
        (tmp_path / f"{song_id}.wav").write_bytes(content)
    creates = [create("one-1", "whole", "cut"), create("two-1", "lost")]
    assert undelivered(creates, tmp_path, lambda _: b"audio") == [
        "cut.wav has other bytes than the server's",
        "lost.wav is missing",
    ]


def test_requests_are_told_apart_by_endpoint_and_end() -> None:
    def request(method: str, path: str, status: int | None, song_id: str | None = None) -> LoggedRequest:
        return LoggedRequest(datetime.now(UTC), 0.0, method, f"/v1/riffusion/{path}", {}, True, song_id, status=status)

    requests = [
        request("POST", "music/create-prompt", 200),
        request("POST", "music/create-prompt/", 429),
        request("GET", "music", 200, "song"),
        request("GET", "music/", 200),
        request("GET", "music/download/", None, "song"),
        request("GET", "music/download/", None, "song"),
    ]
    assert list(requests_by_endpoint(requests).items()) == [
        ("GET music -> 200", 1),
        ("GET music of an id -> 200", 1),
        ("GET music/download -> no response", 2),
        ("POST music/create-prompt -> 200", 1),
        ("POST music/create-prompt -> 429", 1),
    ]


def test_the_tries_of_a_task_are_those_after_it_was_hit() -> None:
    def task(name: str, index: int, tries: int, state: str) -> dict[str, object]:
        return {"task_id": name, "map_index": index, "try_number": tries, "state": state}

    hit = [task("create", 0, 1, "running"), task("create", 1, 2, "running"), task("download", 0, 1, "running")]
    ended = [task("create", 0, 2, "success"), task("create", 1, 3, "success"), task("download", 0, 1, "failed")]
    assert tries_after(hit, ended) == [
        "2 of create: success after 1 more try",
        "1 of download: failed after 0 more tries",
    ]


def test_the_peak_of_a_kind_is_that_of_its_largest_node() -> None:
    samples = {
        "worker-1": [(0.0, 100.0), (1.0, 120.0)],
        "worker-2": [(0.0, 130.0)],
        "worker-3": [(0.0, 90.0)],
        "worker-2, with all children": [(0.0, 700.0)],
        "api-server": [(0.0, 300.0)],
    }
    assert peaks_by_kind(samples) == {"api-server": "300 MB alone", "worker": "130 MB alone, 700 MB with all children"}


@LINUX
def test_a_kill_leaves_no_child_alive() -> None:
    script = "sleep 60 & (setsid sleep 60 & echo; wait)"
    process = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    children = descendants(process.pid)
    assert len(children) >= 2
    kill(process)
    deadline = time.monotonic() + 10
    while (alive := list(filter(is_alive, children))) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive


@LINUX
def test_processor_seconds_are_those_of_processes_that_run_and_of_those_that_have_ended() -> None:
    before = processor_seconds()
    # The outer process has ended a child of its own, which has counted, and waits.
    script = "bash -c 'for ((i = 0; i < 30000; i++)); do :; done'; echo; read"
    with subprocess.Popen(["bash", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        running = processor_seconds()
        process.communicate()
    # Sums of hundredths of a second differ by their rounding.
    assert before < running <= processor_seconds() + 0.001
