"""Plain WAV files from their bytes: what libsndfile gives, bit for bit, or left to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from orchestrator.corpora import audio as audio_module
from orchestrator.corpora.audio import AudioError, FileSource, Heard, examine, resample
from orchestrator.corpora.wav import as_fractions, is_riff, layout_of, plain_numbers


def written(folder: Path, *, channels: int = 1, subtype: str = "PCM_16", n: int = 999) -> Path:
    draw = np.random.default_rng(0)
    # full scale on both sides, where the two sides of 16 bits differ
    audio = np.clip(draw.standard_normal((n, channels)), -1.0, 1.0)
    soundfile.write(folder / "x.wav", audio, 22050, subtype=subtype)
    return folder / "x.wav"


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_samples_are_those_of_libsndfile(tmp_path: Path, channels: int) -> None:
    file = written(tmp_path, channels=channels)
    data = file.read_bytes()
    layout = layout_of(data)
    assert layout is not None
    found = plain_numbers(data, layout)
    assert found is not None
    mono = as_fractions(found[0]).mean(axis=1, dtype=np.float32)

    expected, rate = soundfile.read(file, dtype="float32", always_2d=True)
    np.testing.assert_array_equal(mono, expected.mean(axis=1, dtype=np.float32))
    assert found[1] == rate == 22050
    np.testing.assert_array_equal(FileSource().read(str(file))[0], mono)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_other_codings_are_left_to_libsndfile(tmp_path: Path, subtype: str) -> None:
    file = written(tmp_path, subtype=subtype)
    data = file.read_bytes()
    layout = layout_of(data)
    assert layout is not None
    assert plain_numbers(data, layout) is None

    expected, _ = soundfile.read(file, dtype="float32")
    np.testing.assert_array_equal(FileSource().read(str(file))[0], expected)


def chunk(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)


def riff(*chunks: bytes) -> bytes:
    return b"RIFF" + (4 + sum(map(len, chunks))).to_bytes(4, "little") + b"WAVE" + b"".join(chunks)


FORMAT = chunk(b"fmt ", b"\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0")


def test_chunks_of_odd_length_before_the_samples_are_stepped_over() -> None:
    data = riff(FORMAT, chunk(b"LIST", b"odd"), chunk(b"data", b"\0\x40\0\xc0"))
    layout = layout_of(data)
    assert layout is not None
    found = plain_numbers(data, layout)

    assert found is not None
    assert as_fractions(found[0]).tolist() == [[0.5], [-0.5]]
    assert found[1] == 8000


# All bits set, the largest signed number, and what SoX writes.
@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\xf0\xff\x7f"])
def test_a_length_that_was_never_filled_in_means_all_that_is_there(length: bytes) -> None:
    data = riff(FORMAT, b"data" + length + b"\0\x40\0\xc0\1")
    layout = layout_of(data)
    assert layout is not None
    found = plain_numbers(data, layout)

    assert not layout.cut
    assert found is not None
    assert as_fractions(found[0]).tolist() == [[0.5], [-0.5]]


def test_fewer_bytes_than_promised_are_a_cut() -> None:
    layout = layout_of(riff(FORMAT, b"data\x08\0\0\0\0\x40"))

    assert layout is not None
    assert layout.cut
    assert (layout.promised, layout.present) == (8, 2)


@pytest.mark.parametrize("data", [riff(FORMAT), riff(), b"RIFF\0\0\0\0WAVEdata"])
def test_a_file_without_samples_has_no_layout(data: bytes) -> None:
    assert is_riff(data)
    assert layout_of(data) is None


def test_what_is_no_riff_is_left_alone() -> None:
    assert not is_riff(b"fLaC\0\0\0\x22\0\0\0\0")
    assert not is_riff(b"RIFF\0\0\0\0AVI ")


@pytest.mark.parametrize(("rate", "to"), [(44100, 16000), (48000, 16000), (8000, 16000)])
def test_a_kept_filter_resamples_as_a_new_one_does(rate: int, to: int) -> None:
    import torch
    from torchaudio.functional import resample as plain

    audio = np.random.default_rng(1).standard_normal(3000).astype(np.float32)

    expected = plain(torch.from_numpy(audio), rate, to).numpy()
    np.testing.assert_array_equal(resample(audio, rate=rate, to=to), expected)


def test_sixteen_bits_are_the_same_sound_in_any_container(tmp_path: Path) -> None:
    file = written(tmp_path, n=9999)
    audio, rate = soundfile.read(file, dtype="int16")
    soundfile.write(tmp_path / "x.flac", audio, rate, subtype="PCM_16")
    soundfile.write(tmp_path / "stereo.wav", np.stack([audio, audio], axis=1), rate)

    heard = [examine(str(tmp_path / n), source=FileSource()) for n in ("x.wav", "x.flac")]
    one, other = heard
    assert isinstance(one, Heard)
    assert isinstance(other, Heard)
    assert (one.content, one.duration) == (other.content, other.duration)
    loud = FileSource().samples(str(file))[0]
    assert loud.dtype == np.int16
    assert FileSource().samples(str(tmp_path / "stereo.wav"))[0].dtype == np.float32
    soundfile.write(tmp_path / "float.wav", audio / np.float32(32768), rate, subtype="FLOAT")
    for name in ("stereo.wav", "float.wav"):
        again = examine(str(tmp_path / name), source=FileSource())
        assert isinstance(again, Heard)
        assert again.content == one.content


def test_much_before_the_samples_of_a_large_file_hides_no_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_module, "_READ_WHOLE", 100_000)
    monkeypatch.setattr(audio_module, "_HEADER", 64)
    data = riff(FORMAT, chunk(b"JUNK", b"j" * 1000), chunk(b"data", b"\1\0" * 100_000))
    (tmp_path / "x.wav").write_bytes(data[:150_000])

    with pytest.raises(AudioError, match="cut short"):
        FileSource().read(str(tmp_path / "x.wav"))


def test_a_read_that_ends_early_is_a_cut_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk on the network may give less than the file's size."""
    file = written(tmp_path)
    half = file.read_bytes()[:1000]
    monkeypatch.setattr(audio_module, "open", lambda *_, **__: _Short(file, half), raising=False)

    with pytest.raises(AudioError, match="cut short"):
        FileSource().read(str(file))


class _Short:
    """A file whose reads end early."""

    def __init__(self, file: Path, there: bytes) -> None:
        self.stream, self.there = file.open("rb"), there

    def __enter__(self) -> _Short:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def fileno(self) -> int:
        return self.stream.fileno()

    def read(self, count: int) -> bytes:
        return self.there
