"""What every network returns, and the masks that keep padding out of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Heads:
    """What the heads of a self-attention layer compare: ``softmax(q k^T / sqrt(head_dim)) v``."""

    queries: Tensor
    """(batch, heads, tokens, head_dim), unscaled."""
    keys: Tensor
    """(batch, heads, tokens, head_dim)."""
    values: Tensor
    """(batch, heads, tokens, head_dim)."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Self-attention over a padded batch, and where in time its tokens are."""

    heads: Heads
    lengths: Tensor
    """(batch,) int, real tokens of each utterance, at least 1; the rest is padding."""
    positions: Tensor
    """(batch, tokens), where in its utterance each token is centred, 0 being the start and 1 the
    end, evenly spaced; those of padding go on likewise or are never read."""


@dataclass(frozen=True, slots=True)
class Output:
    """One forward pass over a padded batch of utterances."""

    logits: Tensor
    """(batch, classes), unnormalised."""
    pooled: Tensor
    """(batch, dim): the one vector that the head reads."""
    tokens: Tensor
    """(batch, tokens, dim): the sequence over time after the last transformer layer."""
    token_lengths: Tensor
    """(batch,) int64: real tokens of each utterance; the rest of ``tokens`` is padding."""
    positions: Tensor
    """(batch, tokens) float32: where in its utterance each token is centred, 0 being the start and
    1 the end; evenly spaced, so a last token that reaches past the end may lie beyond 1."""
    attention: tuple[Heads, ...] = ()
    """Of each self-attention layer among ``tokens``, in order; empty where a network's attention is
    not among steps of time."""

    def listening(self, layer: int) -> Listening:
        """Attention layer ``layer``, counted from 1."""
        return Listening(self.attention[layer - 1], self.token_lengths, self.positions)


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Mark the real places of a padded batch.

    Args:
        lengths: (batch,) int, real places of each row.
        size: padded width of the batch.

    Returns:
        (batch, size) bool, true where the place is real.

    >>> length_mask(torch.tensor([1, 3]), 3).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    return torch.arange(size, device=lengths.device) < lengths[:, None]
