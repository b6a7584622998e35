"""A teacher's features of every time step, padded to batches by hand."""

from __future__ import annotations

import torch

from orchestrator.training.tokens import Tokens

TOKENS = Tokens(
    flat=torch.arange(12.0).view(6, 2),
    lengths=torch.tensor([1, 3, 2]),
    extents=torch.tensor([0.5, 2.75, 2.0]),
)


def test_utterances_begin_where_the_one_before_ends() -> None:
    assert TOKENS.starts.tolist() == [0, 1, 4]


def test_a_batch_repeats_each_ones_last_step() -> None:
    steps, lengths = TOKENS.batch(torch.tensor([2, 1, 2]))

    assert lengths.tolist() == [2, 3, 2]
    assert steps.shape == (3, 3, 2)
    assert steps[0].tolist() == [[8, 9], [10, 11], [10, 11]]
    assert steps[1].tolist() == [[2, 3], [4, 5], [6, 7]]
    assert torch.equal(steps[2], steps[0])


def test_a_batch_of_one_step() -> None:
    steps, lengths = TOKENS.batch(torch.tensor([0]))

    assert (steps.tolist(), lengths.tolist()) == ([[[0, 1]]], [1])
