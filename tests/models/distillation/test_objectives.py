from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.distillation.objectives import (
    FeatureProjection,
    cross_entropy,
    distillation,
    feature_map_l1,
    inverse_frequency,
)


def test_inverse_frequency_has_mean_one_over_the_classes_that_occur() -> None:
    # 1/20, 1/10 and 1/5 are as 1, 2 and 4, whose mean is 7/3.
    weights = inverse_frequency([20, 10, 0, 5])

    torch.testing.assert_close(torch.tensor([3 / 7, 6 / 7, 0.0, 12 / 7]), weights)


@pytest.mark.parametrize("counts", [[], [0, 0], [3, -1]])
def test_impossible_counts_are_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="counts must not be negative, and not all zero"):
        inverse_frequency(counts)


def test_cross_entropy_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]))
    labels = torch.tensor([0, 1])

    losses = cross_entropy(logits, labels, class_weights=torch.tensor([2.0, 0.5, 1.0]))

    torch.testing.assert_close(torch.tensor([2 * math.log(2), 0.5 * math.log(5)]), losses)


def test_shares_of_votes_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    shares = torch.tensor([[0.75, 0.25, 0.0]])

    plain = cross_entropy(logits, shares)
    weighted = cross_entropy(logits, shares, class_weights=torch.tensor([2.0, 0.4, 1.0]))

    expected = 0.75 * math.log(2) + 0.25 * math.log(4)
    torch.testing.assert_close(plain, torch.tensor([expected]))
    # the mean of the weights over the votes: 0.75 * 2 + 0.25 * 0.4
    torch.testing.assert_close(weighted, torch.tensor([1.6 * expected]))


def test_votes_for_one_class_only_are_its_label() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    weights = torch.tensor([0.5, 1.5, 1.0])

    torch.testing.assert_close(
        cross_entropy(logits, F.one_hot(labels, 3).float(), class_weights=weights),
        cross_entropy(logits, labels, class_weights=weights),
    )


def test_label_smoothing_spreads_over_all_classes() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))

    losses = cross_entropy(logits, torch.tensor([0]), label_smoothing=0.3)

    # Target 0.8, 0.1, 0.1.
    expected = 0.8 * math.log(2) + 0.2 * math.log(4)
    torch.testing.assert_close(torch.tensor([expected]), losses)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_torchs_divergence_times_temperature_squared(temperature: float) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 5) * 3, torch.randn(6, 5) * 3
    reference = nn.KLDivLoss(reduction="batchmean")(
        F.log_softmax(student / temperature, dim=1), F.softmax(teacher / temperature, dim=1)
    )

    losses = distillation(student, teacher, temperature=temperature)

    assert losses.shape == (6,)
    torch.testing.assert_close(reference * temperature**2, losses.mean())


def test_distillation_of_a_student_that_agrees_is_zero_whatever_the_offset() -> None:
    teacher = torch.tensor([[1.0, -2.0, 0.5]])

    losses = distillation(teacher + 7.0, teacher, temperature=2.0)

    torch.testing.assert_close(torch.zeros(1), losses, rtol=0, atol=1e-6)


def test_distillation_from_a_certain_teacher_is_finite() -> None:
    losses = distillation(torch.zeros(1, 2), torch.tensor([[1.0e4, -1.0e4]]), temperature=1.0)

    torch.testing.assert_close(torch.tensor([math.log(2)]), losses)


def test_nothing_flows_into_the_teacher() -> None:
    student = torch.randn(2, 3, requires_grad=True)
    teacher = torch.randn(2, 3, requires_grad=True)

    (
        distillation(student, teacher, temperature=2.0) + feature_map_l1(student, teacher)
    ).sum().backward()

    assert student.grad is not None
    assert teacher.grad is None


def divergence(student: torch.Tensor, teacher: torch.Tensor, tau_s: float, tau_t: float) -> float:
    """One utterance's, without a factor, by its definition."""
    own = [math.exp(z / tau_s) for z in student.tolist()]
    taught = [math.exp(z / tau_t) for z in teacher.tolist()]
    return sum(
        t / sum(taught) * math.log((t / sum(taught)) / (s / sum(own)))
        for s, t in zip(own, taught, strict=True)
    )


def drawn_logits() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64) * 2
    return student, teacher


