"""The place of this process among the workers that train one network together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Ranks:
    """Rank and world size; one worker needs no process group."""

    rank: int = 0
    world: int = 1
    at_once: int | None = None
    """Utterances of a batch that each may hear at once, since memory ran out with more; default: as
    the settings say."""

    @classmethod
    def current(cls) -> Ranks:
        """From the initialised process group, or alone."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return cls(rank=torch.distributed.get_rank(), world=torch.distributed.get_world_size())
        return cls()

    def share(self, rows: Tensor) -> Tensor:
        """The rows of a global batch that are this rank's: no overlap, and none left out."""
        return rows[self.rank :: self.world]

    def sum_gradients(self, parameters: Iterable[nn.Parameter], *, bad: bool = False) -> bool:
        """Add every rank's gradients, in one message.

        Losses are divided by the global batch, so the sum is the gradient of the global mean,
        whatever the sizes of the parts. A rank whose part is empty contributes zeros. What no rank
        has used keeps no gradient, so that the optimiser leaves it alone as it does in one process.

        Returns:
            Whether any rank says that its part went ``bad``.
        """
        if self.world == 1:
            return bad
        wanted = [p for p in parameters if p.requires_grad]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in wanted]
        told = torch.tensor([*(float(p.grad is not None) for p in wanted), float(bad)])
        *sums, told = self.sum_tensors([*parts, told])
        *used, spoilt = told.tolist()
        for parameter, whole, by in zip(wanted, sums, used, strict=True):
            parameter.grad = whole if by else None
        return bool(spoilt)

    def first_error(self, message: str) -> str:
        """What the first rank that has a message says; asked by all ranks at once."""
        if self.world == 1:
            return message
        said: list[str | None] = [None] * self.world
        torch.distributed.all_gather_object(said, message)
        return next(told for told in said if told)

    def sum_values(self, values: Tensor) -> Tensor:
        """The elementwise sum over ranks, without gradient."""
        return self.sum_tensors([values])[0]

    def sum_tensors(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The elementwise sums over ranks, in one message and without gradient.

        What all ranks but one have zeros for comes out as that one has it, to the bit.

        Args:
            tensors: of the same shapes and dtypes on every rank; they are summed in the dtype that
                holds them all, and each sum has its tensor's dtype and device.
        """
        if self.world == 1:
            return list(tensors)
        dtype = reduce(torch.promote_types, [tensor.dtype for tensor in tensors])
        # nccl knows no tensors of the CPU
        device = "cuda" if torch.distributed.get_backend() == "nccl" else tensors[0].device
        flat = torch.cat([tensor.detach().reshape(-1).to(device, dtype) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        sums = torch.split(flat, [tensor.numel() for tensor in tensors])
        return [
            # a copy, or what is kept of one sum would keep all of them
            part.view(tensor.shape).to(tensor.device, tensor.dtype, copy=True)
            for part, tensor in zip(sums, tensors, strict=True)
        ]


ALONE = Ranks()
"""One worker."""
