"""What attention transfer owes to any batch: padding, rates, crops, gradients, precision."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from models.distillation.attention import Match, attention_maps, attention_transfer
from models.outputs import Heads, Listening
from tests.models.distillation.listenings import changed, drawn, each_match, parts, trainable


@each_match
def test_student_that_attends_as_the_source_does_loses_nothing(options: dict[str, Any]) -> None:
    student = trainable(drawn(5, 3, 1))

    losses = attention_transfer(student, drawn(5, 3, 1), **options)
    losses.sum().backward()

    assert losses.tolist() == pytest.approx([0.0] * 3, abs=1e-12)
    for part in parts(student):
        assert part.grad is None or part.grad.abs().max() < 1e-8


@each_match
@pytest.mark.parametrize("source_lengths", [(6, 3, 1), (4, 7, 2)], ids=["same", "other rates"])
@pytest.mark.parametrize("wild", [1e4, -1e30, math.inf, math.nan])
def test_padding_contributes_neither_loss_nor_gradient(
    options: dict[str, Any], source_lengths: tuple[int, ...], wild: float
) -> None:
    student, source = drawn(6, 3, 1), drawn(*source_lengths, seed=1)
    expected = attention_transfer(student, source, **options)
    noise = torch.Generator().manual_seed(7)

    def fill(part: torch.Tensor) -> torch.Tensor:
        return torch.randn(part.shape, generator=noise, dtype=part.dtype) * wild

    loud = trainable(changed(student, fill, padding_only=True))
    losses = attention_transfer(loud, changed(source, fill, padding_only=True), **options)
    losses.sum().backward()

    torch.testing.assert_close(expected, losses, rtol=1e-12, atol=0)
    moved = False
    for part in parts(loud):
        if part.grad is None:
            continue
        assert part.grad.isfinite().all()
        assert part.grad[1, :, 3:].eq(0).all()
        assert part.grad[2, :, 1:].eq(0).all()
        moved |= bool(part.grad.ne(0).any())
    assert moved


@each_match
def test_more_padding_changes_nothing(options: dict[str, Any]) -> None:
    student, source = drawn(5, 2), drawn(4, 3, seed=1)

    def padded(listening: Listening, more: int) -> Listening:
        heads = (torch.nn.functional.pad(x, (0, 0, 0, more), value=3.0) for x in parts(listening))
        positions = torch.nn.functional.pad(listening.positions, (0, more), value=math.nan)
        return Listening(Heads(*heads), listening.lengths, positions)

    losses = attention_transfer(padded(student, 3), padded(source, 4), **options)

    torch.testing.assert_close(attention_transfer(student, source, **options), losses)


@each_match
@pytest.mark.parametrize("source_lengths", [(4, 2), (7, 3), (2, 4)], ids=["same", "finer", "mixed"])
def test_gradients_are_those_of_numerical_differentiation(
    options: dict[str, Any], source_lengths: tuple[int, ...]
) -> None:
    student, source = drawn(4, 2), drawn(*source_lengths, seed=1)

    def losses(*vectors: torch.Tensor) -> torch.Tensor:
        heard = Listening(Heads(*vectors), student.lengths, student.positions)
        return attention_transfer(heard, source, **options)

    vectors = [part.clone().requires_grad_() for part in parts(student)]
    assert torch.autograd.gradcheck(losses, vectors)


@each_match
@pytest.mark.parametrize("source_lengths", [(4, 2), (7, 3)])
def test_no_gradient_flows_into_the_source(
    options: dict[str, Any], source_lengths: tuple[int, ...]
) -> None:
    student, source = trainable(drawn(4, 2)), trainable(drawn(*source_lengths, seed=1))

    attention_transfer(student, source, **options).sum().backward()

    assert all(part.grad is None for part in parts(source))


@each_match
def test_single_token_has_nobody_else_to_attend_to(options: dict[str, Any]) -> None:
    student = trainable(drawn(1, seed=1))

    losses = attention_transfer(student, drawn(4), **options)
    losses.sum().backward()

    assert losses.tolist() == pytest.approx([0.0], abs=1e-12)
    assert all(part.grad is None or part.grad.isfinite().all() for part in parts(student))


def test_student_that_hears_a_crop_learns_how_the_source_divides_attention_within_it() -> None:
    student, source = drawn(4, seed=1), drawn(10)
    student = Listening(student.heads, student.lengths, source.positions[:, 3:7])
    within = Listening(
        Heads(*(part[:, :, 3:7] for part in parts(source))), student.lengths, student.positions
    )

    losses = attention_transfer(student, source, match="kl", values=True)

    # a softmax over fewer keys is the same softmax, renormalised
    expected = attention_transfer(student, within, match="kl", values=True)
    torch.testing.assert_close(expected, losses)


@pytest.mark.parametrize("repeat", [2, 3])
def test_source_at_a_finer_rate_teaches_what_it_would_at_the_students(repeat: int) -> None:
    # Every token said several times over shares what it was paid among its copies; the average
    # over a token's stretch, neighbours within reach included, is then near the coarse map.
    coarse = drawn(40, seed=2)
    smooth = torch.sin(torch.arange(40) / 6.0)[None, None, :, None].double()
    coarse = changed(coarse, lambda x: smooth * x[:, :, :1], padding_only=False)
    fine = Listening(
        Heads(*(part.repeat_interleave(repeat, dim=2) for part in parts(coarse))),
        coarse.lengths * repeat,
        ((torch.arange(40 * repeat) + 0.5) / (40 * repeat))[None],
    )
    student = drawn(40, seed=3)

    near = attention_transfer(coarse, fine, match="kl")
    far = attention_transfer(student, fine, match="kl")

    assert near.item() < 1e-2 < far.item()
    expected = attention_transfer(student, coarse, match="kl").item()
    assert far.item() == pytest.approx(expected, rel=0.02)


def test_as_many_tokens_in_half_the_time_are_not_the_same_tokens() -> None:
    student, source = drawn(6, seed=1), drawn(6)
    student = Listening(student.heads, student.lengths, source.positions / 2)

    losses = attention_transfer(student, source, match="l2")

    # read at -1/4, 1/4, 3/4, 5/4, 7/4 and 9/4 of the source's tokens
    weights = torch.zeros(6, 6, dtype=torch.float64)
    weights[0, 0] = 1
    for row, (left, share) in enumerate([(0, 0.25), (0, 0.75), (1, 0.25), (1, 0.75), (2, 0.25)]):
        weights[row + 1, left : left + 2] = torch.tensor([1 - share, share])
    maps = weights @ attention_maps(source)[0] @ weights.T
    energies = [
        found.square().mean(0)
        for found in (maps / maps.sum(-1, keepdim=True), attention_maps(student)[0])
    ]
    theirs, mine = (energy / energy.norm() for energy in energies)
    assert losses.item() == pytest.approx((theirs - mine).square().sum().item(), rel=1e-5)


def test_tokens_at_the_same_places_are_compared_as_they_are() -> None:
    # once by noticing that they are, once by weights that come out as the identity
    student, source = drawn(7, 4), drawn(7, 4, seed=1)
    shifted = Listening(source.heads, source.lengths, source.positions + 1e-7)

    torch.testing.assert_close(
        attention_transfer(student, source, match="kl"),
        attention_transfer(student, shifted, match="kl"),
    )


@pytest.mark.parametrize("match", ["kl", "l2", "relations", "similarity"])
def test_student_that_pays_nothing_where_the_source_pays_all_gets_finite_gradients(
    match: Match,
) -> None:
    axis = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])[None, None]
    loud = axis * 300
    student = trainable(
        Listening(Heads(loud, loud, axis), torch.tensor([2]), torch.tensor([[0.25, 0.75]]))
    )
    source = Listening(Heads(loud, -loud, axis), student.lengths, student.positions)

    losses = attention_transfer(student, source, match=match)
    losses.sum().backward()

    assert attention_maps(student)[0, 0].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert losses.isfinite().all()
    for part in parts(student):
        assert part.grad is None or part.grad.isfinite().all()
    if match == "kl":
        # one row's scores differ by 2 * 300^2 / sqrt(2)
        assert losses.item() == pytest.approx(2 * 300**2 / math.sqrt(2), rel=1e-6)


@each_match
def test_autocast_changes_nothing(options: dict[str, Any]) -> None:
    student = drawn(9, 6, dim=6, dtype=torch.float32)
    source = drawn(7, 9, dim=6, seed=1, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = attention_transfer(student, source, **options)

    assert losses.dtype == torch.float32
    assert torch.equal(attention_transfer(student, source, **options), losses)


def test_descent_leads_the_student_to_the_sources_attention() -> None:
    student, source = trainable(drawn(4, 3)), drawn(6, 3, seed=1)
    optimiser = torch.optim.Adam(parts(student)[:2], lr=0.1)
    before = attention_transfer(student, source, match="kl").sum().item()
    for _ in range(150):
        optimiser.zero_grad()
        loss = attention_transfer(student, source, match="kl").sum()
        loss.backward()
        optimiser.step()

    assert loss.item() < 0.02 * before
