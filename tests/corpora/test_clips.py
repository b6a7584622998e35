from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from orchestrator.corpora.audio import AudioError, FileSource
from orchestrator.corpora.clips import ClipSource
from orchestrator.errors import CorpusError
from tests.corpora.trees_meld import write_clip

FASTSTART = {"movflags": "faststart"}


def problem(path: Path) -> AudioError:
    with pytest.raises(AudioError) as caught:
        ClipSource().read(str(path))

    assert path.name in str(caught.value)
    return caught.value


def loudest_hz(audio: np.ndarray, rate: int) -> float:
    return float(np.abs(np.fft.rfft(audio)).argmax()) * rate / len(audio)


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("picture", [True, False])
def test_pitch_level_and_length_of_a_clip(tmp_path: Path, rate: int, picture: bool) -> None:
    path = write_clip(tmp_path / "a.mp4", hz=(440.0,), seconds=1.0, rate=rate, picture=picture)

    audio, own = ClipSource().read(str(path))

    assert own == rate
    assert audio.dtype == np.float32
    assert audio.ndim == 1
    # The encoder pads its last frame of 1024 samples.
    assert rate <= len(audio) < rate + 1024
    assert loudest_hz(audio[:rate], rate) == pytest.approx(440, abs=1)
    # A sine of amplitude 0.5.
    assert np.std(audio[2048:8192]) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


def test_two_channels_are_averaged(tmp_path: Path) -> None:
    both, _ = ClipSource().read(str(write_clip(tmp_path / "both.mp4", hz=(440.0, 440.0))))
    one, rate = ClipSource().read(str(write_clip(tmp_path / "one.mp4", hz=(440.0, 0.0))))

    assert loudest_hz(one[:22050], rate) == pytest.approx(440, abs=2)
    assert np.std(both[2048:8192]) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    assert np.std(one[2048:8192]) == pytest.approx(0.25 / np.sqrt(2), rel=0.02)


def test_capitals_in_the_suffix(tmp_path: Path) -> None:
    assert len(ClipSource().read(str(write_clip(tmp_path / "A.MP4")))[0]) >= 22050


def test_a_name_with_a_colon_is_no_protocol(tmp_path: Path, monkeypatch) -> None:
    write_clip(tmp_path / "b.mp4").rename(tmp_path / "a:b.mp4")
    monkeypatch.chdir(tmp_path)

    assert len(ClipSource().read("a:b.mp4")[0]) >= 22050


def test_other_files_are_read_as_audio_files_are(tmp_path: Path, write_tone) -> None:
    path = str(write_tone(tmp_path / "a.wav"))

    audio, rate = ClipSource().read(path)

    assert rate == 16000
    np.testing.assert_array_equal(audio, FileSource().read(path)[0])


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("this is no clip\n" * 50)
    (tmp_path / "folder.mp4").mkdir()

    assert problem(tmp_path / "gone.mp4").kind == "missing"
    assert problem(tmp_path / "folder.mp4").kind == "missing"
    assert problem(tmp_path / "empty.mp4").kind == "zero-length"
    assert problem(tmp_path / "text.mp4").kind == "unreadable"


def test_a_playlist_named_mp4_opens_nothing(tmp_path: Path) -> None:
    write_clip(tmp_path / "real.mp4")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile real.mp4\n")

    assert problem(tmp_path / "list.mp4").kind == "unreadable"


def test_a_clip_without_sound(tmp_path: Path) -> None:
    found = problem(write_clip(tmp_path / "mute.mp4", sound=False))

    assert found.kind == "unreadable"
    assert "without sound" in str(found)


def test_sound_in_a_coding_nobody_knows(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    whole = path.read_bytes()
    assert whole.count(b"mp4a") == 1
    path.write_bytes(whole.replace(b"mp4a", b"zzzz").replace(b"esds", b"free"))

    assert problem(path).kind == "unreadable"


@pytest.mark.parametrize("options", [{}, FASTSTART], ids=["index behind", "index in front"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_clip_cut_short(tmp_path: Path, options: dict[str, str], share: float) -> None:
    path = write_clip(tmp_path / "cut.mp4", seconds=2.0, options=options)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])

    found = problem(path)
    assert found.kind == "truncated"
    assert f"{int(share * len(whole))} are there" in str(found)


def test_a_clip_without_its_index_is_unreadable(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"moov") - 4])

    assert problem(path).kind == "unreadable"


def test_a_clip_damaged_half_way(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", seconds=2.0, picture=False)
    whole = bytearray(path.read_bytes())
    start, end = whole.index(b"mdat") + 4, whole.rindex(b"moov") - 4
    middle = (start + end) // 2
    whole[middle:end] = b"\xff" * (end - middle)
    path.write_bytes(bytes(whole))

    found = problem(path)
    assert found.kind == "truncated"
    # Half of two seconds, more or less: the bit rate varies.
    seconds = float(str(found).split("read for ")[1].split(" s")[0])
    assert 0.5 < seconds < 1.5


def test_without_pyav_the_way_out_is_named_once_and_for_all(tmp_path: Path, monkeypatch) -> None:
    path = write_clip(tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)

    with pytest.raises(CorpusError, match=r"understudy\[video\].* ffmpeg -i") as caught:
        ClipSource().read(str(path))

    # Not one problem for each of thousands of clips.
    assert not isinstance(caught.value, AudioError)


def test_it_travels_to_workers(tmp_path: Path) -> None:
    path = str(write_clip(tmp_path / "a.mp4"))

    again = pickle.loads(pickle.dumps(ClipSource()))

    np.testing.assert_array_equal(again.read(path)[0], ClipSource().read(path)[0])
