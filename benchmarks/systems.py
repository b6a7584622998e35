"""What the benchmark of features compares, as jobs, and files to do them on."""

from __future__ import annotations

import importlib
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from orchestrator.corpora.audio import FileSource, examine_all, resample
from orchestrator.corpora.table import Corpus
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.features import feature_shards
from orchestrator.log_mel import LOG_FLOOR, LogMel
from orchestrator.store import Store, environment_inputs

RATE = 16_000
SHORTEST, LONGEST = 1.0, 6.0
"""Seconds of the files that are made, evenly spread."""

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class Check:
    """The check of a corpus; returns what was heard of each file."""

    paths: Sequence[str]

    def ready(self) -> Callable[[], list[Any]]:
        """Decode one file first."""
        examine_all(self.paths[:1], source=FileSource())
        return lambda: examine_all(self.paths, source=FileSource())


@dataclass(frozen=True)
class Pack:
    """Every ``of``-th shard of a checked corpus, from number ``part``; returns how many frames."""

    corpus: Corpus
    section: LogMelFeatures
    store: str
    part: int
    of: int

    def ready(self) -> Callable[[], int]:
        """Import torch and build the filters first."""
        _one_thread()
        LogMel(self.section)(np.zeros(RATE, dtype=np.float32))
        environment_inputs("cpu")
        return self._pack

    def _pack(self) -> int:
        shards = feature_shards(self.corpus, self.section, store=Store(self.store))
        folders = [shard.obtain().path for shard in shards[self.part :: self.of]]
        return sum(int(np.load(folder / "offsets.npy")[-1]) for folder in folders)


@dataclass(frozen=True)
class Loop:
    """The loop that anyone would write; returns how many frames."""

    paths: Sequence[str]
    section: LogMelFeatures
    keep: str | None = None
    """Folder for a file of frames an utterance; default: they are thrown away."""

    def ready(self) -> Callable[[], int]:
        """Build the transform and run it once first."""
        _one_thread()
        frames = loop_frames(self.section)
        frames(self.paths[0])
        return lambda: sum(len(self._kept(path, frames(path))) for path in self.paths)

    def _kept(self, path: str, frames: Audio) -> Audio:
        if self.keep is not None:
            np.save(Path(self.keep) / f"{Path(path).stem}.npy", frames)
        return frames


@dataclass(frozen=True)
class Kaldi:
    """The same loop with kaldi-native-fbank; returns how many frames."""

    paths: Sequence[str]
    section: LogMelFeatures

    def ready(self) -> Callable[[], int]:
        """Run it once first."""
        frames = kaldi_frames(self.section)
        frames(self.paths[0])
        return lambda: sum(len(frames(path)) for path in self.paths)


def loop_frames(section: LogMelFeatures) -> Callable[[str], Audio]:
    """From a path to log-Mel frames ``(frames, bins)``, by torchaudio with its own padding."""
    import torch
    from torchaudio.transforms import MelSpectrogram

    mel = MelSpectrogram(
        sample_rate=RATE,
        n_fft=512,
        win_length=400,
        hop_length=160,
        f_min=section.lowest_hz,
        n_mels=section.bins,
    )

    def frames(path: str) -> Audio:
        with torch.inference_mode():
            power = mel(torch.from_numpy(_read(path)))
            found: Audio = power.clamp(min=LOG_FLOOR).log().T.numpy()
        return found

    return frames


def kaldi_frames(section: LogMelFeatures) -> Callable[[str], Audio]:
    """From a path to frames ``(frames, bins)`` with the parameters that come nearest to ours."""
    library: Any = importlib.import_module("kaldi_native_fbank")
    options = library.FbankOptions()
    options.frame_opts.samp_freq = RATE
    options.frame_opts.dither = 0.0
    options.frame_opts.preemph_coeff = 0.0
    options.frame_opts.remove_dc_offset = False
    options.frame_opts.window_type = "hanning"
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins = section.bins
    options.mel_opts.low_freq = section.lowest_hz

    def frames(path: str) -> Audio:
        bank = library.OnlineFbank(options)
        # the binding takes any sequence one number at a time, and a list faster than an array
        bank.accept_waveform(RATE, _read(path).tolist())
        bank.input_finished()
        return np.stack([bank.get_frame(number) for number in range(bank.num_frames_ready)])

    return frames


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _read(path: str) -> Audio:
    samples, rate = soundfile.read(path, dtype="float32")
    if samples.ndim > 1:
        samples = samples.mean(axis=1)
    return resample(samples, rate=rate, to=RATE)


def make_files(folder: Path, *, count: int, seed: int = 0) -> list[str]:
    """Write ``count`` WAV files of tones in noise, 16 kHz, 16 bits, 1 to 6 s; their paths."""
    draw = np.random.default_rng(seed)
    time = np.arange(round(2 * LONGEST * RATE)) / RATE
    sweep = np.sin(2 * np.pi * time * (120 + 40 * time)) + np.sin(2 * np.pi * 900 * time)
    sound = 3000 * sweep + 500 * draw.standard_normal(len(time))
    paths = []
    for number in range(count):
        samples = round(draw.uniform(SHORTEST, LONGEST) * RATE)
        start = draw.integers(len(sound) - samples)
        path = folder / f"{number:07}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            part = draw.uniform(0.5, 2.0) * sound[start : start + samples]
            file.writeframes(part.astype("<i2").tobytes())
        paths.append(str(path))
    return paths
