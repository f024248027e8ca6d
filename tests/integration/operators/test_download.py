"""The download operator and the hook against the emulator, over a real socket, down to the bytes in the storage."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, ObjectStoragePath, dag
from airflow.sdk.definitions.param import DagParam

from airflow_provider_riffusion import exceptions as errors
from airflow_provider_riffusion.emulator import Emulator, Song, example_accounts
from airflow_provider_riffusion.operators.riffusion import RiffusionDownloadOperator
from airflow_provider_riffusion.transport import retry as retries
from tests.support.raw_server import ok, response, serve

pytestmark = pytest.mark.usefixtures("connection", "no_backoff")

DOWNLOAD = "music/download"


@pytest.fixture
def song_id(emulator: Emulator) -> str:
    return emulator.songs[0].id


def run(**parameters: Any) -> Any:
    return RiffusionDownloadOperator(task_id="download", **parameters).execute({})


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("audio_reply", ["bytes", "chunked", "close", "url", "redirect"])
@pytest.mark.parametrize("download_format", ["mp3", "wav"])
def test_audio_arrives_byte_for_byte(
    emulator: Emulator, song_id: str, tmp_path: Path, download_format: str, audio_reply: str
) -> None:
    emulator.configure(audio_reply=audio_reply)
    result = run(song_id=song_id, download_format=download_format, storage_path=str(tmp_path))
    content = emulator.audio(song_id, download_format)
    assert files_in(tmp_path) == {f"{song_id}.{download_format}": content}
    assert result == {
        "song_id": song_id,
        "download_format": download_format,
        "path": str(tmp_path / f"{song_id}.{download_format}"),
        "storage_conn_id": None,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "content_type": {"mp3": "audio/mpeg", "wav": "audio/wav"}[download_format],
        "skipped": False,
        "files": [],
    }
    # A redirect within the origin keeps the token, as a slash too few needs it; a URL from a body never gets it.
    expected = {"url": [True, False], "redirect": [True, True]}.get(audio_reply, [True])
    assert [request.token_sent for request in emulator.requests] == expected


@pytest.mark.parametrize("stems_reply", ["base64", "top-level", "list", "list-base64", "data-uri", "urls", "objects"])
def test_stems_arrive_byte_for_byte(emulator: Emulator, song_id: str, tmp_path: Path, stems_reply: str) -> None:
    emulator.configure(stems_reply=stems_reply)
    result = run(song_id=song_id, download_format="stems", storage_path=str(tmp_path))
    folder = tmp_path / f"{song_id}.stems"
    found = files_in(folder)
    manifest = found.pop("manifest.json")
    assert {name.removesuffix(".m4a"): content for name, content in found.items()} == emulator.stems(song_id)
    assert json.loads(manifest)["version"] == 1
    assert [entry["path"] for entry in json.loads(manifest)["files"]] == [Path(f["path"]).name for f in result["files"]]
    assert result["path"] == str(folder)
    assert result["size"] == sum(map(len, found.values()))
    assert result["sha256"] == hashlib.sha256(manifest).hexdigest()
    assert {file["name"] for file in result["files"]} == set(emulator.stems(song_id))
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert [request.token_sent for request in emulator.requests if "/files/" in request.path].count(True) == 0


@pytest.mark.parametrize("missing_stems", ["absent", "null", "empty"])
def test_stems_that_are_missing_are_left_out(emulator: Emulator, tmp_path: Path, missing_stems: str) -> None:
    emulator.configure(missing_stems=missing_stems)
    emulator.add_song(Song("instrumental", stems=("drums", "bass")))
    result = run(song_id="instrumental", download_format="stems", storage_path=str(tmp_path))
    assert [file["name"] for file in result["files"]] == ["drums", "bass"]


def stems_document(names: list[str]) -> bytes:
    content = b"\0\0\0\x1cftypM4A " + bytes(1000)
    return json.dumps({"stems": dict.fromkeys(names, base64.b64encode(content).decode())}).encode()


def test_the_xcom_of_six_stems_is_small(connect: Callable[..., None], tmp_path: Path) -> None:
    with serve(ok(stems_document([letter * 1000 for letter in "abcdef"]))) as server:
        connect(server.url, "t")
        result = run(song_id="x" * 128, download_format="stems", storage_path=str(tmp_path))
    assert len(result["files"]) == 6
    assert len(json.dumps(result)) < 4096


def test_stems_of_an_unknown_shape_are_kept_and_end_the_task(emulator: Emulator, song_id: str, tmp_path: Path) -> None:
    emulator.configure(stems_reply="unknown")
    with pytest.raises(errors.RiffusionStemsError) as caught:
        run(song_id=song_id, download_format="stems", storage_path=str(tmp_path))
    (name, content), *others = files_in(tmp_path).items()
    assert not others
    assert name == f"{song_id}.stems.unknown.json"
    assert json.loads(content)
    assert caught.value.raw_path == str(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert emulator.count(DOWNLOAD) == 1


def test_stem_names_cannot_leave_their_folder(connect: Callable[..., None], tmp_path: Path, emulator: Emulator) -> None:
    names = [
        "../x",
        "a/b",
        "",
        "v" * 3000,
        "Vocals",
        "vocals",
        "vocals.m4a",
        "manifest.json",
        "response.json",
        "0.stem",
    ]
    with serve(ok(stems_document(names))) as server:
        connect(server.url, "t")
        result = run(song_id="s", download_format="stems", storage_path=str(tmp_path / "songs"))
    folder = tmp_path / "songs" / "s.stems"
    assert len(result["files"]) == len(names)
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {folder}
    assert len({path.name.casefold() for path in folder.iterdir()}) == len(names) + 1


# --- faults: the older file stays, nothing else is left, and the number of requests is right

FATAL = {
    "596": ({"what": "status", "status": 596}, errors.RiffusionPendingError, 1),
    "596 html": ({"what": "status", "status": 596, "body": "html"}, errors.RiffusionPendingError, 1),
    "596 empty": ({"what": "status", "status": 596, "body": "empty"}, errors.RiffusionPendingError, 1),
    "401": ({"what": "status", "status": 401}, errors.RiffusionUnauthorizedError, 1),
    "402": ({"what": "status", "status": 402}, errors.RiffusionSubscriptionError, 1),
    "404": ({"what": "status", "status": 404}, errors.RiffusionNotFoundError, 1),
    "409": ({"what": "status", "status": 409}, errors.RiffusionNotReadyError, 1),
    "429": ({"what": "status", "status": 429}, errors.RiffusionRateLimitError, 5),
    "429 for long": (
        {"what": "status", "status": 429, "retry_after": "3600"},
        errors.RiffusionRateLimitError,
        1,
    ),
    "500": ({"what": "status", "status": 500}, errors.RiffusionServerError, 5),
    "600": ({"what": "status", "status": 600}, errors.RiffusionServerError, 1),
    "json error": ({"what": "json-error"}, errors.RiffusionApiError, 1),
    "html": ({"what": "html"}, errors.RiffusionDownloadError, 1),
    "empty": ({"what": "empty"}, errors.RiffusionDownloadError, 5),
    "204": ({"what": "204"}, errors.RiffusionApiError, 1),
    "wrong format": ({"what": "wrong-format"}, errors.RiffusionDownloadError, 1),
    "truncated": ({"what": "truncate", "framing": "length"}, errors.RiffusionDownloadError, 5),
    "truncated, chunked": ({"what": "truncate", "framing": "chunked"}, errors.RiffusionDownloadError, 5),
    "truncated, no length": ({"what": "truncate", "framing": "close"}, errors.RiffusionDownloadError, 5),
    "cut gzip": ({"what": "gzip-cut"}, errors.RiffusionDownloadError, 5),
    "reset": ({"what": "reset"}, errors.RiffusionConnectionError, 5),
    "reset in the body": ({"what": "reset", "after_bytes": 3000}, errors.RiffusionDownloadError, 5),
    "stall": ({"what": "stall", "after_bytes": 3000}, errors.RiffusionDownloadError, 5),
    "drip": ({"what": "drip", "bytes_per_second": 2}, errors.RiffusionDownloadError, 5),
    "redirect to a file": (
        {"what": "redirect", "url": "file:///etc/passwd"},
        errors.RiffusionDownloadError,
        1,
    ),
    "redirect loop": ({"what": "redirect-loop"}, errors.RiffusionDownloadError, 1),
}


def patience(fault: dict[str, Any]) -> dict[str, float]:
    """Return little patience for what only that ends, and no limit that a busy machine could reach for the rest."""
    return {"timeout": 0.3, "low_speed_time": 0.3} if fault["what"] in ("stall", "drip") else {}


@pytest.mark.parametrize(("fault", "error_class", "requests"), FATAL.values(), ids=FATAL)
@pytest.mark.parametrize("download_format", ["mp3", "wav"])
def test_a_fault_that_lasts(
    emulator: Emulator,
    connect: Callable[..., None],
    song_id: str,
    tmp_path: Path,
    download_format: str,
    fault: dict[str, Any],
    error_class: type[errors.RiffusionError],
    requests: int,
) -> None:
    connect(emulator.url, emulator.token, **patience(fault))
    old = tmp_path / f"{song_id}.{download_format}"
    old.write_bytes(b"old")
    emulator.fault(**fault, path=DOWNLOAD)
    with pytest.raises(errors.RiffusionError) as caught:
        run(song_id=song_id, download_format=download_format, storage_path=str(tmp_path))
    assert type(caught.value) is error_class
    assert emulator.count(DOWNLOAD) == requests
    assert files_in(tmp_path) == {old.name: b"old"}
    assert [path.name for path in tmp_path.iterdir()] == [old.name]
    assert emulator.token not in str(caught.value) + repr(caught.value) + repr(pickle.dumps(caught.value))


@pytest.mark.parametrize(
    "fault",
    [fault for fault, _, requests in FATAL.values() if requests == retries.ATTEMPTS],
    ids=[name for name, (_, _, requests) in FATAL.items() if requests == retries.ATTEMPTS],
)
@pytest.mark.parametrize("download_format", ["mp3", "wav", "stems"])
def test_a_fault_that_passes_is_mended(
    emulator: Emulator,
    connect: Callable[..., None],
    song_id: str,
    tmp_path: Path,
    download_format: str,
    fault: dict[str, Any],
) -> None:
    connect(emulator.url, emulator.token, **patience(fault))
    emulator.fault(**fault, path=DOWNLOAD, times=1)
    run(song_id=song_id, download_format=download_format, storage_path=str(tmp_path))
    assert emulator.count(DOWNLOAD) == 2
    if download_format == "stems":
        assert len(files_in(tmp_path)) == 5
    else:
        assert files_in(tmp_path) == {f"{song_id}.{download_format}": emulator.audio(song_id, download_format)}


@pytest.mark.parametrize("what", ["truncate", "reset", "html", "wrong-format"])
def test_a_stem_that_fails_leaves_the_older_set(emulator: Emulator, song_id: str, tmp_path: Path, what: str) -> None:
    run(song_id=song_id, download_format="stems", storage_path=str(tmp_path))
    before = files_in(tmp_path)
    emulator.configure(stems_reply="urls")
    fault = {"reset": {"after_bytes": 100}}.get(what, {})
    emulator.fault(what, path="drums", **fault)
    if what == "wrong-format":
        emulator.clear()
        emulator.fault("status", status=404, path="drums")
    with pytest.raises(errors.RiffusionDownloadError):
        run(song_id=song_id, download_format="stems", storage_path=str(tmp_path))
    assert files_in(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_document_that_is_no_json(emulator: Emulator, song_id: str, tmp_path: Path) -> None:
    emulator.fault("html", path=DOWNLOAD)
    with pytest.raises(errors.RiffusionDownloadError, match="no JSON"):
        run(song_id=song_id, download_format="stems", storage_path=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lead", [b"\xef\xbb\xbf", b" " * 50])
@pytest.mark.parametrize("download_format", ["mp3", "stems"])
def test_an_error_is_found_behind_a_byte_order_mark(
    connect: Callable[..., None], tmp_path: Path, lead: bytes, download_format: str
) -> None:
    with serve(ok(lead + b'{"error": "Your account has pending error."}')) as server:
        connect(server.url, "t")
        with pytest.raises(errors.RiffusionPendingError):
            run(song_id="s", download_format=download_format, storage_path=str(tmp_path))


def test_a_stem_that_fails_breaks_the_others_off(
    emulator: Emulator, connect: Callable[..., None], song_id: str, tmp_path: Path
) -> None:
    connect(emulator.url, emulator.token, timeout=60, low_speed_time=60)
    emulator.configure(stems_reply="urls")
    emulator.fault("stall", path="vocals")
    emulator.fault("status", status=404, path="drums")
    start = time.monotonic()
    with pytest.raises(errors.RiffusionDownloadError, match="404"):
        run(song_id=song_id, download_format="stems", storage_path=str(tmp_path))
    assert time.monotonic() - start < 30
    assert list(tmp_path.iterdir()) == []


def test_a_timeout_of_airflow_breaks_the_stems_off(
    emulator: Emulator, connect: Callable[..., None], song_id: str, tmp_path: Path
) -> None:
    from airflow.sdk.execution_time.timeout import timeout

    connect(emulator.url, emulator.token, timeout=60, low_speed_time=60)
    emulator.configure(stems_reply="urls")
    emulator.fault("stall", path="files/")
    start = time.monotonic()
    with pytest.raises(BaseException, match="Timeout"), timeout(1):
        run(song_id=song_id, download_format="stems", storage_path=str(tmp_path))
    assert time.monotonic() - start < 30
    assert list(tmp_path.iterdir()) == []


def test_a_long_document_with_any_character(connect: Callable[..., None], tmp_path: Path) -> None:
    content = b"\0\0\0\x1cftypM4A " + bytes(2 * 2**20)
    document = json.dumps({"stems": {"v\U0001f3b5": base64.b64encode(content).decode()}}, ensure_ascii=False)
    with serve(ok(b"\xef\xbb\xbf" + document.encode())) as server:
        connect(server.url, "t")
        result = run(song_id="s", download_format="stems", storage_path=str(tmp_path))
    assert Path(result["files"][0]["path"]).read_bytes() == content


def test_the_kept_json_does_not_hold_the_token(connect: Callable[..., None], tmp_path: Path) -> None:
    with serve(ok(b'{"stems": {"echo": "you sent user:1234-abcdef"}}')) as server:
        connect(server.url, "user:1234-abcdef")
        with pytest.raises(errors.RiffusionStemsError):
            run(song_id="s", download_format="stems", storage_path=str(tmp_path))
    assert files_in(tmp_path) == {"s.stems.unknown.json": b'{"stems": {"echo": "you sent ***"}}'}


def test_a_damaged_stem(connect: Callable[..., None], tmp_path: Path) -> None:
    text = base64.b64encode(b"\0\0\0\x1cftypM4A " + bytes(1000)).decode()
    with serve(ok(json.dumps({"vocals": text[:500] + "!" + text[500:]}).encode())) as server:
        connect(server.url, "t")
        with pytest.raises(errors.RiffusionDownloadError, match="'vocals' is damaged"):
            run(song_id="s", download_format="stems", storage_path=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_hosts_refusal_says_nothing_about_the_token(emulator: Emulator, song_id: str, tmp_path: Path) -> None:
    emulator.configure(audio_reply="url")
    emulator.fault("status", status=401, path="files/")
    with pytest.raises(errors.RiffusionDownloadError, match="answered HTTP 401"):
        run(song_id=song_id, storage_path=str(tmp_path))


@pytest.mark.parametrize("download_format", ["mp3", "wav", "stems"])
def test_max_bytes(emulator: Emulator, song_id: str, tmp_path: Path, download_format: str) -> None:
    with pytest.raises(errors.RiffusionTooLargeError, match="5000"):
        run(song_id=song_id, download_format=download_format, storage_path=str(tmp_path), max_bytes=5000)
    assert emulator.count(DOWNLOAD) == 1
    assert list(tmp_path.iterdir()) == []


def test_max_bytes_counts_all_stems_while_they_come(connect: Callable[..., None], tmp_path: Path) -> None:
    stem = b"\0\0\0\x1cftypM4A " + bytes(1000)

    def document(connection: socket.socket) -> None:
        urls = {f"stem{number}": f"{server.url}/{number}" for number in range(32)}
        ok(json.dumps({"stems": urls}).encode())(connection)

    with serve(document, ok(stem)) as server:
        connect(server.url, "t")
        with pytest.raises(errors.RiffusionTooLargeError, match="the stems are larger than the 2500 bytes"):
            run(song_id="song", download_format="stems", storage_path=str(tmp_path), max_bytes=2500)
    # The document, the three that are too much, and what was on its way by then.
    assert len(server.requests) <= 1 + 3 + 4
    assert list(tmp_path.iterdir()) == []


# --- if_exists


@pytest.mark.parametrize("download_format", ["mp3", "wav", "stems"])
def test_if_exists(emulator: Emulator, song_id: str, tmp_path: Path, download_format: str) -> None:
    parameters = {"song_id": song_id, "download_format": download_format, "storage_path": str(tmp_path)}
    first = run(**parameters, if_exists="skip")
    assert not first["skipped"]
    before = files_in(tmp_path)
    emulator.clear()

    second = run(**parameters, if_exists="skip")
    assert second == {**first, "skipped": True, "sha256": None}
    with pytest.raises(errors.RiffusionFileExistsError, match="if_exists"):
        run(**parameters, if_exists="fail")
    assert emulator.requests == []
    assert files_in(tmp_path) == before

    assert run(**parameters, if_exists="replace") == first
    assert files_in(tmp_path) == before


def test_an_incomplete_set_is_not_skipped(emulator: Emulator, song_id: str, tmp_path: Path) -> None:
    parameters = {"song_id": song_id, "download_format": "stems", "storage_path": str(tmp_path)}
    run(**parameters)
    (tmp_path / f"{song_id}.stems" / "manifest.json").unlink()
    assert not run(**parameters, if_exists="skip")["skipped"]


# --- parameters

WRONG: dict[str, list[Any]] = {
    "song_id": ["../../etc/x", "/etc/x", "", "x" * 10_000, "a\0b", "a\nb", [5], True, None],
    "download_format": ["flac", "", None],
    "file_name": ["", "a/b", "..", ".", "a\\b", "a\0b", "x" * 300, "ä" * 200],
    "if_exists": ["overwrite", ""],
    "max_bytes": [0, -1, "many", 1.5, True],
    "storage_path": ["", "songs", "s3://", "a\0"],
    "storage_conn_id": ["", "a\nb"],
    "user_id": ["", "a\nb"],
    "riffusion_conn_id": ["", None],
}


#: What ``render_template_as_native_obj`` makes of templates.
NATIVE: dict[str, Any] = {"song_id": 20250401, "file_name": 20250402, "max_bytes": 9999}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_literal_fails_when_the_dag_is_parsed_and_a_rendered_one_before_any_request(
    emulator: Emulator, tmp_path: Path, name: str, value: Any
) -> None:
    right = {"song_id": "s", "storage_path": str(tmp_path)}
    with pytest.raises(errors.RiffusionConfigurationError, match=name) as caught:
        RiffusionDownloadOperator(task_id="t", **{**right, name: value})
    assert len(str(caught.value)) < 500

    operator = RiffusionDownloadOperator(task_id="t", **{**right, name: "{{ params.x }}"})
    setattr(operator, name, value)
    with pytest.raises(errors.RiffusionConfigurationError, match=name):
        operator.execute({})
    assert emulator.requests == []
    assert list(tmp_path.iterdir()) == []


def test_templates_and_xcoms_are_left_alone_until_they_are_rendered() -> None:
    template: dict[str, Any] = dict.fromkeys(RiffusionDownloadOperator.template_fields, "{{ params.x }}")
    assert RiffusionDownloadOperator(task_id="t", **template).song_id == "{{ params.x }}"
    with DAG("d"):
        first = EmptyOperator(task_id="first")
        outputs: dict[str, Any] = {name: first.output for name in template if name != "storage_conn_id"}
        second = RiffusionDownloadOperator(task_id="second", **outputs)
    assert second.upstream_task_ids == {"first"}

    def with_argument(song_id: str = "abc") -> None:
        RiffusionDownloadOperator(task_id="t", song_id=song_id, storage_path=song_id)

    (task,) = dag()(with_argument)().tasks
    assert isinstance(task, RiffusionDownloadOperator)
    assert isinstance(task.song_id, DagParam)
    assert set(template) == set(WRONG)


def test_a_path_object_is_kept_as_text(tmp_path: Path) -> None:
    assert RiffusionDownloadOperator(task_id="t", song_id="s", storage_path=tmp_path).storage_path == str(tmp_path)
    path = ObjectStoragePath("s3://bucket/songs")
    assert RiffusionDownloadOperator(task_id="t", song_id="s", storage_path=path).storage_path == "s3://bucket/songs"


@pytest.mark.parametrize("kind", [Path, ObjectStoragePath])
def test_a_path_object_may_come_from_another_task(
    emulator: Emulator, song_id: str, tmp_path: Path, kind: Callable[[str], Any]
) -> None:
    operator = RiffusionDownloadOperator(task_id="t", song_id=song_id, storage_path="{{ params.x }}")
    # What Airflow puts there for an XComArg.
    operator.storage_path = kind(str(tmp_path))
    assert operator.execute({})["path"] == str(tmp_path / f"{song_id}.mp3")


def test_numbers_that_native_rendering_makes_of_digits_are_text(emulator: Emulator, tmp_path: Path) -> None:
    emulator.add_song(Song("20250401"))
    operator = RiffusionDownloadOperator(task_id="t", storage_path=str(tmp_path), **dict.fromkeys(NATIVE, "{{ x }}"))
    for name, value in NATIVE.items():
        setattr(operator, name, value)
    result = operator.execute({})
    assert (result["song_id"], result["path"]) == ("20250401", str(tmp_path / "20250402.mp3"))


def test_the_log_begins_with_the_path_and_the_size(
    emulator: Emulator, song_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"{song_id}.mp3"
    for start in ("Stored", "Skipped"):
        run(song_id=song_id, storage_path=str(tmp_path), if_exists="skip")
        assert f"] {start} {path}, {path.stat().st_size} bytes" in capsys.readouterr().out


def test_rendered_text_is_enough(emulator: Emulator, song_id: str, tmp_path: Path) -> None:
    result = run(song_id=song_id, storage_path=str(tmp_path), max_bytes="9999", file_name="one song.mp3")
    assert result["path"] == str(tmp_path / "one song.mp3")


@pytest.mark.parametrize(
    ("download_format", "file_name", "stored"),
    [
        ("mp3", "one song", "one song.mp3"),
        ("wav", "song", "song.wav"),
        ("mp3", "a.b", "a.b"),
        ("stems", "song", "song"),
    ],
)
def test_a_file_name_without_an_ending_gets_one(
    emulator: Emulator, song_id: str, tmp_path: Path, download_format: str, file_name: str, stored: str
) -> None:
    result = run(song_id=song_id, download_format=download_format, storage_path=str(tmp_path), file_name=file_name)
    assert result["path"] == str(tmp_path / stored)
    assert (tmp_path / stored).exists()


def test_the_connections_storage_path_is_the_default(
    emulator: Emulator, connect: Callable[..., None], song_id: str, tmp_path: Path
) -> None:
    connect(emulator.url, emulator.token, storage_path=f"file://{tmp_path}/a")
    assert run(song_id=song_id)["path"] == str(tmp_path / "a" / f"{song_id}.mp3")
    assert run(song_id=song_id, storage_path=str(tmp_path))["path"] == str(tmp_path / f"{song_id}.mp3")


def test_no_storage_path_at_all(emulator: Emulator, song_id: str) -> None:
    with pytest.raises(errors.RiffusionConfigurationError, match="storage_path is None"):
        run(song_id=song_id)
    assert emulator.requests == []


def test_the_account_is_the_parameter_or_else_the_connections(connect: Callable[..., None], tmp_path: Path) -> None:
    accounts = example_accounts(2)
    songs = [Song("one", user_id="user-1"), Song("two", user_id="user-2")]
    with Emulator(accounts=accounts, songs=songs) as emulator:
        connect(emulator.url, emulator.token, user_id="user-1", storage_path=str(tmp_path))
        run(song_id="one")
        run(song_id="two", user_id="user-2")
        assert [request.query["user_id"] for request in emulator.requests] == ["user-1", "user-2"]
        connect(emulator.url, emulator.token, storage_path=str(tmp_path))
        with pytest.raises(errors.RiffusionBadRequestError):
            run(song_id="one")


def test_on_kill_removes_the_unfinished_download(emulator: Emulator, song_id: str, tmp_path: Path) -> None:
    emulator.fault("drip", bytes_per_second=4000, path=DOWNLOAD)
    operator = RiffusionDownloadOperator(
        task_id="t", song_id=song_id, download_format="wav", storage_path=str(tmp_path)
    )
    operator.on_kill()
    caught: list[BaseException] = []

    def execute() -> None:
        try:
            operator.execute({})
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=execute)
    thread.start()
    while not list(tmp_path.rglob("*.part/.*")):
        time.sleep(0.01)
    operator.on_kill()
    assert list(tmp_path.iterdir()) == []
    emulator.stop()
    thread.join()
    assert caught
    assert list(tmp_path.iterdir()) == []


def test_the_size_of_a_stems_document_is_limited(connect: Callable[..., None], tmp_path: Path) -> None:
    with serve(response(f"HTTP/1.1 200 OK\nContent-Length: {2**28 + 1}", b"{")) as server:
        connect(server.url, "t")
        with pytest.raises(errors.RiffusionTooLargeError):
            run(song_id="s", download_format="stems", storage_path=str(tmp_path))
    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


def test_not_even_a_part_of_a_token_that_a_server_quotes_is_shown(connect: Callable[..., None], tmp_path: Path) -> None:
    with serve(ok(b"user:1234-abcdef is your token")) as server:
        connect(server.url, "user:1234-abcdef")
        with pytest.raises(errors.RiffusionDownloadError, match=r"starts with b'\*\*\* is your token'") as caught:
            run(song_id="song", storage_path=str(tmp_path))
    assert "user:" not in str(caught.value)
