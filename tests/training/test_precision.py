"""Half precision, and the scale of its loss over a checkpoint."""

from __future__ import annotations

import torch

from orchestrator.training.precision import Precision


def test_float32_does_nothing_and_has_nothing_to_save() -> None:
    precision = Precision("float32", device="cpu")
    with precision.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)

    assert product.dtype == torch.float32
    assert precision.state() == {}


def test_bf16_multiplies_in_half_precision_without_a_scale() -> None:
    precision = Precision("bf16", device="cpu")
    with precision.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)

    assert product.dtype == torch.bfloat16
    assert precision.state() == {}


def stepped(precision: Precision, weight: torch.nn.Parameter, loss: float) -> float:
    """The gradient that a step is taken with, and the step."""
    optimiser = torch.optim.SGD([weight], lr=1.0)
    weight.grad = None
    precision.backward(loss * weight)
    precision.unscale(optimiser)
    assert weight.grad is not None
    found = float(weight.grad)
    precision.step(optimiser)
    return found


def test_gradients_are_unscaled_before_they_are_used() -> None:
    precision = Precision("fp16", device="cpu")
    weight = torch.nn.Parameter(torch.tensor(2.0))

    assert stepped(precision, weight, 0.5) == 0.5
    assert float(weight.detach()) == 1.5


def test_an_overflow_halves_the_scale_and_the_checkpoint_knows() -> None:
    precision = Precision("fp16", device="cpu")
    weight = torch.nn.Parameter(torch.tensor(2.0))
    stepped(precision, weight, 1e38)
    assert float(weight.detach()) == 2.0
    stepped(precision, weight, 1.0)

    saved = {name: value.clone() for name, value in precision.state().items()}
    assert (float(saved["scale"]), int(saved["steps"])) == (2.0**15, 1)
    other = Precision("fp16", device="cpu")
    other.load(saved)
    # the scale is made when it is first used
    stepped(other, torch.nn.Parameter(torch.tensor(0.0)), 1.0)
    assert (float(other.state()["scale"]), int(other.state()["steps"])) == (2.0**15, 2)


def test_a_checkpoint_without_a_scale_begins_with_the_first() -> None:
    precision = Precision("fp16", device="cpu")
    precision.load({})

    assert float(precision.state()["scale"]) == 2.0**16
