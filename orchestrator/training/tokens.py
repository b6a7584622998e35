"""A teacher's features of every time step, flat in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """Features of every time step of some utterances, flat."""

    flat: Tensor
    """``(total, width)``."""
    lengths: Tensor
    """``(utterances,)``."""
    extents: Tensor
    """Each utterance's length in tokens, fractional where the last token reaches past its end."""

    @property
    def starts(self) -> Tensor:
        """Where each utterance begins, ``(utterances,)``."""
        return torch.cumsum(self.lengths, 0) - self.lengths

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Padded features ``(batch, steps, width)`` and lengths ``(batch,)``."""
        lengths = self.lengths[rows]
        axis = torch.arange(int(lengths.max()))
        places = self.starts[rows][:, None] + torch.minimum(axis, lengths[:, None] - 1)
        return self.flat[places], lengths
