"""Augmentation of a batch of log-Mel frames, every draw from a seed of its own example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.experiment.recipe import Augment
from orchestrator.training.state import derived_seed

FIXED_DRAWS = 5  # stretch, warp, crop, gain, tilt; then two for each mask
LOG_POWER_PER_DB = math.log(10.0) / 10.0


@dataclass(frozen=True)
class Window:
    """The stretch of an utterance that is heard, in shares of its length: ``start + span * x``."""

    start: Tensor
    span: Tensor


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
    if augment.crop_seconds is not None:
        # whole frames, so that rounding the lengths later cannot go beyond them
        frames = max(1, round(augment.crop_seconds / hop_seconds))
        share = (frames * _tempo(augment, draws) / lengths).clamp(max=1.0)
    return Window(start=draws[:, 2] * (1.0 - share), span=share)


def stretched_lengths(augment: Augment, draws: Tensor, lengths: Tensor, window: Window) -> Tensor:
    """Frames of each example after cropping and the change of tempo, at least one."""
    spoken = lengths.float() * window.span / _tempo(augment, draws)
    return spoken.round().long().clamp(min=1)


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
    planes = frames.reshape(batch, time, channels, bins)
    warped = torch.einsum("btcf,bfg->btcg", planes, matrix.to(frames))
    return warped.reshape(batch, time, width)


def change_level(
    augment: Augment, frames: Tensor, draws: Tensor, *, scale: Tensor, channels: int
) -> Tensor:
    """Add a random gain and spectral tilt, as another distance or microphone would.

    Args:
        frames: normalised, ``(batch, frames, bins * channels)``; deltas do not change.
        scale: what one unit of natural log power is after normalisation, ``(bins * channels,)``.
    """
    bins = frames.shape[2] // channels
    gain = augment.gain_db * (2.0 * draws[:, 3] - 1.0)
    tilt = augment.tilt_db * (2.0 * draws[:, 4] - 1.0)
    decibels = gain[:, None] + tilt[:, None] * torch.linspace(-0.5, 0.5, bins)
    offset = torch.zeros(len(draws), frames.shape[2])
    offset[:, :bins] = decibels * LOG_POWER_PER_DB
    return frames + (offset.to(frames) * scale)[:, None, :]


def mask_features(
    augment: Augment,
    frames: Tensor,
    lengths: Tensor,
    draws: Tensor,
    *,
    channels: int,
    hop_seconds: float,
) -> Tensor:
    """SpecAugment (Park et al. 2019): masked stretches become 0, the training mean."""
    batch, time, width = frames.shape
    bins = width // channels
    keep = torch.ones(batch, time, bins, dtype=torch.bool)
    column = FIXED_DRAWS
    for _ in range(augment.frequency_masks):
        size = draws[:, column] * min(augment.frequency_width, bins)
        start = draws[:, column + 1] * (bins - size)
        axis = torch.arange(bins)
        hit = (axis >= start[:, None].round()) & (axis < (start + size)[:, None].round())
        keep &= ~hit[:, None, :]
        column += 2
    for _ in range(augment.time_masks):
        # no more than a fifth of the utterance, so that short ones stay audible
        widest = torch.full((batch,), augment.time_width_seconds / hop_seconds)
        size = draws[:, column] * torch.minimum(widest, lengths / 5)
        start = draws[:, column + 1] * (lengths - size)
        axis = torch.arange(time)
        hit = (axis >= start[:, None].round()) & (axis < (start + size)[:, None].round())
        keep &= ~hit[:, :, None]
        column += 2
    return frames * keep.repeat(1, 1, channels).to(frames)


def add_noise(
    augment: Augment,
    frames: Tensor,
    lengths: Tensor,
    contents: Sequence[str],
    *,
    seed: int,
    epoch: int,
) -> Tensor:
    """White noise on the normalised features, each example's drawn for its own length.

    What an example gets may not depend on how far its batch is padded.
    """
    noise = torch.zeros(frames.shape)
    generator = torch.Generator()
    for row, (content, length) in enumerate(zip(contents, lengths.tolist(), strict=True)):
        generator.manual_seed(derived_seed("noise", seed, epoch, content))
        noise[row, :length] = torch.randn(length, frames.shape[2], generator=generator)
    return frames + augment.noise * noise.to(frames)
