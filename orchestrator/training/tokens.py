"""A teacher's features of every time step, of which batches are gathered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from orchestrator.training.residency import moved, moves_whole, pieces
from orchestrator.training.scratch import Scratch, mapped_tensor


@dataclass(frozen=True)
class Tokens:
    """Features of every time step of some utterances, flat."""

    flat: Tensor
    """``(total, width)``; mapped, unless they lie on a device."""
    lengths: Tensor
    """``(utterances,)``."""
    extents: Tensor
    """Each utterance's length in tokens, fractional where the last token reaches past its end."""
    change: Callable[[Tensor], Tensor] | None = None
    """Done to the features of a batch, such as standardising them; default: nothing."""
    device: str = "cpu"
    """Where batches go."""

    @classmethod
    def of(cls, scratch: Scratch, *, extents: Tensor | None = None) -> Tokens:
        """What was put by of each utterance; ``extents`` are their lengths unless given."""
        flat, counts = scratch.in_order()
        lengths = torch.tensor(counts, dtype=torch.long)
        return cls(mapped_tensor(flat), lengths, lengths.float() if extents is None else extents)

    @cached_property
    def starts(self) -> Tensor:
        """Where each utterance begins, ``(utterances,)``."""
        return torch.cumsum(self.lengths, 0) - self.lengths

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Padded features ``(batch, steps, width)`` on the device, and lengths ``(batch,)``."""
        lengths = self.lengths[rows]
        axis = torch.arange(int(lengths.max()))
        places = self.starts[rows][:, None] + torch.minimum(axis, lengths[:, None] - 1)
        found = self.flat[moved(places, str(self.flat.device))]
        return moved(found if self.change is None else self.change(found), self.device), lengths

    def changed(self, change: Callable[[Tensor], Tensor], *, device: str, share: float) -> Tokens:
        """The same, each batch changed, and for a device: there as a whole if that has room.

        Args:
            change: of features ``(n, width)``, each by itself.
            device: where batches go.
            share: of the device's memory, what data may fill.
        """
        size = self.flat.numel() * self.flat.element_size()
        if not moves_whole(size, device=device, share=share):
            return replace(self, change=change, device=device)
        whole = torch.empty_like(self.flat, device=device)
        for piece in pieces(len(self.flat), each=size // max(1, len(self.flat))):
            whole[piece].copy_(change(self.flat[piece]))
        return replace(self, flat=whole, device=device)
