"""AdamW over the parameters of a network, decayed or not, each at its own rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.experiment.training import Fitting


def new_optimiser(
    network: nn.Module, beside: nn.Module | None, settings: Fitting
) -> torch.optim.Optimizer:
    """AdamW over all that requires a gradient; only matrices are decayed: no norms, no biases.

    A network with ``rate_factors()`` names prefixes of its parameters whose learning rate is the
    settings' times a factor.
    """
    asked = getattr(network, "rate_factors", dict)
    factors: Mapping[str, float] = asked()
    named = [*network.named_parameters(), *(beside.named_parameters("beside") if beside else ())]
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        if parameter.requires_grad:
            factor = next((f for prefix, f in factors.items() if name.startswith(prefix)), 1.0)
            decay = settings.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "factor": factor}
            for (factor, decay), parameters in groups.items()
        ],
        lr=settings.lr,
        # the same numbers, with fewer calls
        foreach=True,
    )


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, times the factor of each group."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]


def clip_gradients(parameters: Sequence[nn.Parameter], largest: float) -> Tensor:
    """Scale all gradients together so that their norm is at most ``largest``; the norm before.

    As ``torch.nn.utils.clip_grad_norm_``, but on a CPU, where the norm can be read without waiting,
    gradients that are short enough are not multiplied by one.
    """
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if norm.device.type != "cpu" or not largest / (norm + 1e-6) >= 1.0:
        nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return norm


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser by ``parameter.name``, such as ``3.exp_avg``."""
    state: dict[int, dict[str, Tensor]] = optimiser.state_dict()["state"]
    return {f"{place}.{name}": v for place, own in state.items() for name, v in own.items()}


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Take back what :func:`optimiser_tensors` gave."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        place, name = key.split(".")
        state.setdefault(int(place), {})[name] = value
    optimiser.load_state_dict(optimiser.state_dict() | {"state": state})


def under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin with ``prefix``, under the rest of their names."""
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
