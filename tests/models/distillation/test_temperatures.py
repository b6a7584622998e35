from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from models.distillation.objectives import distillation
from models.distillation.temperatures import (
    GlobalTemperature,
    InstanceTemperature,
    reversal_factor,
    reverse_gradient,
)


def logits(*, classes: int = 4, batch: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, batch, classes, generator=generator) * 3
    return student, teacher


def temperatures(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "global":
        return GlobalTemperature(start=1.0, span=20.0)
    return InstanceTemperature(classes=4, start=1.0, span=20.0)


@pytest.mark.parametrize("factor", [0.0, -0.25, -1.0])
def test_reversal_keeps_values_and_multiplies_gradients(factor: float) -> None:
    x = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    reversed_ = reverse_gradient(x, factor)

    (gradient,) = torch.autograd.grad((reversed_**2).sum(), x)

    assert reversed_.tolist() == x.tolist()
    assert gradient.tolist() == [factor * 2.0, factor * -4.0, factor * 1.0]


def test_reversal_goes_through_second_gradients() -> None:
    # The gradient of x**3 arrives as -1/2 of 3 x**2, and the gradient of that as -1/2 of it again.
    x = torch.tensor(2.0, requires_grad=True)

    (first,) = torch.autograd.grad(reverse_gradient(x, -0.5) ** 3, x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)

    assert (first.item(), second.item()) == (-0.5 * 12.0, -0.5 * -0.5 * 12.0)


def test_reversal_leaves_what_it_is_given_as_it_was() -> None:
    x = torch.ones(2)

    reverse_gradient(x, -1.0).requires_grad_(True)

    assert not x.requires_grad


def test_factor_falls_on_a_cosine_and_stays() -> None:
    factors = [reversal_factor(epoch, epochs=4, strength=2.0) for epoch in range(7)]

    # 2 (cos(pi e / 4) - 1) / 2
    expected = [0.0, math.sqrt(0.5) - 1, -1.0, -math.sqrt(0.5) - 1, -2.0, -2.0, -2.0]
    assert factors == pytest.approx(expected, abs=1e-15)
    assert (factors[0], factors[4]) == (0.0, -2.0)


def test_factor_over_a_single_epoch_leaves_the_first_alone() -> None:
    assert [reversal_factor(epoch, epochs=1, strength=1.0) for epoch in range(3)] == [0, -1, -1]


def test_no_strength_is_no_gradient_at_any_epoch() -> None:
    assert [reversal_factor(epoch, epochs=3, strength=0.0) for epoch in range(5)] == [0.0] * 5


def test_global_temperature_begins_as_the_paper_does() -> None:
    temperature = GlobalTemperature(start=1.0, span=20.0)

    value = temperature(*logits(), 0.0)

    assert value.shape == ()
    # 1 + 20 / (1 + exp(-1))
    torch.testing.assert_close(value, torch.tensor(15.621171572600098))
    assert [tuple(p.shape) for p in temperature.parameters()] == [()]


def test_instance_temperatures_are_of_both_networks_logits() -> None:
    module = temperatures("instance")
    student, teacher = logits()
    first, last = (layer for layer in module.layers if isinstance(layer, nn.Linear))
    hidden = torch.cat((student, teacher), dim=1) @ first.weight.T + first.bias
    value = hidden.clamp_min(0) @ last.weight[0] + last.bias

    found = module(student, teacher, -1.0)

    assert found.shape == (6,)
    torch.testing.assert_close(found, 1 + 20 / (1 + torch.exp(-value)))
    assert len(set(found.tolist())) == 6
    assert first.weight.shape == (32, 8)


def test_instance_temperature_of_one_utterance_is_still_one_value_an_utterance() -> None:
    assert temperatures("instance")(*logits(batch=1), -1.0).shape == (1,)


def test_instance_temperatures_teach_nothing_to_the_networks() -> None:
    student, teacher = (part.requires_grad_() for part in logits())

    found = temperatures("instance")(student, teacher, -1.0)

    assert torch.autograd.grad(found.sum(), (student, teacher), allow_unused=True) == (None, None)


@pytest.mark.parametrize("kind", ["global", "instance"])
@pytest.mark.parametrize(("factor", "moved"), [(-1.0, 1), (0.0, 0), (1.0, -1)])
def test_a_reversed_step_raises_the_loss_that_it_descends(
    kind: str, factor: float, moved: int
) -> None:
    module = temperatures(kind).double()
    student, teacher = (part.double() for part in logits())
    optimiser = torch.optim.SGD(module.parameters(), lr=1e-3)

    def loss() -> torch.Tensor:
        return distillation(student, teacher, temperature=module(student, teacher, factor)).mean()

    before, was = loss(), module(student, teacher, factor)
    before.backward()
    optimiser.step()
    change, shift = loss() - before, module(student, teacher, factor) - was

    assert change.sign().item() == moved
    assert bool(shift.abs().max() > 0) == bool(moved)


def test_the_student_still_descends_what_the_temperature_ascends() -> None:
    module = temperatures("global")
    student, teacher = logits()
    student.requires_grad_()

    def slope(factor: float) -> torch.Tensor:
        found = module(student, teacher, factor)
        loss = distillation(student, teacher, temperature=found).sum()
        return torch.autograd.grad(loss, student)[0]

    torch.testing.assert_close(slope(-1.0), slope(0.0), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["global", "instance"])
def test_temperatures_stay_between_their_bounds(kind: str) -> None:
    module = temperatures(kind)
    for parameter in module.parameters():
        nn.init.constant_(parameter, -50.0 if parameter.ndim < 2 else 0.0)

    assert module(*logits(), -1.0).min() >= 1.0

    for parameter in module.parameters():
        nn.init.constant_(parameter, 50.0 if parameter.ndim < 2 else 0.0)

    assert module(*logits(), -1.0).max() <= 21.0


@pytest.mark.parametrize("kind", ["global", "instance"])
def test_temperatures_are_single_precision_under_autocast(kind: str) -> None:
    module = temperatures(kind)
    student, teacher = (part.bfloat16() for part in logits())

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module(student, teacher, -1.0)

    assert found.dtype == torch.float32
    plain = module(student.float(), teacher.float(), -1.0)
    torch.testing.assert_close(found, plain, rtol=0, atol=0)