def test_teacher_with_a_temperature_of_its_own_has_the_product_for_a_factor() -> None:
    student, teacher = drawn_logits()

    losses = distillation(student, teacher, temperature=2.0, teacher_temperature=5.0)

    expected = [10.0 * divergence(*pair, 2.0, 5.0) for pair in zip(student, teacher, strict=True)]
    assert losses.tolist() == pytest.approx(expected, rel=1e-9)


def test_each_utterance_may_have_its_own_temperature() -> None:
    student, teacher = drawn_logits()
    own = torch.tensor([1.0, 2.5, 7.0])

    together = distillation(student, teacher, temperature=own)
    mixed = distillation(student, teacher, temperature=3.0, teacher_temperature=own)

    for row, tau in enumerate(own.tolist()):
        pair = student[row], teacher[row]
        assert together[row].item() == pytest.approx(tau**2 * divergence(*pair, tau, tau))
        assert mixed[row].item() == pytest.approx(3 * tau * divergence(*pair, 3.0, tau))


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_a_tensor_temperature_gives_what_its_number_gives(shape: tuple[int, ...]) -> None:
    student, teacher = drawn_logits()

    losses = distillation(student, teacher, temperature=torch.full(shape, 2.5))

    torch.testing.assert_close(losses, distillation(student, teacher, temperature=2.5))


@pytest.mark.parametrize("shape", [(), (3,)])
def test_gradients_of_temperatures_and_both_logits_are_those_of_numbers(
    shape: tuple[int, ...],
) -> None:
    student, teacher = drawn_logits()
    own, other = (torch.full(shape, tau, dtype=torch.float64) for tau in (2.0, 3.5))
    values = tuple(value.requires_grad_() for value in (student, teacher, own, other))

    def losses(student: torch.Tensor, teacher: torch.Tensor, *taus: torch.Tensor) -> torch.Tensor:
        return distillation(
            student,
            teacher,
            temperature=taus[0],
            teacher_temperature=taus[1],
            detach_teacher=False,
        )

    assert torch.autograd.gradcheck(losses, values)
    assert torch.autograd.gradgradcheck(losses, values)


def test_a_teacher_that_is_not_detached_is_taught_too() -> None:
    student, teacher = (logits.requires_grad_() for logits in drawn_logits())

    loss = distillation(student, teacher, temperature=2.0, detach_teacher=False).sum()
    (gradient,) = torch.autograd.grad(loss, teacher)

    assert gradient.abs().max() > 0


def test_distillation_is_single_precision_at_least_and_double_where_given() -> None:
    student, teacher = drawn_logits()

    halves = distillation(student.half(), teacher.half(), temperature=2.0)
    exact = distillation(student, teacher, temperature=2.0)

    assert (halves.dtype, exact.dtype) == (torch.float32, torch.float64)
    expected = [4.0 * divergence(*pair, 2.0, 2.0) for pair in zip(student, teacher, strict=True)]
    assert exact.tolist() == pytest.approx(expected, rel=1e-12)


def test_feature_map_of_pooled_vectors_by_hand() -> None:
    losses = feature_map_l1(
        torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 5.0], [0.0, 0.0]])
    )

    assert losses.tolist() == [2.0, 0.0]


def test_feature_map_of_tokens_averages_over_real_tokens_only() -> None:
    student = torch.zeros(2, 3, 2)
    teacher = torch.tensor([[[2.0, 4.0], [1.0, 1.0], [9.0, 9.0]], [[3.0, 3.0]] * 3])
    mask = torch.tensor([[True, True, False], [True, False, False]])

    assert feature_map_l1(student, teacher, mask=mask).tolist() == [2.0, 3.0]
    torch.testing.assert_close(torch.tensor([13 / 3, 3.0]), feature_map_l1(student, teacher))


def test_any_split_of_a_batch_gives_the_same_losses() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 4), torch.randn(5, 4)
    labels = torch.tensor([0, 1, 2, 3, 0])
    weights = inverse_frequency([4, 1, 2, 3])

    def losses(part: slice) -> torch.Tensor:
        return cross_entropy(
            student[part], labels[part], class_weights=weights, label_smoothing=0.1
        ) + distillation(student[part], teacher[part], temperature=3.0)

    torch.testing.assert_close(
        losses(slice(0, 5)), torch.cat((losses(slice(0, 2)), losses(slice(2, 5))))
    )


def test_projection_maps_widths_along_the_last_axis() -> None:
    assert FeatureProjection(3, 5)(torch.zeros(2, 7, 3)).shape == (2, 7, 5)
