"""Whatever stands in a manifest, also a stranger's: it names files of its own folder, or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion.storage import manifest as stem_set
from airflow_provider_riffusion.storage.manifest import StemFile
from tests.support.strategies import any_text, mutated, plain_text

stored_files = st.builds(
    StemFile,
    name=plain_text,
    path=st.from_regex(r"[a-z0-9-]{1,40}\.(m4a|mp3)", fullmatch=True),
    size=st.integers(1, 10**9),
    sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
)


class OneManifest:
    """A storage in which only a manifest stands."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def size(self, *names: str) -> int:
        return len(self._content)

    def read(self, *names: str) -> bytes:
        return self._content


def read_manifest(content: bytes) -> list[StemFile] | None:
    storage: Any = OneManifest(content)
    return stem_set.read_manifest(storage, "song.stems")


@given(files=st.lists(stored_files, max_size=4))
def test_a_manifest_is_read_as_it_was_written(files: list[StemFile]) -> None:
    document = {"song_id": "song", "files": files}
    assert read_manifest(json.dumps(document).encode()) == files


paths = st.sampled_from(["../x", "..", ".", "", "/etc/passwd", "a/b", "a/..", "manifest.json", "vocals.m4a"]) | any_text


manifests = st.fixed_dictionaries(
    {
        "song_id": st.just("song"),
        "files": st.lists(
            st.fixed_dictionaries({"name": plain_text, "path": paths, "size": st.just(1), "sha256": st.just("0")}),
            max_size=3,
        ),
    }
)


@given(content=mutated(manifests).map(lambda document: json.dumps(document).encode()) | st.binary(max_size=60))
@example(content=b'{"files": [{"name": "x", "path": "manifest.json", "size": 1, "sha256": "0"}]}')
@example(content=b'{"files": [{"name": "x", "path": "..", "size": 1, "sha256": "0"}]}')
def test_a_manifest_of_anybody_names_only_files_of_its_own_folder(content: bytes) -> None:
    for file in read_manifest(content) or ():
        path = Path("/songs/set", file["path"])
        assert path.parent == Path("/songs/set")
        assert file["path"] == path.name
        assert file["path"].isprintable()
        assert file["size"] >= 0
        assert file["path"] not in ("..", "manifest.json")
