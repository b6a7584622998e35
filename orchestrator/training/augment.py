"""Augmentation of a batch of log-Mel frames, every draw from a seed of its own example.

Numbers are drawn on the CPU, wherever the frames are; what changes frames does so in place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.experiment.recipe import Augment
from orchestrator.training.arrays import Steps
from orchestrator.training.residency import moved
from orchestrator.training.state import derived_seed

FIXED_DRAWS = 5  # stretch, warp, crop, gain, tilt; then two for each mask
LOG_POWER_PER_DB = math.log(10.0) / 10.0


@dataclass(frozen=True)
class Window:
    """The stretch of an utterance that is heard, in shares of its length: ``start + span * x``."""

    start: Tensor
    span: Tensor


def whole_window(rows: Tensor) -> Window:
    """All of each of ``rows``."""
    return Window(start=torch.zeros(len(rows)), span=torch.ones(len(rows)))


def changes(augment: Augment) -> bool:
    """Whether anything at all is done to an example, but for cutting it."""
    return bool(
        augment.time_stretch
        or augment.frequency_masks
        or augment.time_masks
        or augment.frequency_warp
        or augment.gain_db
        or augment.tilt_db
        or augment.noise
    )


def changes_time(augment: Augment, longest: int, *, hop_seconds: float) -> bool:
    """Whether examples of up to ``longest`` frames may be heard at another tempo, or not all of."""
    frames = _crop_frames(augment, hop_seconds=hop_seconds)
    return bool(augment.time_stretch) or (frames is not None and longest > frames)


def _crop_frames(augment: Augment, *, hop_seconds: float) -> int | None:
    # whole frames, so that rounding the lengths later cannot go beyond them
    seconds = augment.crop_seconds
    return None if seconds is None else max(1, round(seconds / hop_seconds))


def uniform_draws(augment: Augment, contents: Sequence[str], *, seed: int, epoch: int) -> Tensor:
    """Uniform numbers ``(batch, draws)`` that depend on (seed, epoch, example) and nothing else."""
    count = FIXED_DRAWS + 2 * (augment.frequency_masks + augment.time_masks)
    rows = []
    generator = torch.Generator()
    for content in contents:
        generator.manual_seed(derived_seed("augment", seed, epoch, content))
        rows.append(torch.rand(count, generator=generator))
    return torch.stack(rows)


def heard(augment: Augment, draws: Tensor, lengths: Tensor, *, hop_seconds: float) -> Window:
    """Which stretch of each utterance of ``lengths`` frames is heard (random crop).

    As much is cut out as lasts ``crop_seconds`` after the change of tempo, so that no example is
    longer than the crop.
    """
    share = torch.ones(len(lengths))
    frames = _crop_frames(augment, hop_seconds=hop_seconds)
    if frames is not None:
        share = (frames * _tempo(augment, draws) / lengths).clamp(max=1.0)
    return Window(start=draws[:, 2] * (1.0 - share), span=share)


def stretched_lengths(augment: Augment, draws: Tensor, lengths: Tensor, window: Window) -> Tensor:
    """Frames of each example after cropping and the change of tempo, at least one."""
    spoken = lengths.float() * window.span / _tempo(augment, draws)
    return spoken.round().long().clamp(min=1)


def time_steps(lengths: Tensor, spoken: Tensor, window: Window) -> Steps:
    """Where each window is heard, at ``spoken`` evenly spaced places, and beyond at its end."""
    first = window.start * lengths
    last = first + window.span * lengths - 1.0
    axis = torch.arange(int(spoken.max()))
    step = (last - first) / (spoken - 1).clamp(min=1)
    end = lengths[:, None] - 1
    position = (first[:, None] + axis * step[:, None]).clamp(min=0.0).minimum(end.float())
    low = position.floor().long()
    return Steps(low, torch.minimum(low + 1, end), position - low)


def _tempo(augment: Augment, draws: Tensor) -> Tensor:
    return 1.0 + augment.time_stretch * (2.0 * draws[:, 0] - 1.0)


def warp_frequency(frames: Tensor, *, warp: Tensor, channels: int) -> Tensor:
    """Scale the Mel axis of ``(batch, frames, bins * channels)`` by ``warp`` ``(batch,)``.

    Bin ``b`` hears what stood at ``b * warp``, linearly interpolated, the last bin beyond the edge:
    vocal tract length perturbation (Jaitly & Hinton 2013) on the Mel axis instead of in Hz
    (inferred simplification).
    """
    batch, time, width = frames.shape
    bins = width // channels
    position = (torch.arange(bins) * warp[:, None]).clamp(max=bins - 1.0)
    low = position.floor().long().clamp(max=bins - 1)
    high = (low + 1).clamp(max=bins - 1)
    share = position - low
    matrix = torch.zeros(batch, bins, bins)
    matrix.scatter_(1, low[:, None, :], (1.0 - share)[:, None, :])
    matrix.scatter_add_(1, high[:, None, :], share[:, None, :])
    planes = frames.reshape(batch, time * channels, bins)
    return torch.bmm(planes, moved(matrix, str(frames.device))).view(batch, time, width)


def change_level(
    augment: Augment, frames: Tensor, draws: Tensor, *, scale: Tensor, channels: int
) -> Tensor:
    """Add a random gain and spectral tilt, as another distance or microphone would, in place.

    Args:
        frames: normalised, ``(batch, frames, bins * channels)``; deltas do not change.
        scale: what one unit of natural log power is after normalisation, ``(bins * channels,)``,
            on the CPU.
    """
    bins = frames.shape[2] // channels
    gain = augment.gain_db * (2.0 * draws[:, 3] - 1.0)
    tilt = augment.tilt_db * (2.0 * draws[:, 4] - 1.0)
    decibels = gain[:, None] + tilt[:, None] * torch.linspace(-0.5, 0.5, bins)
    offset = decibels * LOG_POWER_PER_DB * scale[:bins]
    frames[:, :, :bins].add_(moved(offset, str(frames.device))[:, None, :])
    return frames


def mask_features(
    augment: Augment,
    frames: Tensor,
    lengths: Tensor,
    draws: Tensor,
    *,
    channels: int,
    hop_seconds: float,
) -> Tensor:
    """SpecAugment (Park et al. 2019): masked stretches become 0, the training mean, in place.

    So does what lies beyond the end of an example.

    Args:
        frames: ``(batch, frames, bins * channels)``; all planes are masked alike.
        lengths: of the examples, ``(batch,)``.
        draws: as :func:`uniform_draws` gives them.
        channels: planes of Mel bins.
        hop_seconds: from one frame to the next.
    """
    batch, time, width = frames.shape
    bins = width // channels
    device = str(frames.device)
    # numpy's small steps take half the time of torch's
    pairs, spoken = draws[:, FIXED_DRAWS:].numpy(), lengths.float().numpy()[:, None]
    sizes, places = pairs[:, 0::2], pairs[:, 1::2]
    if augment.frequency_masks:
        some = slice(augment.frequency_masks)
        wide = sizes[:, some] * np.float32(min(augment.frequency_width, bins))
        hit = _stretches(wide, places[:, some] * (bins - wide), axis=bins)
        keep = torch.from_numpy(np.tile(~hit, channels)).float()
        frames.mul_(moved(keep, device)[:, None, :])
    gone = np.greater_equal(np.arange(time), spoken)
    if augment.time_masks:
        some = slice(augment.frequency_masks, None)
        # no more than a fifth of the utterance, so that short ones stay audible
        widest = np.minimum(np.float32(augment.time_width_seconds / hop_seconds), spoken / 5)
        wide = sizes[:, some] * widest
        hit = _stretches(wide, places[:, some] * (spoken - wide), axis=time)
        np.logical_or(gone, hit, out=gone)
    silent = torch.from_numpy(np.flatnonzero(gone))
    frames.view(batch * time, width).index_fill_(0, moved(silent, device), 0.0)
    return frames


def _stretches(
    sizes: NDArray[np.float32], starts: NDArray[np.float32], *, axis: int
) -> NDArray[np.bool_]:
    """What of an axis lies in any of the stretches ``(batch, masks)``: ``(batch, axis)``."""
    places = np.arange(axis, dtype=np.float32)
    begin, end = np.round(starts)[:, :, None], np.round(starts + sizes)[:, :, None]
    hit: NDArray[np.bool_] = np.any((places >= begin) & (places < end), axis=1)
    return hit


def add_noise(
    augment: Augment,
    frames: Tensor,
    lengths: Tensor,
    contents: Sequence[str],
    *,
    seed: int,
    epoch: int,
) -> Tensor:
    """White noise on the normalised features, in place, each example's drawn for its own length.

    What an example gets may not depend on how far its batch is padded.
    """
    noise = torch.zeros(frames.shape)
    generator = torch.Generator()
    for row, (content, length) in enumerate(zip(contents, lengths.tolist(), strict=True)):
        generator.manual_seed(derived_seed("noise", seed, epoch, content))
        noise[row, :length].normal_(generator=generator)
    return frames.add_(moved(noise.mul_(augment.noise), str(frames.device)))
