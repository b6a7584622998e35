"""What AdamW is given, at which rate, and its state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from orchestrator.experiment.recipe import Training
from orchestrator.training.optimiser import (
    load_optimiser,
    new_optimiser,
    optimiser_tensors,
    set_rate,
    under,
)

SETTINGS = Training(lr=0.1, weight_decay=0.5)


class Two(nn.Module):
    """An encoder with a norm, frozen or slower, and a head."""

    def __init__(self, factors: dict[str, float] | None = None) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
        self.head = nn.Linear(3, 2)
        self.token = nn.Parameter(torch.zeros(3))
        if factors is not None:
            self.rate_factors = lambda: factors


def groups(optimiser: torch.optim.Optimizer, *modules: nn.Module) -> dict[str, tuple[Any, ...]]:
    """By parameter: factor and decay."""
    names = {
        id(parameter): f"{place}{name}"
        for place, module in zip(("", "beside."), modules, strict=False)
        for name, parameter in module.named_parameters()
    }
    return {
        names[id(parameter)]: (group["factor"], group["weight_decay"])
        for group in optimiser.param_groups
        for parameter in group["params"]
    }


def test_matrices_are_decayed_and_norms_biases_and_tokens_are_not() -> None:
    network, beside = Two(), nn.Linear(1, 1)

    assert groups(new_optimiser(network, beside, SETTINGS), network, beside) == {
        "encoder.0.weight": (1.0, 0.5),
        "encoder.0.bias": (1.0, 0.0),
        "encoder.1.weight": (1.0, 0.0),
        "encoder.1.bias": (1.0, 0.0),
        "head.weight": (1.0, 0.5),
        "head.bias": (1.0, 0.0),
        "token": (1.0, 0.0),
        "beside.weight": (1.0, 0.5),
        "beside.bias": (1.0, 0.0),
    }


def test_named_parts_learn_at_a_rate_of_their_own() -> None:
    network = Two({"encoder.": 0.01})
    optimiser = new_optimiser(network, None, SETTINGS)
    set_rate(optimiser, 0.2)
    found = groups(optimiser, network)
    rates = {group["factor"]: group["lr"] for group in optimiser.param_groups}

    assert {name for name, (factor, _) in found.items() if factor == 0.01} == {
        "encoder.0.weight",
        "encoder.0.bias",
        "encoder.1.weight",
        "encoder.1.bias",
    }
    assert found["encoder.0.weight"] == (0.01, 0.5)
    assert rates == {0.01: pytest.approx(0.002), 1.0: 0.2}


def test_a_factor_is_what_the_first_step_is_multiplied_by() -> None:
    """AdamW's first step is the rate against the sign of the gradient, whatever its size."""
    network = Two({"encoder.": 0.25})
    optimiser = new_optimiser(network, None, Training(lr=0.1, weight_decay=0.0))
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    set_rate(optimiser, 0.1)
    optimiser.step()

    for name, parameter in network.named_parameters():
        moved = (before[name] - parameter.detach()).flatten()
        wanted = 0.025 if name.startswith("encoder.") else 0.1
        torch.testing.assert_close(moved, torch.full_like(moved, wanted), atol=1e-6, rtol=1e-5)


def test_what_is_frozen_is_not_given_to_it() -> None:
    network = Two({"encoder.": 0.01})
    network.encoder.requires_grad_(False)
    found = groups(new_optimiser(network, None, SETTINGS), network)

    assert set(found) == {"head.weight", "head.bias", "token"}


def stepped(network: nn.Module, optimiser: torch.optim.Optimizer, *, times: int) -> None:
    for turn in range(times):
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, 0.3 - 0.2 * turn)
        optimiser.step()


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_its_state_goes_out_and_comes_back_bit_by_bit(kind: str) -> None:
    def new(network: nn.Module) -> torch.optim.Optimizer:
        if kind == "sgd":
            return torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        return new_optimiser(network, None, SETTINGS)

    one, other = Two(), Two()
    optimiser = new(one)
    stepped(one, optimiser, times=2)
    saved = {name: value.clone() for name, value in optimiser_tensors(optimiser).items()}
    other.load_state_dict(one.state_dict())
    again = new(other)
    load_optimiser(again, saved)
    for network, its in ((one, optimiser), (other, again)):
        stepped(network, its, times=3)

    for here, there in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(here, there)
    fresh = Two()
    assert not torch.equal(one.head.weight, fresh.head.weight)
    names = {"exp_avg", "exp_avg_sq", "step"} if kind == "adamw" else {"momentum_buffer"}
    assert {name.partition(".")[2] for name in saved} == names


def test_a_new_optimiser_has_no_state() -> None:
    assert optimiser_tensors(new_optimiser(Two(), None, SETTINGS)) == {}


def test_under_takes_a_part_and_cuts_its_prefix() -> None:
    one = torch.zeros(1)

    assert under("a.", {"a.b": one, "a.a.c": one, "ab.c": one}) == {"b": one, "a.c": one}
