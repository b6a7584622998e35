"""Log-Mel frames of one utterance after another, in blocks that they share."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ExperimentError
from orchestrator.experiment.features import LogMelFeatures

if TYPE_CHECKING:
    from torch import Tensor

Frames = NDArray[np.float32]

LOG_FLOOR = 1e-6
"""Mel power below this counts as this before the natural logarithm."""
_LARGEST_FFT = 16_384
_BLOCK_SAMPLES = 2**20
"""Of the frames transformed at once: fewer calls, and memory that does not matter."""
_BAND = 16
"""Bins projected at once: neighbours share most of their frequencies, and all bins share few."""


def log_mel(waveform: NDArray[np.float32], section: LogMelFeatures) -> Frames:
    """What a new :class:`LogMel` makes of one utterance, ``(frames, bins * channels)``.

    Raises:
        ExperimentError: more bins than any sensible transform tells apart.
    """
    return LogMel(section)(waveform)


class LogMel:
    """Natural logarithm of Mel power, for one utterance after another.

    Hann window, power spectrum, triangles on the HTK Mel scale without area normalisation; frame i
    is centred on sample i * hop, with zeros beyond both ends, so n samples give 1 + n // hop frames
    whatever their number. The Fourier transform is as long as the window's next power of two, or
    longer where the lowest triangle would otherwise hold no frequency. Deltas are regressions over
    five frames, HTK's default; static, delta and delta-delta planes lie side by side along the
    width.

    Frames are transformed in blocks that several utterances share, since a call for each costs more
    than a short one's arithmetic. The numbers of a frame are the same bits wherever in a block it
    lies, and memory does not grow with what is asked. Not for several threads at once: they would
    share the scratch memory.

    Args:
        section: of the experiment.

    Raises:
        ExperimentError: more bins than any sensible transform tells apart.
    """

    def __init__(self, section: LogMelFeatures) -> None:
        import torch

        self._bins, self._deltas = section.bins, section.deltas
        window, self._hop, triangles = _filters(section)
        fft = 2 * (len(triangles) - 1)
        # as torch.stft lays a short window in the middle of a longer transform
        self._before = fft // 2 - (fft - len(window)) // 2
        self._block = max(1, _BLOCK_SAMPLES // fft)
        self._window = window
        self._padded = torch.zeros(self._block, fft)
        self._windowed = self._padded[:, : len(window)]
        self._bands = [
            _band(triangles, first, min(first + _BAND, section.bins))
            for first in range(0, section.bins, _BAND)
        ]

    def count(self, samples: int) -> int:
        """Frames of an utterance of so many samples."""
        return 1 + samples // self._hop

    def __call__(self, waveform: NDArray[np.float32]) -> Frames:
        """Frames ``(frames, bins * channels)`` of ``waveform``, new memory.

        Args:
            waveform: mono ``(samples,)`` at the section's sample rate.
        """
        import torch

        frames = torch.empty(self.count(len(waveform)), self._bins * (1 + self._deltas))
        planes = [
            frames[:, plane * self._bins : (plane + 1) * self._bins]
            for plane in range(1 + self._deltas)
        ]
        first = 0
        for block in self.static([waveform]):
            planes[0][first : first + len(block)] = torch.from_numpy(block)
            first += len(block)
        for plane, delta in zip(planes, planes[1:], strict=False):
            _regress(plane, delta)
        found: Frames = frames.numpy()
        return found

    def static(self, waveforms: Iterable[NDArray[np.float32]]) -> Iterator[Frames]:
        """The frames of all ``waveforms`` one after another, without deltas, in blocks.

        Args:
            waveforms: each mono ``(samples,)`` at the section's sample rate; taken as needed.

        Yields:
            ``(frames, bins)``; a block may end within an utterance.
        """
        row = 0
        for waveform in waveforms:
            audio = np.ascontiguousarray(waveform, dtype=np.float32)
            done, count = 0, self.count(len(audio))
            while done < count:
                taken = min(count - done, self._block - row)
                self._cut(audio, done, slice(row, row + taken))
                row, done = row + taken, done + taken
                if row == self._block:
                    yield self._projected(row)
                    row = 0
        if row:
            yield self._projected(row)

    def _cut(self, audio: Frames, first: int, rows: slice) -> None:
        """Fill ``rows`` of the block with windowed ``audio`` from frame ``first``."""
        import torch

        out, samples = self._windowed[rows], torch.from_numpy(audio)
        count, width = out.shape
        start = first * self._hop - self._before
        # Frames that lie in the audio are read where they are, those at its ends from a copy.
        inner = min(count, max(0, -(start // self._hop)))
        after = min(count, max(inner, (len(audio) - width - start) // self._hop + 1))
        if after > inner:
            frames = samples.as_strided(
                (after - inner, width), (self._hop, 1), start + inner * self._hop
            )
            torch.mul(frames, self._window, out=out[inner:after])
        for number in (*range(inner), *range(after, count)):
            begin = start + number * self._hop
            low, high = max(0, begin), max(0, min(len(audio), begin + width))
            out[number] = 0.0
            if high > low:
                there = slice(low - begin, high - begin)
                torch.mul(samples[low:high], self._window[there], out=out[number, there])

    def _projected(self, count: int) -> Frames:
        """Log-Mel frames ``(count, bins)`` of the first ``count`` rows of the block."""
        import torch

        # Nothing is differentiated, and keeping account of it costs time.
        with torch.inference_mode():
            # A single row would take another way through the product, to other last bits.
            rows = max(2, count)
            out = torch.empty(rows, self._bins)
            # Power is the sum of both parts' squares; the projection sums anyway, so it does that
            # too. (Into given memory, torch would transform elsewhere first and then copy.)
            spectrum = torch.fft.rfft(self._padded[:rows])
            parts = torch.view_as_real(spectrum).view(rows, -1).square_()
            for bins, frequencies, weights in self._bands:
                torch.mm(parts[:, frequencies], weights, out=out[:, bins])
            out.clamp_(min=LOG_FLOOR).log_()
        found: Frames = out.numpy()[:count]
        return found


def _regress(plane: Tensor, out: Tensor) -> None:
    """Fill ``out`` with the slope of each bin of ``plane`` ``(frames, bins)`` over five frames.

    The first and the last frame are taken to go on for ever.
    """
    import torch

    edged = torch.cat([plane[:1], plane[:1], plane, plane[-1:], plane[-1:]])
    torch.sub(edged[4:], edged[:-4], out=out)
    out.mul_(2.0).add_(edged[3:-1]).sub_(edged[1:-3]).div_(10.0)


def _band(triangles: Tensor, first: int, last: int) -> tuple[slice, slice, Tensor]:
    """Bins ``first`` up to ``last``, the spectrum's parts under them, and the weights of those."""
    under = triangles[:, first:last].amax(dim=1).nonzero()
    lowest, highest = int(under[0]), int(under[-1]) + 1
    weights = triangles[lowest:highest, first:last].repeat_interleave(2, dim=0)
    return slice(first, last), slice(2 * lowest, 2 * highest), weights


