"""A teacher's features of every time step, padded to batches by hand."""

from __future__ import annotations

import pytest
import torch

import orchestrator.training.tokens as tokens_module
from orchestrator.training.scratch import Scratch
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


def test_tokens_that_were_put_by_are_as_long_as_they_are_unless_told() -> None:
    scratch = Scratch()
    scratch.put(1, torch.tensor([[3.0]]))
    scratch.put(0, torch.tensor([[1.0], [2.0]]))
    tokens = Tokens.of(scratch)

    assert tokens.flat.tolist() == [[1], [2], [3]]
    assert tokens.lengths.tolist() == [2, 1]
    assert tokens.extents.tolist() == [2.0, 1.0]
    assert Tokens.of(scratch, extents=torch.tensor([1.5, 1.0])).extents.tolist() == [1.5, 1.0]


@pytest.mark.parametrize("room", [True, False])
def test_changed_tokens_are_the_same_numbers_with_room_and_without(
    monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    asked = []
    monkeypatch.setattr(tokens_module, "moves_whole", lambda size, **_: asked.append(size) or room)
    changed = TOKENS.changed(lambda features: features / 3.0, device="cpu", share=0.5)
    steps, lengths = changed.batch(torch.tensor([1, 0]))
    expected, _ = TOKENS.batch(torch.tensor([1, 0]))

    # six steps of two numbers of four bytes
    assert asked == [48]
    assert torch.equal(steps, expected / 3.0)
    assert lengths.tolist() == [3, 1]
    assert TOKENS.flat[1].tolist() == [2, 3]


@pytest.mark.parametrize("room", [True, False])
def test_a_batch_goes_to_the_device(monkeypatch: pytest.MonkeyPatch, room: bool) -> None:
    monkeypatch.setattr(tokens_module, "moves_whole", lambda size, **_: room)
    changed = TOKENS.changed(lambda features: features, device="meta", share=0.5)

    assert (changed.flat.device.type == "meta") == room
    assert changed.batch(torch.tensor([1, 0]))[0].device.type == "meta"
