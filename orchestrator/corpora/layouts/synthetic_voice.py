"""Speech-like audio from a score: a glottal pulse train and noise through moving formants.

The source-filter model of speech (Fant 1960) in its cascade form (Klatt 1980, "Software for a
cascade/parallel formant synthesizer", section I). The filters move, so they are applied frame by
frame in the frequency domain and overlap-added, which needs no loop over samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SAMPLE_RATE: Final = 16000
"""Hz."""
HOP: Final = 128
"""Samples between two control points of a score (8 ms)."""

_FRAME: Final = 2 * HOP
_FFT: Final = 2 * _FRAME
_FREQUENCIES: Final[Floats] = np.arange(_FFT // 2 + 1, dtype=np.float64) * (SAMPLE_RATE / _FFT)
_DELAY: Final = np.exp(-2j * np.pi * _FREQUENCIES / SAMPLE_RATE)
_DELAY_SQUARED: Final = _DELAY * _DELAY
_OCTAVES: Final[Floats] = np.log2(np.maximum(_FREQUENCIES, 200.0) / 200.0)
# A periodic Hann window: at a hop of half its length, neighbours sum to one.
_WINDOW: Final[Floats] = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(_FRAME) / _FRAME)


@dataclass(frozen=True)
class Score:
    """What a voice does, at control points ``HOP`` samples apart.

    Attributes:
        pitch: fundamental frequency in Hz, ``(points,)``.
        voicing: linear amplitude of the glottal pulses, ``(points,)``.
        friction: linear amplitude of the consonants' noise, ``(points,)``.
        friction_centre: centre of that noise in Hz, ``(points,)``.
        formants: resonances of the vocal tract in Hz, ``(points, formants)``.
        bandwidths: their bandwidths in Hz, ``(formants,)``.
        tilt: slope of the glottal spectrum above 200 Hz in dB per octave, ``(points,)``.
        breath: aspiration noise relative to the pulses.
        jitter: standard deviation of pulse times, as a share of the period.
        background: linear amplitude of the room's noise.
        gain: linear gain of the recording.
    """

    pitch: Floats
    voicing: Floats
    friction: Floats
    friction_centre: Floats
    formants: Floats
    bandwidths: Floats
    tilt: Floats
    breath: float
    jitter: float
    background: float
    gain: float

    @property
    def samples(self) -> int:
        """Length of the rendered audio at ``SAMPLE_RATE``."""
        return (len(self.pitch) - 1) * HOP


def _white(bits: np.random.Philox, count: int) -> Floats:
    """White noise of unit variance from raw bits, whose stream NumPy promises never to change."""
    uniform = (bits.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    noise: Floats = (uniform - 0.5) * math.sqrt(12.0)
    return noise


def _pulses(pitch: Floats, *, jitter: float, bits: np.random.Philox) -> Floats:
    """A train of pulses ``(samples,)`` at the pitch (Hz, per sample), of unit power.

    A pulse between two samples is shared by both, so that pitch is not rounded to whole periods.
    """
    phase = np.cumsum(pitch) / SAMPLE_RATE
    count = int(phase[-1])
    times = np.interp(np.arange(1, count + 1), phase, np.arange(len(pitch)))
    index = np.minimum(times.astype(np.int64), len(pitch) - 1)
    period = SAMPLE_RATE / pitch[index]
    times = np.clip(times + jitter * period * _white(bits, count), 0.0, len(pitch) - 2.0)
    index = times.astype(np.int64)
    share = times - index
    # The root keeps the power of the source independent of the pitch.
    height = np.sqrt(period)
    train: Floats = np.zeros(len(pitch))
    np.add.at(train, index, height * (1.0 - share))
    np.add.at(train, index + 1, height * share)
    return train


def _frames(signal: Floats) -> NDArray[np.complex128]:
    """Spectra ``(points, bins)`` of windowed frames centred at the control points."""
    padded = np.pad(signal, HOP)
    blocks = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::HOP]
    spectra: NDArray[np.complex128] = np.fft.rfft(blocks * _WINDOW, _FFT)
    return spectra


def _overlap_add(spectra: NDArray[np.complex128], samples: int) -> Floats:
    """The signal ``(samples,)`` whose filtered frames are ``spectra``."""
    blocks = np.fft.irfft(spectra, _FFT)
    points, parts = len(blocks), _FFT // HOP
    summed = np.zeros((points + parts, HOP))
    for part in range(parts):
        summed[part : part + points] += blocks[:, part * HOP : (part + 1) * HOP]
    return summed.reshape(-1)[HOP : HOP + samples]


def _vocal_tract(formants: Floats, bandwidths: Floats) -> NDArray[np.complex128]:
    """Response ``(points, bins)`` of a cascade of resonators, each with unit gain at 0 Hz."""
    gain = np.ones((len(formants), 1))
    denominator = np.ones((len(formants), len(_FREQUENCIES)), dtype=np.complex128)
    for centre, bandwidth in zip(formants.T, bandwidths, strict=True):
        radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
        first = (-2.0 * radius * np.cos(2.0 * np.pi * centre / SAMPLE_RATE))[:, None]
        second = radius * radius
        gain *= 1.0 + first + second
        denominator *= first * _DELAY + (1.0 + second * _DELAY_SQUARED)
    response: NDArray[np.complex128] = gain / denominator
    return response


def render(score: Score, *, bits: np.random.Philox) -> NDArray[np.float32]:
    """The audio of a score: float32 ``(samples,)`` at ``SAMPLE_RATE``, within [-1, 1].

    Args:
        score: what the voice does.
        bits: the source of jitter and noise; the same state gives the same audio.
    """
    samples = score.samples
    points = np.arange(len(score.pitch)) * HOP
    pitch = np.interp(np.arange(samples), points, score.pitch)
    breath = score.breath * _white(bits, samples)
    source = _frames(_pulses(pitch, jitter=score.jitter, bits=bits) + breath)
    noise = _frames(_white(bits, samples))
    slope = 10.0 ** (score.tilt[:, None] * _OCTAVES / 20.0)
    voiced = _vocal_tract(score.formants, score.bandwidths) * (score.voicing[:, None] * slope)
    offset = (_FREQUENCIES - score.friction_centre[:, None]) / (
        0.35 * score.friction_centre[:, None]
    )
    unvoiced = score.friction[:, None] / (1.0 + offset * offset)
    audio = _overlap_add(source * voiced + noise * unvoiced, samples)
    audio += score.background * _white(bits, samples)
    # Loud recordings saturate softly, as microphones do, instead of wrapping.
    return np.tanh(score.gain * audio).astype(np.float32)
