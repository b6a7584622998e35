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
