from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from orchestrator.corpora.audio import (
    AudioError,
    FileSource,
    Heard,
    examine,
    examine_all,
    examine_in_order,
    rate_of,
    resample,
)
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
    assert found.kind == "truncated"
    # 8000 samples of two bytes; the header takes 44 bytes, and 8022 of 16044 bytes are kept.
    assert "promises 16000 bytes of audio, 7978 are there" in found.text


def test_wav_one_byte_short_is_cut_short(tmp_path: Path, write_tone) -> None:
    path = write_tone(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[:-1])

    assert problem(path).kind == "truncated"


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

    assert problem(path).kind in ("truncated", "unreadable")


def test_text_named_wav_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("this is no audio at all\n" * 10)

    found = problem(path)
    assert found.kind == "unreadable"
    assert "no readable audio" in found.text


def test_header_alone_is_unreadable_or_cut(tmp_path: Path, write_tone) -> None:
    path = write_tone(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[:20])

    assert problem(path).kind in ("truncated", "unreadable")


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
def test_silence_can_be_decoded_but_is_named_whatever_its_offset(
    tmp_path: Path, offset: int
) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(8000, offset, dtype=np.int16), 16000)

    found = heard(tmp_path / "a.wav")

    assert found.duration == 0.5
    assert [one.kind for one in found.problems] == ["silent"]
    assert found.problems[0].text == f"{tmp_path / 'a.wav'} is silent from beginning to end"


def kinds(path: Path, samples: np.ndarray) -> list[str]:
    """The problems of 16000 samples at 16 kHz."""
    assert len(samples) == 16000
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    return [one.kind for one in heard(path).problems]


def tone(peak: float) -> np.ndarray:
    return peak * np.sin(2 * np.pi * 200 * np.arange(16000) / 16000)


@pytest.mark.parametrize(
    ("length", "runs", "named"),
    [(3, 5, False), (3, 6, True), (16, 1, True), (15, 1, False), (2, 4000, False)],
    ids=["15 of 16000", "18 of 16000", "one run of 16", "one run of 15", "pairs are no runs"],
)
def test_clipped_from_a_thousandth_in_runs_of_three(
    tmp_path: Path, length: int, runs: int, named: bool
) -> None:
    samples = tone(0.5)
    for run in range(runs):
        # Both ends of the scale, and from the very first sample on.
        samples[run * (length + 2) :][:length] = 0.995 if run % 2 else -1.0

    assert kinds(tmp_path / "a.wav", samples) == ["clipped"] * named


def test_the_share_that_is_clipped_is_told(tmp_path: Path) -> None:
    samples = tone(0.5)
    samples[-400:] = 1.0
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")

    # 400 of 16000, up to the very last sample.
    assert "is clipped: 2.50% of its samples" in heard(tmp_path / "a.wav").problems[0].text


def test_speech_scaled_to_the_full_range_is_not_clipped(tmp_path: Path) -> None:
    # Of a tone's period of 80 samples, three are within 0.99 of its peak.
    assert kinds(tmp_path / "a.wav", tone(0.98)) == []
    noise = np.random.default_rng(0).normal(size=16000)
    assert kinds(tmp_path / "b.wav", noise / np.abs(noise).max()) == []


@pytest.mark.parametrize(
    ("peak", "offset", "named"),
    [
        (0.05, 0.0049, False),
        (0.05, 0.0051, True),
        (0.05, -0.0051, True),
        # The root mean square of a tone is 0.7071 of its peak: a tenth of it is 0.0283.
        (0.4, 0.027, False),
        (0.4, 0.030, True),
    ],
)
def test_an_offset_is_named_by_full_scale_and_by_loudness(
    tmp_path: Path, peak: float, offset: float, named: bool
) -> None:
    assert kinds(tmp_path / "a.wav", tone(peak) + offset) == ["dc-offset"] * named


def test_several_problems_of_one_file_are_all_named(tmp_path: Path) -> None:
    samples = np.clip(tone(3.0) + 1.5, -1.0, 1.0)

    assert kinds(tmp_path / "a.wav", samples) == ["clipped", "dc-offset"]


def test_quiet_speech_is_not_silence(tmp_path: Path, write_tone) -> None:
    # A peak of -60 dBFS.
    assert heard(write_tone(tmp_path / "a.wav", peak=0.001)).duration == 0.25


def test_samples_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    samples = np.sin(np.arange(8000)).astype(np.float32)
    samples[100] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")

    assert problem(tmp_path / "a.wav").kind == "not-finite"


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


class Counting:
    """A source that notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def read(self, path: str) -> tuple[np.ndarray, int]:
        self.asked.append(path)
        if path == "bad":
            raise AudioError("bad is of no use", kind="unreadable")
        return np.sin(np.arange(1600, dtype=np.float32)), 16000


def test_any_source_can_be_examined_and_progress_is_told() -> None:
    told: list[tuple[int, int]] = []

    found = examine_all(
        ["a", "bad", "c"], source=Counting(), progress=lambda *now: told.append(now)
    )

    assert [type(one) for one in found] == [Heard, Problem, Heard]
    assert found[1] == Problem(kind="unreadable", text="bad is of no use")
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_nothing_to_examine() -> None:
    assert examine_all([], source=Counting()) == []


def test_ending_early_leaves_what_has_not_begun_alone() -> None:
    source = Counting()
    each = examine_in_order([str(number) for number in range(20_000)], source=source)

    next(each)
    each.close()

    assert 1 <= len(source.asked) < 20_000


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_a_file_tells_its_rate_without_being_heard(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a{suffix}"
    soundfile.write(file, np.zeros(22050), 22050)
    if suffix == ".wav":
        file.write_bytes(file.read_bytes()[:1000])

    assert rate_of(FileSource(), str(file)) == 22050


def test_a_file_without_a_rate_is_refused_as_when_it_is_heard(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")

    for name, kind in (("text.wav", "unreadable"), ("gone.wav", "missing")):
        with pytest.raises(AudioError, match=name) as caught:
            rate_of(FileSource(), str(tmp_path / name))
        assert caught.value.kind == kind


def test_a_source_that_does_not_tell_rates_is_heard() -> None:
    class Tones:
        def read(self, path: str) -> tuple[np.ndarray, int]:
            return np.zeros(10, dtype=np.float32), int(path)

    assert rate_of(Tones(), "11025") == 11025


def test_no_recording_of_the_real_emodb_has_a_problem(emodb_root: Path) -> None:
    paths = sorted(str(file) for file in (emodb_root / "wav").glob("*.wav"))

    found = examine_all(paths, source=FileSource())

    assert len(found) == 535
    assert [one for one in found if isinstance(one, Problem) or one.problems] == []


def test_one_speaker_of_the_real_fsdd_was_recorded_with_an_offset(fsdd_root: Path) -> None:
    paths = sorted(str(file) for file in (fsdd_root / "recordings").glob("*_0.wav"))

    found = [examine(path, source=FileSource()) for path in paths]

    named = {
        Path(path).stem.split("_")[1]
        for path, one in zip(paths, found, strict=True)
        if isinstance(one, Problem) or one.problems
    }
    assert len(paths) == 60
    assert named == {"nicolas"}
