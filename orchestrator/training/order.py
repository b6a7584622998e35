"""Which utterances the updates of an epoch draw, and in which batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from models.distillation.batches import class_balanced, cycled
from orchestrator.experiment.training import Fitting, Training
from orchestrator.training.state import derived_seed


def epoch_batches(
    lengths: Tensor,
    *,
    size: int,
    seed: int,
    epoch: int,
    rows: Tensor | None = None,
    updates: int | None = None,
) -> list[Tensor]:
    """Global batches of one epoch, in training order, all from (seed, epoch) alone.

    Rows are shuffled, sorted by length within pools of eight batches (so that little is padded),
    cut into batches, and the batches shuffled.

    Args:
        lengths: of all utterances of the data, ``(utterances,)``.
        rows: what is drawn from; default: all.
        updates: batches of the epoch; default: as many as draw all utterances once. Where that is
            not what ``rows`` make, they are drawn again and again, none more than once oftener than
            another.
    """
    generator = torch.Generator().manual_seed(derived_seed("order", seed, epoch))
    natural = math.ceil(len(lengths) / size)
    rows = torch.arange(len(lengths)) if rows is None else rows
    updates = natural if updates is None else updates
    if updates == natural and len(rows) == len(lengths):
        order = rows[torch.randperm(len(rows), generator=generator)]
    else:
        draws = len(lengths) if updates == natural else updates * size
        order = cycled(rows, draws, generator=generator)
    batches: list[Tensor] = []
    for pool in torch.split(order, size * 8):
        by_length = pool[torch.argsort(lengths[pool], stable=True)]
        batches.extend(torch.split(by_length, size))
    return [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]


class Order:
    """The batches of a fit's epochs, as its settings want them.

    Args:
        settings: batch size, how batches are dealt, and updates in an epoch.
        lengths: of the training utterances, ``(utterances,)``.
        labels: of the training utterances; needed by class-balanced batches only.
        seed: of the fit.
    """

    def __init__(
        self, settings: Fitting, lengths: Tensor, *, labels: Sequence[int], seed: int
    ) -> None:
        self.size = settings.batch_size
        self.lengths = lengths
        self.labels = torch.tensor(list(labels), dtype=torch.long)
        self.seed = seed
        self.updates = settings.updates_per_epoch or math.ceil(len(lengths) / self.size)
        """In each epoch, whatever it draws from."""
        self.balanced = isinstance(settings, Training) and settings.batches == "class-balanced"
        assert len(self.labels) == len(lengths) or not self.balanced, "labels are needed"

    def batches(self, epoch: int, *, rows: Tensor | None = None) -> list[Tensor]:
        """Batches of training utterances, drawn from ``rows`` (default: all)."""
        if not self.balanced:
            return self._shuffled(self.lengths, epoch, rows=rows)
        generator = torch.Generator().manual_seed(derived_seed("order", self.seed, epoch))
        return class_balanced(
            torch.arange(len(self.lengths)) if rows is None else rows,
            self.labels,
            size=self.size,
            batches=self.updates,
            generator=generator,
        )

    def batches_of(self, lengths: Tensor, epoch: int) -> list[Tensor]:
        """As many batches of other speech, which has no labels."""
        return self._shuffled(lengths, epoch, rows=None)

    def _shuffled(self, lengths: Tensor, epoch: int, *, rows: Tensor | None) -> list[Tensor]:
        return epoch_batches(
            lengths, size=self.size, seed=self.seed, epoch=epoch, rows=rows, updates=self.updates
        )


def extra_batches(
    utterances: int, *, size: int, updates: int, seed: int, epoch: int
) -> list[Tensor]:
    """Rows of speech that is heard beside the batches: ``size`` for each of ``updates``."""
    generator = torch.Generator().manual_seed(derived_seed("extra", seed, epoch))
    order = cycled(torch.arange(utterances), updates * size, generator=generator)
    return list(torch.split(order, size))
