"""Whatever stands in the manifest of an unfinished try, also a stranger's: only what the batch would write counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion.operators.song_download import SongDownload
from airflow_provider_riffusion.operators.song_manifest import SongEntry, SongManifest, read_entries
from airflow_provider_riffusion.useapi.prompts import is_song_id
from tests.support.strategies import any_text, mutated, song_ids

texts = st.sampled_from([None, "", "words", "a\nb\r\u2028", "\0", "\ud83d", "😀"])
entries = st.builds(
    SongEntry,
    id=song_ids,
    format=st.just("mp3"),
    path=st.just(""),
    size=st.integers(0, 10**12),
    sha256=st.sampled_from([None, "0f" * 32]),
    title=texts,
    prompt=texts,
    lyrics=texts,
    created_at=texts,
    duration_s=st.none() | st.floats(0, 1e6),
).map(lambda entry: SongEntry({**entry, "path": f"/songs/{entry['id']}.mp3"}))
paths = st.sampled_from(["/songs/../etc/x.mp3", "/etc/passwd", "x.mp3", "/songs/a/b.mp3", "/songs/x.wav"]) | any_text
strangers = st.one_of(
    entries,
    entries.flatmap(lambda entry: paths.map(lambda path: {**entry, "path": path})),
    entries.flatmap(lambda entry: any_text.map(lambda name: {**entry, "id": name, "path": f"/songs/{name}.mp3"})),
)


class Memory(dict[str, bytes]):
    """A storage in memory."""

    def read(self, name: str) -> bytes | None:
        return self.get(name)

    def path(self, name: str) -> str:
        return f"/songs/{name}"

    def publish(self, spooled: Path, name: str) -> None:
        self[name] = spooled.read_bytes()
        spooled.unlink()

    def delete(self, name: str) -> None:
        self.pop(name, None)


def download_into(storage: Any) -> SongDownload:
    hook: Any = None
    return SongDownload(hook, storage, "mp3", "replace", 1, None)


def read(content: bytes) -> dict[str, SongEntry]:
    return read_entries(download_into(Memory(x=content)), "x")


@given(listed=st.lists(entries, max_size=2, unique_by=lambda entry: entry["id"]))
def test_a_manifest_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, listed: list[SongEntry]
) -> None:
    storage = Memory()
    download = download_into(storage)
    manifest = SongManifest(download, tmp_path_factory.getbasetemp(), "songs.jsonl", "unfinished.jsonl")
    for entry in listed:
        manifest.add(entry, is_new=True)
    manifest.save()
    assert list(read_entries(download, "unfinished.jsonl").values()) == listed
    manifest.finish()
    assert list(read_entries(download, "songs.jsonl").values()) == listed
    assert storage.keys() == {"songs.jsonl"}


lines = mutated(strangers).map(lambda entry: json.dumps(entry).encode()) | st.binary(max_size=60)


@given(content=st.lists(lines, max_size=3).map(b"\n".join))
@example(content=b"[" * 100_000)
@example(content=b"null\n1\n[]\n{}\n\xff\n" + b"9" * 5000)
def test_a_line_of_anybody_names_only_the_file_of_its_song(content: bytes) -> None:
    for song_id, entry in read(content).items():
        assert is_song_id(song_id)
        assert entry["path"] == f"/songs/{song_id}.mp3"
        assert Path(entry["path"]).parent == Path("/songs")
        assert entry.keys() == SongEntry.__annotations__.keys()
        assert entry["format"] == "mp3"
        assert type(entry["size"]) is int
        assert entry["size"] >= 0
        # What is written again is strict JSON.
        json.dumps(entry, allow_nan=False)


@given(entry=entries, at=st.integers(0, 10**4), cut=st.integers(0, 20))
def test_a_damaged_line_hides_no_other(entry: SongEntry, at: int, cut: int) -> None:
    whole = json.dumps(entry).encode()
    at %= len(whole)
    damaged = whole[:at] + whole[at + cut :]
    other = {**entry, "id": "other", "path": "/songs/other.mp3"}
    found = read(damaged + b"\n" + json.dumps(other).encode())
    assert found["other"] == other
