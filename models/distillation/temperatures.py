"""Temperatures that are trained against the student (CTKD, Li et al. 2023, sections 3.2, 3.3)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, factor: float) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.factor * gradient, None


def reverse_gradient(x: Tensor, factor: float) -> Tensor:
    """``x`` itself, whose gradient is multiplied by ``factor`` on the way back.

    Args:
        x: any shape.
        factor: 0 or below, see ``reversal_factor``: 0 stops the gradient, and below 0 what descends
            the loss beyond makes what lies before ascend it.
    """
    reversed_: Tensor = _Reversal.apply(x, factor)
    return reversed_


def reversal_factor(epoch: int, *, epochs: int, strength: float) -> float:
    """Factor of the reversed gradient in an epoch: on a cosine from 0 to ``-strength``.

    Li et al. 2023, section 3.3: the temperature is left alone at first and then turned against the
    student ever more strongly.

    Args:
        epoch: counted from 0.
        epochs: from this epoch on the factor is ``-strength``.
        strength: not negative.

    >>> [reversal_factor(epoch, epochs=2, strength=1.0) for epoch in (0, 2, 5)]
    [0.0, -1.0, -1.0]
    """
    return strength * (math.cos(math.pi * min(epoch, epochs) / epochs) - 1.0) / 2.0


class GlobalTemperature(nn.Module):
    """One temperature for all utterances: ``start + span * sigmoid(g)``, g a parameter from 1.

    Args:
        start: lowest temperature, which is never reached.
        span: from the lowest to the highest temperature; with 1 and 20 the first is 15.62.
    """

    def __init__(self, *, start: float, span: float) -> None:
        super().__init__()
        self.start = start
        self.span = span
        self.g = nn.Parameter(torch.ones(()))

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, factor: float) -> Tensor:
        """Scalar temperature; the logits do not matter, ``factor`` is that of the reversal."""
        return self.start + self.span * torch.sigmoid(reverse_gradient(self.g, factor))


class InstanceTemperature(nn.Module):
    """A temperature for each utterance, from what both networks say of it.

    ``start + span * sigmoid(value)``, the value a small network's with one hidden layer of 32
    units. That width, and that no gradient flows through it into the logits, are inferred.

    Args:
        classes: of the logits.
        start: lowest temperature, which is never reached.
        span: from the lowest to the highest temperature.
    """

    def __init__(self, *, classes: int, start: float, span: float) -> None:
        super().__init__()
        self.start = start
        self.span = span
        self.layers = nn.Sequential(
            nn.Linear(2 * classes, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0)
        )

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, factor: float) -> Tensor:
        """(batch,) temperatures.

        Args:
            student_logits: (batch, classes).
            teacher_logits: (batch, classes).
            factor: of the reversal.
        """
        own = next(self.parameters()).dtype
        said = torch.cat((student_logits.detach().to(own), teacher_logits.detach().to(own)), dim=1)
        # a temperature in half precision moves in steps too coarse to learn
        with torch.autocast(said.device.type, enabled=False):
            value = self.layers(said)
        return self.start + self.span * torch.sigmoid(reverse_gradient(value, factor))
