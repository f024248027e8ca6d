"""The audio of songs and stems: real, playable, each with bytes of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_riffusion.emulator import Emulator, Song, example_songs
from tests.emulator.support import SONG, download


def test_a_wav_has_the_size_of_its_duration(emulator: Emulator) -> None:
    content = download(emulator, "wav").content
    assert len(content) == 44 + 2 * 44_100 * 4
    assert int.from_bytes(content[4:8], "little") == len(content) - 8


def test_songs_differ() -> None:
    songs = example_songs(6, duration_s=0.5)
    with Emulator(songs=songs) as emulator:
        for kind in ("mp3", "wav", "m4a"):
            assert len({emulator.audio(song.id, kind) for song in songs}) == len(songs)
        stems = [content for song in songs for content in emulator.stems(song.id).values()]
    assert len(set(stems)) == 4 * len(songs)


def test_padding_makes_stems_large() -> None:
    with Emulator(songs=[Song(id="big", stem_padding=1_000_000)]) as emulator:
        assert all(len(content) > 1_000_000 for content in emulator.stems("big").values())


@pytest.mark.parametrize(("kind", "codec", "duration"), [("mp3", "mp3", 2), ("wav", "pcm_s16le", 2), ("m4a", "aac", 2)])
def test_songs_play(emulator: Emulator, tmp_path: Path, kind: str, codec: str, duration: float) -> None:
    path = tmp_path / "song"
    path.write_bytes(emulator.audio(SONG.id, kind))
    found = probe(path)
    assert found["streams"][0]["codec_name"] == codec
    assert float(found["format"]["duration"]) == pytest.approx(duration, abs=0.1)
    if kind == "mp3":
        assert found["format"]["tags"]["title"] == SONG.title
    else:
        assert found["streams"][0]["sample_rate"] == "44100"


def test_stems_play(emulator: Emulator, tmp_path: Path) -> None:
    for name, content in emulator.stems(SONG.id).items():
        path = tmp_path / name
        path.write_bytes(content)
        assert probe(path)["streams"][0]["codec_name"] == "aac"


def probe(path: Path) -> dict[str, Any]:
    ffprobe = shutil.which("ffprobe")
    if ffprobe is None:
        pytest.skip("ffprobe is not installed: whether the emulator's audio plays was not checked")
    command = [ffprobe, "-v", "error", "-show_format", "-show_streams", "-of", "json", str(path)]
    result = subprocess.run(command, capture_output=True, check=True, text=True)
    assert result.stderr == ""
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_memory_stays_low_while_a_long_wav_streams() -> None:
    song = Song(id="long", duration_s=1200)
    with Emulator(songs=[song]) as emulator:
        with download(emulator, "wav", "long", stream=True) as warm_up:
            next(warm_up.iter_content(1024))
        tracemalloc.start()
        try:
            with download(emulator, "wav", "long", stream=True) as response:
                size = sum(map(len, response.iter_content(1024 * 1024)))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert size == 44 + 1200 * 176_400
    assert peak < 8 * 1024 * 1024
