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
        """This rank's part of a global batch; the parts neither overlap nor leave a row out."""
        return rows[self.rank :: self.world]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add every rank's gradients, in one message.

        Losses are divided by the global batch, so the sum is the gradient of the global mean,
        whatever the sizes of the parts. A rank whose part is empty contributes zeros.
        """
        if self.world == 1:
            return
        wanted = [p for p in parameters if p.requires_grad]
        for parameter in wanted:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([p.grad.reshape(-1) for p in wanted if p.grad is not None])
        torch.distributed.all_reduce(flat)
        offset = 0
        for parameter in wanted:
            size = parameter.numel()
            parameter.grad = flat[offset : offset + size].view_as(parameter).clone()
            offset += size

    def sum_values(self, values: Tensor) -> Tensor:
        """The elementwise sum over ranks."""
        if self.world > 1:
            values = values.clone()
            torch.distributed.all_reduce(values)
        return values
