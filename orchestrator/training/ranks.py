"""The place of this process among the workers that train one network together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Ranks:
    """Rank and world size; one worker needs no process group."""

    rank: int = 0
    world: int = 1

    @classmethod
    def current(cls) -> Ranks:
        """From the initialised process group, or alone."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return cls(rank=torch.distributed.get_rank(), world=torch.distributed.get_world_size())
        return cls()

    def share(self, rows: Tensor) -> Tensor:
        """The rows of a global batch that are this rank's: no overlap, and none left out."""
        return rows[self.rank :: self.world]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add every rank's gradients, in one message.

        Losses are divided by the global batch, so the sum is the gradient of the global mean,
        whatever the sizes of the parts. A rank whose part is empty contributes zeros. What no rank
        has used keeps no gradient, so that the optimiser leaves it alone as it does in one process.
        """
        if self.world == 1:
            return
        wanted = [p for p in parameters if p.requires_grad]
        used = torch.tensor([float(p.grad is not None) for p in wanted])
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in wanted]
        flat = torch.cat([*(part.reshape(-1) for part in parts), used.to(wanted[0])])
        torch.distributed.all_reduce(flat)
        sums, used = torch.split(flat, [len(flat) - len(wanted), len(wanted)])
        shares = torch.split(sums, [p.numel() for p in wanted])
        for parameter, share, by in zip(wanted, shares, used.tolist(), strict=True):
            parameter.grad = share.view_as(parameter).clone() if by else None

    def sum_values(self, values: Tensor) -> Tensor:
        """The elementwise sum over ranks."""
        if self.world > 1:
            if torch.distributed.get_backend() == "nccl":
                values = values.cuda()  # nccl knows no tensors of the CPU
            values = values.clone()
            torch.distributed.all_reduce(values)
        return values
