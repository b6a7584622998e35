"""Terms of the student's loss, one value an utterance.

The caller sums over utterances and divides by the size of the global batch, so that any split of a
batch over workers gives the same loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.distillation.alignment import align_tokens

__all__ = [
    "FeatureProjection",
    "align_tokens",
    "cross_entropy",
    "distillation",
    "feature_map_l1",
    "inverse_frequency",
]


def inverse_frequency(counts: Sequence[int]) -> Tensor:
    """Class weights in proportion to 1 / count, with mean one over the classes that occur.

    Args:
        counts: training utterances of each class; a class without any gets weight 0.

    Returns:
        (classes,) float32.

    Raises:
        ValueError: a count is negative or all are zero.

    >>> inverse_frequency([30, 10]).tolist()
    [0.5, 1.5]
    """
    if min(counts, default=0) < 0 or not any(counts):
        raise ValueError(f"counts must not be negative, and not all zero (got {list(counts)})")
    weights = torch.tensor([1.0 / count if count else 0.0 for count in counts], dtype=torch.float64)
    occurring = int((weights > 0).sum())
    return (weights * occurring / weights.sum()).float()


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy to the labels, times the weight of the label's class.

    Smoothing puts ``label_smoothing / classes`` on every class. Unlike torch's, the weight is that
    of the true class for the whole smoothed target, so a weighted utterance is only scaled; that of
    shares of votes is their mean over the classes.

    Args:
        logits: (batch, classes); halves are computed as float32.
        labels: (batch,) int64, or shares of votes (batch, classes) that sum to one.
        class_weights: (classes,); default all one.
        label_smoothing: share of the target spread over all classes; default 0.

    Returns:
        (batch,) losses.
    """
    full = _full(logits)
    targets = labels if labels.ndim == 1 else labels.to(full.dtype)
    losses = F.cross_entropy(full, targets, reduction="none", label_smoothing=label_smoothing)
    if class_weights is None:
        return losses
    of_labels = class_weights[labels] if labels.ndim == 1 else labels @ class_weights
    return losses * of_labels


def distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float | Tensor,
    teacher_temperature: float | Tensor | None = None,
    detach_teacher: bool = True,
) -> Tensor:
    """Temperature-scaled divergence from the teacher (Hinton et al. 2015, section 2).

    ``T^2 KL(softmax(teacher / T) || softmax(student / T))``: the factor keeps gradients of the same
    size at every temperature. Where the teacher has its own (Liu et al. 2022), the factor is the
    product of both; the paper's is not known, so that is inferred.

    Args:
        student_logits: (batch, classes); halves are computed as float32.
        teacher_logits: (batch, classes).
        temperature: T, above 0: a number, or a tensor, scalar or (batch,), into which gradients
            flow.
        teacher_temperature: the teacher's, where it is not the student's; default ``temperature``.
        detach_teacher: let no gradient flow into the teacher's logits; default true.

    Returns:
        (batch,) losses.
    """
    if teacher_temperature is None:
        teacher_temperature = temperature
    if detach_teacher:
        teacher_logits = teacher_logits.detach()
    student = _log_softmax(student_logits, temperature)
    teacher = _log_softmax(teacher_logits, teacher_temperature)
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True)
    return divergence.sum(dim=-1) * (temperature * teacher_temperature)


def _log_softmax(logits: Tensor, temperature: float | Tensor) -> Tensor:
    if isinstance(temperature, Tensor) and temperature.ndim == 1:
        temperature = temperature[:, None]
    return F.log_softmax(_full(logits) / temperature, dim=-1)


def _full(values: Tensor) -> Tensor:
    """At least float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def feature_map_l1(student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Mean absolute difference of features (Kim & Lee 2024, overall process, stages b and c).

    That the mean is taken over all features of the compared map is inferred.

    Args:
        student: (batch, dim), or (batch, tokens, dim); halves are computed as float32.
        teacher: the same shape; no gradient flows into it.
        mask: (batch, tokens) bool, real tokens; needed for the three-dimensional form only, where
            each utterance averages over its own real tokens; default all are real.

    Returns:
        (batch,) losses.
    """
    difference = (_full(student) - _full(teacher.detach())).abs().mean(dim=-1)
    if difference.ndim == 1:
        return difference
    if mask is None:
        return difference.mean(dim=-1)
    real = mask.to(difference.dtype)
    return (difference * real).sum(dim=-1) / real.sum(dim=-1).clamp_min(1.0)


class FeatureProjection(nn.Linear):
    """Maps the student's features to the teacher's width; trained with the student, then dropped.

    Args:
        student_dim: width of the student's features.
        teacher_dim: width of the teacher's.
    """

    def __init__(self, student_dim: int, teacher_dim: int) -> None:
        super().__init__(student_dim, teacher_dim)
