"""Means of the terms of the loss over an epoch, for the log."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from orchestrator.training.ranks import Ranks

EXTRA = "unlabelled_"
"""What the terms of speech that is heard beside the batches begin with."""


class Means:
    """Means of the terms of the loss over the utterances of an epoch."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        # of a GPU tensors, since to read one means to wait for it
        self.sums: dict[str, Tensor | float] = {}
        # of all workers, also where this one has no part of a batch
        self.labelled = self.extra = 0

    def add(self, sums: Mapping[str, Tensor]) -> None:
        """Sums over this worker's part of a batch."""
        for name, value in sums.items():
            more = value.item() if value.device.type == "cpu" else value.detach().double()
            self.sums[name] = self.sums.get(name, 0.0) + more

    def row(self) -> dict[str, float]:
        """The means, over all workers."""
        names = sorted(self.sums)
        both = torch.tensor([float(self.sums[name]) for name in names], dtype=torch.float64)
        summed = self.ranks.sum_values(both).tolist()
        return {
            f"train/{name}": value / (self.extra if name.startswith(EXTRA) else self.labelled)
            for name, value in zip(names, summed, strict=True)
        }
