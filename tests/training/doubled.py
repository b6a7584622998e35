"""Data in double precision, so that a difference of numbers is one of formulas."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from orchestrator.training.data import Batch, Data


class Doubled:
    """Data whose batches are doubles."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.lengths = data.lengths

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, rows: Tensor, *, epoch: int | None = None) -> Batch:
        """A batch of the data, its numbers with fractions as doubles."""
        batch = self.data.batch(rows, epoch=epoch)
        inputs = (part.double() if part.is_floating_point() else part for part in batch.inputs)
        return dataclasses.replace(batch, inputs=tuple(inputs))


def doubled_rows(values: object, count: int) -> Tensor:
    """What is gathered by row, of all ``count`` rows, as doubles."""
    every: Tensor = values[torch.arange(count)]  # type: ignore[index]
    return every.double()
