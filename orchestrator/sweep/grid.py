"""All points of a finite define-by-run space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution

from orchestrator.errors import ExperimentError
from orchestrator.sweep.drawing import Choose, finite_values

LIMIT = 100_000
"""Points beyond which a grid is refused: a sweep could not go through them."""

Script = tuple[int, ...]
"""A point: of each parameter, in the order in which the space asks, the index of its value."""


def grid_scripts(draw: Callable[[Choose], object]) -> list[Script]:
    """Every point once, depth first: the parameter that is asked for last changes fastest.

    Args:
        draw: runs the space with a function that chooses.

    Raises:
        ExperimentError: a parameter is continuous, or there are more than :data:`LIMIT` points.
    """
    found: list[Script] = []
    script: list[int] = []
    while True:
        sizes: list[int] = []
        draw(_follow(script, sizes))
        found.append(tuple(script))
        if len(found) > LIMIT:
            raise ExperimentError(
                f"search.sampler is 'grid', but the space has more than {LIMIT:,} points (stopped "
                f"counting at {len(found):,}); fix or narrow some by search.parameters, or use "
                "another sampler"
            )
        while script and script[-1] + 1 == sizes[-1]:
            script.pop()
            sizes.pop()
        if not script:
            return found
        script[-1] += 1


def following(script: Script) -> Choose:
    """Values of the point that ``script`` stands for."""
    return _follow(list(script), [])


def _follow(script: list[int], sizes: list[int]) -> Choose:
    """Values by ``script``, which grows by first values where it ends before the space does.

    Args:
        script: indices, in the order of the parameters.
        sizes: filled with the number of values of each.
    """

    def choose(name: str, distribution: BaseDistribution) -> Any:
        values = finite_values(distribution)
        if values is None:
            assert isinstance(distribution, FloatDistribution)
            raise ExperimentError(
                f"search.sampler is 'grid', but {name} is continuous ({distribution.low:g} to "
                f"{distribution.high:g}); give search.parameters.{name} a list of values, or a "
                "step (log: false, step: ...)"
            )
        if len(sizes) == len(script):
            script.append(0)
        sizes.append(len(values))
        return values[script[len(sizes) - 1]]

    return choose
