"""Batches gathered by index from mapped or resident data: no files and no loader in the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from orchestrator.experiment.recipe import Augment
from orchestrator.features import PackedFrames
from orchestrator.training.arrays import MappedArrays, arrays_on
from orchestrator.training.augment import (
    Window,
    add_noise,
    change_level,
    changes,
    changes_time,
    heard,
    mask_features,
    stretched_lengths,
    time_steps,
    uniform_draws,
    warp_frequency,
    whole_window,
)
from orchestrator.training.residency import SHARE, moved
from orchestrator.training.task import Unlabelled
from orchestrator.training.vectors import Vectors
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
    """Normalised log-Mel frames of some utterances.

    Args:
        pack: has the utterances.
        utterances: what is read, in their order.
        mean: that frames are normalised by, ``(width,)``.
        std: the same.
        channels: planes of Mel bins in a frame.
        hop_seconds: from one frame to the next.
        augment: what is done to frames that are trained on; default: nothing.
        seed: of the augmentation.
        device: where batches go.
        share: of the device's memory, what data may fill.
    """

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
        share: float = SHARE,
    ) -> None:
        views = pack.gather(utterances.ids)
        mapped = MappedArrays(views, shape=(pack.width,), mean=mean, std=std)
        self.arrays = arrays_on(mapped, device=device, share=share)
        self.contents = utterances.contents
        self.lengths = mapped.lengths
        self.scale = torch.from_numpy(1.0 / std)
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
        augment = self.augment
        if epoch is not None and augment is not None:
            # where there is nothing to cut, and cutting is all, there is nothing to draw
            timed = self._timed(rows, augment)
            if timed or changes(augment):
                return self._augmented(rows, augment, epoch, timed=timed)
        lengths = moved(self.lengths[rows], self.device)
        return Batch(rows, (self.arrays.padded(rows), lengths), whole_window(rows))

    def _timed(self, rows: Tensor, augment: Augment) -> bool:
        longest = int(self.lengths[rows].max())
        return changes_time(augment, longest, hop_seconds=self.hop_seconds)

    def _augmented(self, rows: Tensor, augment: Augment, epoch: int, *, timed: bool) -> Batch:
        spoken, window = self.lengths[rows], whole_window(rows)
        contents = [self.contents[row] for row in rows.tolist()]
        draws = uniform_draws(augment, contents, seed=self.seed, epoch=epoch)
        if timed:
            lengths = spoken
            window = heard(augment, draws, lengths, hop_seconds=self.hop_seconds)
            spoken = stretched_lengths(augment, draws, lengths, window)
            frames = self.arrays.between(rows, time_steps(lengths, spoken, window))
        else:
            frames = self.arrays.padded(rows)
        if augment.frequency_warp:
            warp = 1.0 + augment.frequency_warp * (2.0 * draws[:, 1] - 1.0)
            frames = warp_frequency(frames, warp=warp, channels=self.channels)
        if augment.gain_db or augment.tilt_db:
            frames = change_level(augment, frames, draws, scale=self.scale, channels=self.channels)
        if augment.noise:
            frames = add_noise(augment, frames, spoken, contents, seed=self.seed, epoch=epoch)
        frames = mask_features(
            augment, frames, spoken, draws, channels=self.channels, hop_seconds=self.hop_seconds
        )
        return Batch(rows, (frames, moved(spoken, self.device)), window)


class PooledData:
    """One vector a layer and utterance: what a frozen encoder's head is fitted to.

    Args:
        pooled: of each utterance, ``(layers, width)``.
        device: where batches go.
        share: of the device's memory, what data may fill.
    """

    def __init__(
        self,
        pooled: Sequence[np.ndarray] | np.ndarray,
        *,
        device: str = "cpu",
        share: float = SHARE,
    ) -> None:
        self.pooled = Vectors(pooled, device=device, share=share)
        self.lengths = torch.ones(len(pooled), dtype=torch.long)

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.lengths)

    def batch(self, rows: Tensor, *, epoch: int | None = None) -> Batch:
        """Pooled vectors ``(batch, layers, width)``; never augmented."""
        return Batch(rows, (self.pooled[rows],), whole_window(rows))


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
    """Batches for scoring, by length.

    The longest come first: what follows fits into the memory they leave, and is not put beside it.
    """
    return torch.split(torch.argsort(lengths, stable=True), size)[::-1]
