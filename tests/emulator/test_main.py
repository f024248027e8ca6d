"""The command line."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import fields

import pytest
import requests

from airflow_provider_riffusion.emulator import Emulator, Fault, Settings
from airflow_provider_riffusion.emulator.__main__ import build_parser, greeting, main, make_emulator
from airflow_provider_riffusion.emulator.server.faults import FAULTS


def test_every_setting_is_an_option() -> None:
    words = [
        *("--generation-seconds", "0.5", "--job-reply", "jobs", "--songs-per-job", "3", "--song-seconds", "1.5"),
        *("--final-status", "completed", "--moderated-word", "", "--failing-word", "oops", "--retry-after", "7"),
        *("--audio-reply", "url", "--stems-reply", "urls", "--missing-stems", "null", "--content-type", "audio/x"),
        *("--files-url", "http://files.example", "--job-id-known", "no", "--songs-shown", "finished"),
        *("--stagger-seconds", "0.25", "--appearance-delay-seconds", "2", "--cancelled-jobs", "dropped"),
        *("--library-order", "by-id", "--library-times", "equal", "--library-changes", "adds", "--page-limit", "20"),
        *("--not-found-body", "html", "--ranges", "yes"),
    ]
    assert make_emulator(build_parser().parse_args(words)).settings == Settings(
        generation_seconds=0.5,
        job_reply="jobs",
        songs_per_job=3,
        song_seconds=1.5,
        final_status="completed",
        moderated_word="",
        failing_word="oops",
        retry_after="7",
        audio_reply="url",
        stems_reply="urls",
        missing_stems="null",
        ranges="yes",
        content_type="audio/x",
        files_url="http://files.example",
        job_id_known="no",
        songs_shown="finished",
        stagger_seconds=0.25,
        appearance_delay_seconds=2,
        cancelled_jobs="dropped",
        library_order="by-id",
        library_times="equal",
        library_changes="adds",
        page_limit=20,
        not_found_body="html",
    )
    assert {f"--{field.name.replace('_', '-')}" for field in fields(Settings)} == {*words[::2]}
    assert make_emulator(build_parser().parse_args([])).settings == Settings()


def test_help_explains_faults_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for name in [*FAULTS, *(field.name for field in fields(Fault) if field.name != "what")]:
        assert f"  {name}: " in text
    assert "seconds that a generation takes" in text
    assert '{"what": "NAME", "FIELD": VALUE} to POST /_emulator/faults' in text


@pytest.mark.parametrize("text", ["", "explode", "times=2", "status=x", "reset,colour=red"])
def test_bad_fault(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--fault", text])
    assert "--fault" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--generation-seconds", "-1"], ["--song-seconds", "nan"], ["--accounts", "0"]])
def test_bad_numbers(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_greeting_can_be_copied() -> None:
    arguments = build_parser().parse_args(["--port", "0", "--accounts", "2", "--songs", "3", "--quiet"])
    with make_emulator(arguments) as emulator:
        text = greeting(emulator)
        line = re.search(r"AIRFLOW_CONN_RIFFUSION_DEFAULT='(.*)'", text)
        assert line
        assert json.loads(line[1]) == {
            "conn_type": "riffusion",
            "host": emulator.url,
            "password": emulator.token,
            "extra": {"user_id": "user-1"},
        }
        url = re.search(r"'(http://\S+/music/download/\S+)'", text)
        assert url
        headers = {"Authorization": f"Bearer {emulator.token}"}
        assert requests.get(url[1], headers=headers, timeout=5).content.startswith(b"ID3")
        assert all(song.id in text for song in emulator.songs)
        assert '{"what":"drip",' in text


def test_process() -> None:
    command = [sys.executable, "-m", "airflow_provider_riffusion.emulator", "--port", "0", "--broken-account"]
    with subprocess.Popen(
        [*command, "--fault", "status=503,times=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        lines = iter(process.stdout.readline, "")
        url = next(match[0] for line in lines if (match := re.search(r"http://[\d.:]+", line)))
        headers = {"Authorization": "Bearer user:1234-abcdef"}
        answers = [requests.get(f"{url}/v1/riffusion/music", headers=headers, timeout=5).status_code for _ in range(2)]
        assert answers == [503, 596]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=5)
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert len(errors.splitlines()) == 2


def test_port_in_use(emulator: Emulator) -> None:
    port = emulator.url.rpartition(":")[2]
    command = [sys.executable, "-m", "airflow_provider_riffusion.emulator", "--port", port]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert result.returncode == 1
    what, remedy = result.stderr.splitlines()
    assert what.startswith("cannot listen on 127.0.0.1 port")
    assert "give another --port" in remedy
