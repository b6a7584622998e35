"""Random self-attention over padded batches, that the tests of attention transfer share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from models.outputs import Heads, Listening

MATCHES: list[dict[str, Any]] = [
    {"match": "kl"},
    {"match": "kl", "values": True},
    {"match": "l2"},
    {"match": "relations"},
    {"match": "relations", "relation_heads": 3},
    {"match": "similarity"},
]
each_match = pytest.mark.parametrize("options", MATCHES, ids=str)


def drawn(
    *lengths: int,
    heads: int = 2,
    dim: int = 3,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    size: int | None = None,
) -> Listening:
    """Random vectors, padding included, of tokens that share each utterance evenly."""
    generator = torch.Generator().manual_seed(seed)
    size = size or max(lengths)
    vectors = [
        (torch.randn(len(lengths), heads, size, dim, generator=generator) * 1.5).to(dtype)
        for _ in range(3)
    ]
    counts = torch.tensor(lengths)
    return Listening(Heads(*vectors), counts, (torch.arange(size) + 0.5) / counts[:, None])


def parts(listening: Listening) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return listening.heads.queries, listening.heads.keys, listening.heads.values


def changed(
    listening: Listening, change: Callable[[torch.Tensor], torch.Tensor], *, padding_only: bool
) -> Listening:
    """The same with its vectors replaced, everywhere or in the padding."""
    padded = torch.arange(listening.positions.shape[1]) >= listening.lengths[:, None]
    padded = padded[:, None, :, None]
    heads = [
        torch.where(padded, change(part), part) if padding_only else change(part)
        for part in parts(listening)
    ]
    return Listening(Heads(*heads), listening.lengths, listening.positions)


def trainable(listening: Listening) -> Listening:
    return changed(listening, lambda x: x.clone().requires_grad_(), padding_only=False)
