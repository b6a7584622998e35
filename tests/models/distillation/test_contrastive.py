from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from models.distillation.contrastive import ProjectionHead, supervised_contrastive


def by_loops(features: torch.Tensor, labels: list[int], *, temperature: float) -> list[float]:
    """The same by its definition, one pair after another."""
    units = [[x / math.hypot(*row) for x in row] for row in features.tolist()]
    count = len(labels)

    def similarity(i: int, j: int) -> float:
        return sum(a * b for a, b in zip(units[i], units[j], strict=True)) / temperature

    losses = []
    for i in range(count):
        positives = [p for p in range(count) if p != i and labels[p] == labels[i]]
        total = 0.0
        for p in positives:
            others = sum(math.exp(similarity(i, a)) for a in range(count) if a != i)
            total -= math.log(math.exp(similarity(i, p)) / others)
        losses.append(total / len(positives) if positives else 0.0)
    return losses


def drawn(count: int, dim: int, *, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64) * 3


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, 0, 2, 1, 0, 1],
        [0, 0, 1, 1, 2, 2, 3],  # one class with a single utterance
        [5, 5, 5, 5, 5, 5, 5],
        [0, 1, 2, 3, 4, 5, 6],  # nobody has a positive
    ],
)
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_losses_are_those_of_the_double_loop(labels: list[int], temperature: float) -> None:
    features = drawn(7, 4)

    losses = supervised_contrastive(features, torch.tensor(labels), temperature=temperature)

    expected = by_loops(features, labels, temperature=temperature)
    assert losses.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_loss_by_hand() -> None:
    # The first two are the same direction, the third at a right angle: similarities 1 and 0.
    features = torch.tensor([[2.0, 0.0], [5.0, 0.0], [0.0, 1.0]])

    losses = supervised_contrastive(features, torch.tensor([1, 1, 0]), temperature=0.5)

    paired = math.log(1 + math.exp(-2))
    torch.testing.assert_close(losses, torch.tensor([paired, paired, 0.0]))


def test_one_of_a_class_is_zero_without_a_gradient_of_its_own() -> None:
    features = drawn(3, 2).requires_grad_()

    losses = supervised_contrastive(features, torch.tensor([0, 0, 1]), temperature=0.1)
    (gradient,) = torch.autograd.grad(losses[2], features)

    assert losses[2].item() == 0.0
    assert gradient.abs().max() == 0.0


@pytest.mark.parametrize("labels", [[3], [0, 1]])
def test_a_batch_without_any_pair_is_zero_and_so_is_its_gradient(labels: list[int]) -> None:
    features = drawn(len(labels), 3).requires_grad_()

    losses = supervised_contrastive(features, torch.tensor(labels), temperature=0.1)
    losses.sum().backward()

    assert losses.tolist() == [0.0] * len(labels)
    assert features.grad is not None
    assert features.grad.abs().max() == 0.0


def test_a_batch_of_one_meets_no_nan_on_the_way_back() -> None:
    features = drawn(1, 3).requires_grad_()

    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        supervised_contrastive(features, torch.tensor([3]), temperature=0.1).sum().backward()


def test_a_batch_of_two_of_one_class_has_nothing_to_be_told_from() -> None:
    losses = supervised_contrastive(drawn(2, 3), torch.tensor([1, 1]), temperature=0.1)

    assert losses.tolist() == [0.0, 0.0]


def test_a_tiny_temperature_and_long_features_overflow_nowhere() -> None:
    features = (drawn(6, 4) * 1e8).float().requires_grad_()

    losses = supervised_contrastive(features, torch.tensor([0, 1] * 3), temperature=1e-4)
    losses.sum().backward()

    assert losses.isfinite().all()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_utterances_of_a_class_that_come_together_cost_less() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    angles = [torch.tensor([0.0, spread, 2.0, 2.0 + spread]) for spread in (1.0, 0.5, 0.1)]

    costs = [
        supervised_contrastive(
            torch.stack((angle.cos(), angle.sin()), dim=1), labels, temperature=0.2
        ).sum()
        for angle in angles
    ]

    assert all(nearer < farther for farther, nearer in pairwise(costs))


def test_gradients_and_their_gradients_are_those_of_numbers() -> None:
    features = drawn(5, 3).requires_grad_()
    labels = torch.tensor([0, 1, 0, 1, 2])

    def losses(values: torch.Tensor) -> torch.Tensor:
        return supervised_contrastive(values, labels, temperature=0.4)

    assert torch.autograd.gradcheck(losses, (features,))
    assert torch.autograd.gradgradcheck(losses, (features,))


def test_a_feature_of_zeros_stays_finite_to_the_second_gradient() -> None:
    features = drawn(4, 3)
    features[1] = 0.0
    features.requires_grad_()

    loss = supervised_contrastive(features, torch.tensor([0, 0, 1, 1]), temperature=0.5).sum()
    (gradient,) = torch.autograd.grad(loss, features, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), features)

    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert second.isfinite().all()


def test_half_precision_is_computed_in_single_even_under_autocast() -> None:
    features, labels = drawn(8, 16).bfloat16(), torch.tensor([0, 1] * 4)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = supervised_contrastive(features, labels, temperature=0.1)

    assert losses.dtype == torch.float32
    exact = supervised_contrastive(features.double(), labels, temperature=0.1)
    torch.testing.assert_close(losses.double(), exact, rtol=1e-5, atol=1e-6)


def test_projection_is_of_length_one_and_its_parts_are_learned() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(6, 3)
    features = torch.randn(5, 6)

    projected = head(features)
    projected.sum().backward()

    torch.testing.assert_close(projected.norm(dim=1), torch.ones(5))
    first, last = head.layers[0], head.layers[2]
    by_hand = (features @ first.weight.T + first.bias).clamp_min(0) @ last.weight.T + last.bias
    torch.testing.assert_close(projected, by_hand / by_hand.norm(dim=1, keepdim=True))
    assert [tuple(p.shape) for p in head.parameters()] == [(6, 6), (6,), (3, 6), (3,)]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in head.parameters())
