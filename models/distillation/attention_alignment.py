"""Bringing the source's attention maps to the student's places in time."""

from __future__ import annotations

import torch
from torch import Tensor

from models.outputs import length_mask

NEAR = 1e-3
"""Places nearer than this to a whole number of tokens are that token: float32 positions of equal
tokens differ by less over some thousand tokens, and then share no weight with a neighbour."""


def time_weights(
    source_positions: Tensor, source_lengths: Tensor, positions: Tensor, lengths: Tensor
) -> Tensor:
    """How much each of the source's tokens counts for each of the student's.

    A triangle is laid over the source's tokens, centred where the student's token is and as wide
    as the coarser of both spacings: with equal tokens this is the identity, with a finer student
    linear interpolation, with a coarser one an average without aliasing (that last is inferred:
    the papers speak of interpolation only). Places before the source's first token or after its
    last count as that token's.

    Args:
        source_positions: (batch, source tokens), evenly spaced; those of padding are never read.
        source_lengths: (batch,) int, real tokens of the source, at least 1.
        positions: (batch, tokens), the student's, evenly spaced within the same 0 to 1; they may
            cover a part of the utterance only. Those of padding are never read.
        lengths: (batch,) int, real tokens of the student, at least 1.

    Returns:
        (batch, tokens, source tokens), of the positions' dtype, at least float32: rows of real
        tokens sum to one, rows and columns of padding are 0.
    """
    dtype = torch.promote_types(positions.dtype, torch.float32)
    source_positions, positions = source_positions.to(dtype), positions.to(dtype)
    # from a single token, any step leads back to it
    step = _spacing(source_positions, source_lengths)
    step = step.masked_fill((source_lengths == 1)[:, None], 1.0)
    last = (source_lengths - 1).to(dtype)[:, None]
    places = _snapped((positions - source_positions[:, :1]) / step)
    places = torch.minimum(places.clamp_min(0.0), last)
    reach = _snapped(_spacing(positions, lengths) / step).clamp_min(1.0)
    tokens = torch.arange(source_positions.shape[1], device=positions.device, dtype=dtype)
    weights = 1.0 - (places[..., None] - tokens).abs() / reach[..., None]
    heard = length_mask(source_lengths, source_positions.shape[1])[:, None, :]
    weights = weights.clamp_min(0.0).masked_fill(~heard, 0.0)
    # the nearest token is at most half a token away, so no sum of a real row is near 0
    weights = weights / weights.sum(dim=-1, keepdim=True)
    return weights.masked_fill(~length_mask(lengths, positions.shape[1])[..., None], 0.0)


def aligned(maps: Tensor, weights: Tensor) -> Tensor:
    """Attention maps at the student's tokens: ``W A W^T``, each row made to sum to one again.

    Where the student hears a part of the utterance, its rows tell how the source divides among
    that part what it pays to it at all; a row that pays it nothing that can be told from 0 is 0.

    Args:
        maps: (batch, heads, source tokens, source tokens), 0 for padding.
        weights: (batch, tokens, source tokens), as ``time_weights`` gives them.

    Returns:
        (batch, heads, tokens, tokens), of the maps' dtype; rows and columns of padding are 0.
    """
    weights = weights.to(maps.dtype)[:, None]
    with torch.autocast(maps.device.type, enabled=False):
        moved = weights @ maps @ weights.transpose(-1, -2)
    sums = moved.sum(dim=-1, keepdim=True)
    paid = sums > torch.finfo(sums.dtype).tiny
    return torch.where(paid, moved / sums.where(paid, 1.0), 0.0)


def _spacing(positions: Tensor, lengths: Tensor) -> Tensor:
    """(batch, 1): from one token to the next; of a single token, 0."""
    first = positions[:, :1]
    last = positions.gather(1, (lengths.long() - 1)[:, None])
    # over all tokens, so that the rounding of two positions does not add up along the way
    return (last - first) / (lengths - 1).clamp_min(1)[:, None]


def _snapped(places: Tensor) -> Tensor:
    whole = places.round()
    return torch.where((places - whole).abs() < NEAR, whole, places)