@lru_cache(maxsize=4)
def _filters(section: LogMelFeatures) -> tuple[Tensor, int, Tensor]:
    """Hann window ``(window,)``, hop in samples, and triangles ``(frequencies, bins)``."""
    import torch
    from torchaudio.functional import melscale_fbanks

    rate = section.sample_rate
    window = max(1, round(section.window_seconds * rate))
    hop = max(1, round(section.hop_seconds * rate))
    fft = 2 ** math.ceil(math.log2(max(2, window)))
    highest = rate / 2 if section.highest_hz is None else section.highest_hz
    while fft <= _LARGEST_FFT:
        centres = fft // 2 + 1
        with warnings.catch_warnings():
            # torchaudio warns of empty triangles, which the next line deals with
            warnings.simplefilter("ignore", UserWarning)
            triangles: Tensor = melscale_fbanks(
                centres, section.lowest_hz, highest, section.bins, rate, norm=None, mel_scale="htk"
            )
        if bool((triangles.amax(dim=0) > 0).all()):
            return torch.hann_window(window), hop, triangles
        fft *= 2
    msg = (
        f"features.bins {section.bins} between lowest_hz {section.lowest_hz} and highest_hz "
        f"{highest} are narrower than a transform of {_LARGEST_FFT} samples tells apart at "
        f"{rate} Hz; use fewer bins"
    )
    raise ExperimentError(msg)
