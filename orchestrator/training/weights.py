"""The weights of a network in training: which are kept, and their running average."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def kept_state(network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a network worth keeping, on the CPU: all but those it says are frozen."""
    asked = getattr(network, "frozen_prefixes", tuple)
    frozen: tuple[str, ...] = asked()
    return {
        name: value.detach().cpu().clone()
        for name, value in network.state_dict().items()
        if not name.startswith(frozen)
    }


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, *, updates: int) -> None:
    """Move the running average of the weights towards the network's, which has done ``updates``."""
    # a young average forgets its random start faster
    decay = min(decay, (1 + updates) / (10 + updates))
    # one call for all, since a call a parameter costs more than its arithmetic
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1.0 - decay)
    for kept, buffer in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(buffer)
