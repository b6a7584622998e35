"""Draws from a define-by-run function, outside any study: at random, or as told."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Choose = Callable[[str, BaseDistribution], Any]
"""From the name of a parameter, and what it may be, to its value."""


class ChosenTrial(optuna.trial.FixedTrial):
    """A trial whose values a function chooses, each once, as the space asks for them."""

    def __init__(self, choose: Choose) -> None:
        super().__init__({})
        self._choose = choose

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self._suggested_params:
            self._suggested_params[name] = self._choose(name, distribution)
            self._distributions[name] = distribution
        return self._suggested_params[name]


def from_trial(trial: optuna.Trial) -> Choose:
    """Values as a trial of a study suggests them."""

    def choose(name: str, distribution: BaseDistribution) -> Any:
        if isinstance(distribution, CategoricalDistribution):
            return trial.suggest_categorical(name, distribution.choices)
        if isinstance(distribution, IntDistribution):
            return trial.suggest_int(
                name,
                distribution.low,
                distribution.high,
                step=distribution.step,
                log=distribution.log,
            )
        assert isinstance(distribution, FloatDistribution)
        return trial.suggest_float(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )

    return choose


def at_random(rng: random.Random) -> Choose:
    """Values drawn evenly, on a logarithmic scale where the parameter has one."""

    def choose(name: str, distribution: BaseDistribution) -> Any:
        values = finite_values(distribution)
        if values is not None and not getattr(distribution, "log", False):
            return rng.choice(values)
        assert isinstance(distribution, IntDistribution | FloatDistribution)
        low, high = distribution.low, distribution.high
        if distribution.log:
            drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
        else:
            drawn = rng.uniform(low, high)
        drawn = min(max(drawn, low), high)
        return round(drawn) if isinstance(distribution, IntDistribution) else drawn

    return choose


def finite_values(distribution: BaseDistribution) -> Sequence[Any] | None:
    """All values of a parameter in their order; None if it is continuous."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    assert isinstance(distribution, FloatDistribution)
    if distribution.single():
        return [distribution.low]
    if distribution.step is None:
        return None
    # as decimals, so that the third step of 0.05 is 0.15 and not 0.15000000000000002
    low, high, step = (
        Decimal(repr(value)) for value in (distribution.low, distribution.high, distribution.step)
    )
    return [float(low + index * step) for index in range(int((high - low) / step) + 1)]
