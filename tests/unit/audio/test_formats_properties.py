"""Any bytes have a format and a size, or none; a part of a file is never taken for the whole."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_riffusion.audio import formats as audio
from tests.unit.audio.test_formats import ID3, ID3_WITH_FOOTER, make_mp3, make_wav, reader

heads = st.sampled_from(
    [b"ID3", ID3, ID3_WITH_FOOTER, b"\xff\xfb\x90\x00", b"RIFF\0\0\0\0WAVE", b"fLaC", b"\0\0\0\1ftyp"]
)


files = st.one_of(
    st.builds(lambda head, rest, cut: (head + rest)[:cut], heads, st.binary(max_size=100), st.integers(0, 150)),
    st.binary(max_size=100),
)


@given(content=files)
@example(content=b"ID3")
def test_any_bytes_have_a_format_and_a_size_or_none(content: bytes) -> None:
    assert audio.declared_size(reader(content)) >= 0
    assert audio.detect(content[: audio.HEAD_BYTES]) is audio.detect(content)
    if audio.detect(content) is None:
        assert audio.declared_size(reader(content)) == 0


@given(
    tag=st.sampled_from([b"", ID3, ID3_WITH_FOOTER]),
    flags=st.sampled_from([2, 3]),
    second=st.sampled_from([0xFB, 0xF3]),
    kept=st.floats(0, 1),
)
def test_an_mp3_that_is_cut_anywhere_behind_its_head_is_noticed(
    tag: bytes, flags: int, second: int, kept: float
) -> None:
    content = make_mp3(tag=tag, flags=flags, second=second)
    head = len(tag) + 64
    cut = content[: head + int(kept * (len(content) - head))]
    assert audio.declared_size(reader(cut)) == len(content)


@given(seconds=st.floats(0.001, 0.05), kept=st.floats(0, 1))
def test_a_wav_that_is_cut_anywhere_behind_its_head_is_noticed(seconds: float, kept: float) -> None:
    content = make_wav(seconds)
    cut = content[: audio.HEAD_BYTES + int(kept * (len(content) - audio.HEAD_BYTES))]
    assert audio.declared_size(reader(cut)) == len(content)
