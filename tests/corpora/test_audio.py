from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from orchestrator.corpora.audio import AudioError, FileSource, Heard, examine, resample
from orchestrator.corpora.listing import Problem


def problem(path: Path) -> Problem:
    found = examine(str(path), source=FileSource())

    assert isinstance(found, Problem)
    assert path.name in found.text
    return found


def heard(path: Path) -> Heard:
    found = examine(str(path), source=FileSource())

    assert isinstance(found, Heard)
    return found


def test_samples_are_those_written(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0, 16384, -32768], dtype=np.int16), 8000)

    audio, rate = FileSource().read(str(tmp_path / "a.wav"))

    assert rate == 8000
    assert audio.dtype == np.float32
    assert audio.tolist() == [0.0, 0.5, -1.0]


def test_two_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([[0.5, -0.5], [0.5, 0.25]]), 8000)

    audio, _ = FileSource().read(str(tmp_path / "a.wav"))

    np.testing.assert_allclose(audio, [0.0, 0.375], atol=1e-4)


def test_duration_is_samples_over_rate(tmp_path: Path, write_tone) -> None:
    assert heard(write_tone(tmp_path / "a.wav", seconds=0.25, rate=8000)).duration == 0.25


def test_content_follows_the_sound_and_not_the_container(tmp_path: Path, write_tone) -> None:
    wav = heard(write_tone(tmp_path / "a.wav")).content
    samples, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    soundfile.write(tmp_path / "b.flac", samples, rate)
    flac = heard(tmp_path / "b.flac").content
    higher = heard(write_tone(tmp_path / "c.wav", hz=201.0)).content

    assert wav == flac
    assert wav != higher
    assert len(wav) == 32


def test_same_samples_at_another_rate_are_another_content(tmp_path: Path) -> None:
    samples = 0.5 * np.sin(np.arange(4000))
    soundfile.write(tmp_path / "a.wav", samples, 8000)
    soundfile.write(tmp_path / "b.wav", samples, 16000)

    assert heard(tmp_path / "a.wav").content != heard(tmp_path / "b.wav").content


def test_wav_cut_in_half_is_named_though_libsndfile_reads_it(tmp_path: Path, write_tone) -> None:
    path = write_tone(tmp_path / "half.wav", seconds=0.5)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])

    assert len(soundfile.read(path)[0]) > 0

    found = problem(path)
    assert found.kind == "cut short"
    # 8000 samples of two bytes; the header takes 44 bytes, and 8022 of 16044 bytes are kept.
    assert "promises 16000 bytes of audio, 7978 are there" in found.text


def test_wav_one_byte_short_is_cut_short(tmp_path: Path, write_tone) -> None:
    path = write_tone(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[:-1])

    assert problem(path).kind == "cut short"


def test_wav_of_unknown_length_from_a_pipe_is_fine(tmp_path: Path, write_tone) -> None:
    path = write_tone(tmp_path / "a.wav")
    whole = bytearray(path.read_bytes())
    whole[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(bytes(whole))

    assert heard(path).duration == 0.25


def test_other_chunks_before_and_after_the_data_are_skipped(tmp_path: Path, write_tone) -> None:
    path = write_tone(tmp_path / "a.wav")
    whole = path.read_bytes()
    odd = b"PAD " + struct.pack("<I", 3) + b"abc\0"
    path.write_bytes(whole[:36] + odd + whole[36:] + odd)

    assert heard(path).duration == 0.25


def test_flac_cut_in_half_is_refused(tmp_path: Path, write_tone) -> None:
    path = write_tone(tmp_path / "half.flac", seconds=1.0)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])

    assert problem(path).kind in ("cut short", "unreadable")


def test_text_named_wav_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("this is no audio at all\n" * 10)

    found = problem(path)
    assert found.kind == "unreadable"
    assert "no readable audio" in found.text


def test_header_alone_is_unreadable_or_cut(tmp_path: Path, write_tone) -> None:
    path = write_tone(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[:20])

    assert problem(path).kind in ("cut short", "unreadable")


def test_empty_file_is_zero_length(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")

    assert problem(tmp_path / "a.wav").kind == "zero-length"


def test_wav_without_samples_is_zero_length(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16000)

    assert problem(tmp_path / "a.wav").kind == "zero-length"


@pytest.mark.parametrize(
    ("samples", "usable"), [(1599, False), (1600, True)], ids=["below 0.1 s", "0.1 s"]
)
def test_too_short_is_below_a_tenth_of_a_second(tmp_path: Path, samples: int, usable: bool) -> None:
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(np.arange(samples)), 16000)

    found = examine(str(tmp_path / "a.wav"), source=FileSource())

    assert isinstance(found, Heard) == usable


@pytest.mark.parametrize("offset", [0, 5000], ids=["zeros", "constant offset"])
def test_silence_is_refused_whatever_its_offset(tmp_path: Path, offset: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(8000, offset, dtype=np.int16), 16000)

    assert problem(tmp_path / "a.wav").kind == "silent"


def test_quiet_speech_is_not_silence(tmp_path: Path, write_tone) -> None:
    # A peak of -60 dBFS.
    assert heard(write_tone(tmp_path / "a.wav", peak=0.001)).duration == 0.25


def test_samples_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    samples = np.sin(np.arange(8000)).astype(np.float32)
    samples[100] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")

    assert problem(tmp_path / "a.wav").kind == "not finite"


def test_missing_file_and_folder_do_not_exist(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()

    assert problem(tmp_path / "gone.wav").kind == "missing"
    assert problem(tmp_path / "folder.wav").kind == "missing"


def test_reading_a_bad_file_raises_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.wav does not exist") as caught:
        FileSource().read(str(tmp_path / "gone.wav"))

    assert caught.value.exit_code == 2


def test_resampling_keeps_a_tone() -> None:
    audio = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000).astype(np.float32)

    changed = resample(audio, rate=8000, to=16000)

    assert changed.shape == (16000,)
    assert changed.dtype == np.float32
    # One second: the bin of the spectrum is the frequency in Hz.
    assert np.abs(np.fft.rfft(changed)).argmax() == 440


def test_same_rate_is_returned_untouched() -> None:
    audio = np.arange(5, dtype=np.float32)

    assert resample(audio, rate=16000, to=16000) is audio
