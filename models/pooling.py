"""From a sequence to one vector by learned weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentivePooling(nn.Module):
    """Weighted mean over tokens; each head weighs its share of the features by its own query.

    Args:
        dim: width of a token; each head pools ``dim / heads`` of it.
        heads: divides ``dim``.
    """

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, heads)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Pool ``tokens`` (batch, tokens, dim) over ``mask`` (batch, tokens) to (batch, dim)."""
        scores = self.score(tokens).masked_fill(~mask[..., None], -torch.inf)
        # Half precision is too coarse for a sum over hundreds of tokens.
        exact = torch.promote_types(scores.dtype, torch.float32)
        weights = scores.softmax(dim=1, dtype=exact).to(tokens.dtype)
        shares = tokens.view(*weights.shape, -1)
        return torch.einsum("bth,bthd->bhd", weights, shares).flatten(1)
