"""The benchmark of checking and packing: its systems do equal work, its sums are right."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.features import Run, main, summarise, tables
from benchmarks.pinned import at_once
from benchmarks.systems import kaldi_frames, loop_frames, make_files
from orchestrator.errors import UnderstudyError
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.log_mel import log_mel

SECTION = LogMelFeatures(bins=40)


def test_the_files_are_16_bits_at_16_khz_and_last_1_to_6_s(tmp_path: Path) -> None:
    made = [soundfile.info(path) for path in make_files(tmp_path, count=20)]

    assert {(one.samplerate, one.channels, one.subtype) for one in made} == {(16000, 1, "PCM_16")}
    assert len({one.frames for one in made}) == 20
    assert all(1 <= one.duration <= 6 for one in made)


def test_the_loop_makes_the_frames_that_we_make(tmp_path: Path) -> None:
    (path,) = make_files(tmp_path, count=1)
    ours = log_mel(soundfile.read(path, dtype="float32")[0], SECTION)
    loop = loop_frames(SECTION)(path)

    assert loop.shape == ours.shape
    # it mirrors the audio at both ends, where we have zeros
    np.testing.assert_allclose(loop[3:-3], ours[3:-3], atol=1e-3)


def test_kaldi_makes_frames_like_ours(tmp_path: Path) -> None:
    pytest.importorskip("kaldi_native_fbank", reason="pip install kaldi-native-fbank")
    (path,) = make_files(tmp_path, count=1)
    ours = log_mel(soundfile.read(path, dtype="float32")[0], SECTION)
    kaldi = kaldi_frames(SECTION)(path)

    # its frames are centred half a hop later, and its triangles are straight in Mel, ours in Hz
    assert kaldi.shape[1] == 40
    assert abs(len(kaldi) - len(ours)) <= 1
    size = min(len(kaldi), len(ours))
    assert np.corrcoef(kaldi[:size].ravel(), ours[:size].ravel())[0, 1] > 0.95


def test_ratios_are_to_the_loop_of_the_same_turn() -> None:
    def run(system: str, turn: int, seconds: float) -> Run:
        return Run(system, cores=2, turn=turn, files=8, seconds=seconds, peak=10.0 * turn)

    runs = [run("loop", 0, 6.0), run("ours", 0, 3.0), run("loop", 1, 8.0), run("ours", 1, 2.0)]
    loop, ours = summarise(runs, hours=12.0)

    # 12 hours in 3 s and in 2 s, on two cores: 2 and 3 hours a second and core
    assert (ours.hours, ours.ratio, ours.lowest, ours.highest) == (2.5, 3.0, 2.0, 4.0)
    assert (loop.ratio, ours.peak) == (1.0, 10.0)
    assert "| ours | 2 | 5.00 | 2.50 | 3.00 (2.00 to 4.00) | 10 |" in tables([loop, ours], [])


@dataclass(frozen=True)
class Fails:
    """A job that cannot be done."""

    def ready(self) -> Callable[[], int]:
        return lambda: 1 // 0


def test_a_job_that_fails_says_why() -> None:
    with pytest.raises(UnderstudyError, match="ZeroDivisionError"):
        at_once([(Fails(), [0])])


def test_one_file_and_one_core(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    file = tmp_path / "features.json"
    code = main(["--files", "1", "--turns", "1", "--cores", "1", "--json", str(file)])
    said = capsys.readouterr().out
    result = json.loads(file.read_text())

    assert code == 0
    assert "| ours: check | 1 |" in said
    systems = [one["system"] for one in result["speeds"] if one["system"] != "kaldi"]
    assert systems == ["loop", "loop, kept", "ours", "ours: check", "ours: pack"]
    assert result["speeds"][0]["ratio"] == 1.0
    assert [run["files"] for run in result["memory"]] == [1, 1]
    assert all(run["seconds"] > 0 and run["peak"] > 20 for run in result["runs"])
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("arguments", [["--files", "0"], ["--root", "there is no such folder"]])
def test_nothing_to_measure_is_wrong_input(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert arguments[0] in capsys.readouterr().err
