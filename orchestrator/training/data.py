"""Batches gathered by index from data already in memory: no files and no loader in the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from orchestrator.experiment.recipe import Augment
from orchestrator.features import PackedFrames
from orchestrator.training.augment import (
    Window,
    add_noise,
    change_level,
    heard,
    mask_features,
    stretched_lengths,
    uniform_draws,
    warp_frequency,
)
from orchestrator.training.task import Unlabelled
from orchestrator.training.whole_batch import Whole


@dataclass(frozen=True)
class Batch:
    """Inputs of a network, and which stretch of each utterance they show."""

    rows: Tensor
    """Places of the examples in their data, ``(batch,)``."""
    inputs: tuple[Tensor, ...]
    window: Window
    part_of: Whole | None = None
    """The batch that this is a part of; default: this is all of it."""

    @property
    def whole(self) -> Whole:
        """What all of the batch is compared through."""
        return Whole(self.rows) if self.part_of is None else self.part_of


class FrameData:
    """Normalised log-Mel frames of some utterances, flat in memory."""

    def __init__(
        self,
        pack: PackedFrames,
        utterances: Unlabelled,
        *,
        mean: np.ndarray,
        std: np.ndarray,
        channels: int,
        hop_seconds: float,
        augment: Augment | None = None,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        views = pack.gather(utterances.ids)
        flat = np.concatenate(views) if views else np.zeros((0, pack.width), dtype=np.float32)
        self.contents = utterances.contents
        self.lengths = torch.tensor([len(view) for view in views])
        self.starts = torch.cumsum(self.lengths, 0) - self.lengths
        self.flat = torch.from_numpy((flat - mean) / std).to(device)
        self.scale = torch.from_numpy(1.0 / std).to(self.flat)
        self.channels = channels
        self.hop_seconds = hop_seconds
        self.augment = augment
        self.seed = seed
        self.device = device

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.lengths)

    def batch(self, rows: Tensor, *, epoch: int | None = None) -> Batch:
        """Frames ``(batch, frames, width)`` and lengths; augmented if ``epoch`` is given."""
        lengths = self.lengths[rows]
        if epoch is None or self.augment is None:
            whole = Window(start=torch.zeros(len(rows)), span=torch.ones(len(rows)))
            return Batch(rows, (self._gather(rows, lengths), lengths.to(self.device)), whole)
        contents = [self.contents[row] for row in rows.tolist()]
        draws = uniform_draws(self.augment, contents, seed=self.seed, epoch=epoch)
        window = heard(self.augment, draws, lengths, hop_seconds=self.hop_seconds)
        spoken = stretched_lengths(self.augment, draws, lengths, window)
        frames = self._interpolate(rows, lengths, spoken, window)
        if self.augment.frequency_warp:
            warp = 1.0 + self.augment.frequency_warp * (2.0 * draws[:, 1] - 1.0)
            frames = warp_frequency(frames, warp=warp, channels=self.channels)
        if self.augment.gain_db or self.augment.tilt_db:
            frames = change_level(
                self.augment, frames, draws, scale=self.scale, channels=self.channels
            )
        if self.augment.noise:
            frames = add_noise(self.augment, frames, spoken, contents, seed=self.seed, epoch=epoch)
        if self.augment.frequency_masks or self.augment.time_masks:
            frames = mask_features(
                self.augment,
                frames,
                spoken,
                draws,
                channels=self.channels,
                hop_seconds=self.hop_seconds,
            )
        inside = torch.arange(frames.shape[1]) < spoken[:, None]
        frames = frames * inside[:, :, None].to(frames)
        return Batch(rows, (frames, spoken.to(self.device)), window)

    def _gather(self, rows: Tensor, lengths: Tensor) -> Tensor:
        axis = torch.arange(int(lengths.max()))
        inside = axis < lengths[:, None]
        places = self.starts[rows][:, None] + torch.minimum(axis, lengths[:, None] - 1)
        return self.flat[places] * inside[:, :, None].to(self.flat)

    def _interpolate(self, rows: Tensor, lengths: Tensor, spoken: Tensor, window: Window) -> Tensor:
        """Linear interpolation in time of each window at ``spoken`` evenly spaced frames."""
        first = window.start * lengths
        last = first + window.span * lengths - 1.0
        axis = torch.arange(int(spoken.max()))
        step = (last - first) / (spoken - 1).clamp(min=1)
        top = (lengths - 1).float()[:, None]
        position = (first[:, None] + axis * step[:, None]).clamp(min=0.0).minimum(top)
        low = position.floor().long()
        share = (position - low).to(self.flat)[:, :, None]
        high = torch.minimum(low + 1, lengths[:, None] - 1)
        start = self.starts[rows][:, None]
        return torch.lerp(self.flat[start + low], self.flat[start + high], share)


class PooledData:
    """One vector a layer and utterance: what a frozen encoder's head is fitted to."""

    def __init__(self, pooled: np.ndarray, *, device: str = "cpu") -> None:
        self.pooled = torch.from_numpy(np.ascontiguousarray(pooled)).float().to(device)
        self.lengths = torch.ones(len(pooled), dtype=torch.long)

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.pooled)

    def batch(self, rows: Tensor, *, epoch: int | None = None) -> Batch:
        """Pooled vectors ``(batch, layers, width)``; never augmented."""
        whole = Window(start=torch.zeros(len(rows)), span=torch.ones(len(rows)))
        return Batch(rows, (self.pooled[rows],), whole)


class Data(Protocol):
    """What a network reads of some utterances, in their order."""

    @property
    def lengths(self) -> Tensor:
        """By which batches are made of utterances of like length, ``(utterances,)``."""

    def __len__(self) -> int:
        """Number of utterances."""

    def batch(self, rows: Tensor, *, epoch: int | None = None) -> Batch:
        """A network's inputs for some rows; augmented if ``epoch`` is given and so is wanted."""


def scoring_batches(lengths: Tensor, *, size: int = 64) -> Sequence[Tensor]:
    """Batches for scoring, by length."""
    return torch.split(torch.argsort(lengths, stable=True), size)
