"""Positive scalars that are learned within bounds: temperatures and weights of the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class BoundedValues(nn.Module):
    """Named positive scalars that never leave their bounds, learned on a logarithmic scale.

    ``value = low * (high / low) ** sigmoid(raw)``: an unbounded ``raw`` moves the logarithm of the
    value between those of its bounds, so that halving and doubling cost the same. The
    parametrisation is inferred: Liu et al. 2022 (MKD) say that temperatures are learned, not how
    they are kept positive, and a learned weight may otherwise collapse to nothing.

    The values share one parameter ``raw`` (values,), in the order of ``initial``.

    Args:
        initial: what each value is at first.
        bounds: lowest and highest of each, for the same names.

    Raises:
        ValueError: no value is given, the names differ, bounds are not ``0 < low < high``, or a
            value does not lie strictly between its bounds.

    >>> values = BoundedValues({"temperature": 4.0}, {"temperature": (1.0, 10.0)})
    >>> round(values.values()["temperature"], 4)
    4.0
    """

    def __init__(
        self, initial: Mapping[str, float], bounds: Mapping[str, tuple[float, float]]
    ) -> None:
        super().__init__()
        if not initial:
            raise ValueError("initial is empty: name at least one value to be learned")
        if unmatched := sorted(initial.keys() ^ bounds.keys()):
            raise ValueError(
                f"{', '.join(unmatched)}: every value needs an initial one and bounds, under one "
                "name in both"
            )
        for name, (low, high) in bounds.items():
            if not 0 < low < high < math.inf:
                raise ValueError(
                    f"{name}: bounds {(low, high)} must be finite, positive, the lower one first"
                )
            if not low < initial[name] < high:
                raise ValueError(
                    f"{name}: initial value {initial[name]} must lie strictly between its bounds "
                    f"{(low, high)}; at a bound it could not be learned"
                )
        # Bounds are plain numbers, not buffers: exact at every precision, and on every device.
        self.bounds = {name: bounds[name] for name in initial}
        self.raw = nn.Parameter(
            torch.tensor([_raw(initial[name], *self.bounds[name]) for name in self.bounds])
        )

    def forward(self) -> dict[str, Tensor]:
        """The values now, each a scalar through which gradients reach ``raw``."""
        return self.from_raw(self.raw)

    def from_raw(self, raw: Tensor) -> dict[str, Tensor]:
        """The values of another ``raw`` (values,): the functional form, for meta-gradients."""
        shares = raw.sigmoid().unbind()
        return {
            # The clamp takes off rounding only: a share of 1 may come out just above the bound.
            name: (low * (share * math.log(high / low)).exp()).clamp(low, high)
            for (name, (low, high)), share in zip(self.bounds.items(), shares, strict=True)
        }

    def values(self) -> dict[str, float]:
        """The values now as plain numbers, for the log."""
        with torch.no_grad():
            return {name: value.item() for name, value in self().items()}


def _raw(value: float, low: float, high: float) -> float:
    """The inverse: the logit of the value's place between its bounds, on the logarithmic scale."""
    return math.log(math.log(value / low) / math.log(high / value))
