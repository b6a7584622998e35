"""What a search space proposes, found by drawing from it, since such a function lists nothing."""

from __future__ import annotations

import random
from dataclasses import dataclass

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from orchestrator.errors import ExperimentError, UnderstudyError
from orchestrator.experiment import Experiment
from orchestrator.experiment.recipe import Recipe
from orchestrator.sweep.drawing import at_random
from orchestrator.sweep.space import DRAWS
from orchestrator.sweep.space_changes import Fixed, listed
from orchestrator.sweep.space_checks import open_space


@dataclass(frozen=True)
class Parameter:
    """A parameter of a space."""

    name: str
    range: str
    """Such as ``0.05 to 5, logarithmic``, ``one of: linear, root`` or ``fixed at 4``."""
    share: float
    """Of random trials in which it occurs: below 1 it is conditional."""


@dataclass(frozen=True)
class Probe:
    """What random draws from a space gave."""

    parameters: tuple[Parameter, ...]
    """In the order in which the space suggests them first."""
    recipes: tuple[Recipe, ...]
    """Of the draws that are possible."""
    impossible: int
    """Draws that make no valid recipe: such a trial fails."""
    reason: str
    """Why the first of them does not; empty if all are possible."""


def probe_space(experiment: Experiment, *, draws: int = DRAWS) -> Probe:
    """Draw from the experiment's space at random, in memory; nothing is run or written.

    Raises:
        ExperimentError: there is no such space, ``search.parameters`` does not fit it, or none of
            its draws makes a valid recipe.
    """
    from orchestrator.sweep.trial import trial_recipe

    space = open_space(experiment)
    choose = at_random(random.Random(0))
    counts: dict[str, int] = {}
    ranges: dict[str, dict[str, None]] = {}
    recipes: list[Recipe] = []
    reasons: list[str] = []
    for _ in range(draws):
        draw = space.draw(choose)
        for name, asked in draw.asked.items():
            counts[name] = counts.get(name, 0) + 1
            ranges.setdefault(name, {})[_told(asked)] = None
        try:
            recipes.append(trial_recipe(experiment, draw.overrides))
        except UnderstudyError as error:
            reasons.append(str(error))
    if not recipes:
        raise ExperimentError(
            f"{space.told} does not go with this experiment: of {draws} random "
            f"draws none makes a valid recipe. The first: {reasons[0]}"
        )
    return Probe(
        parameters=tuple(
            Parameter(name, " or ".join(ranges[name]), count / draws)
            for name, count in counts.items()
        ),
        recipes=tuple(recipes),
        impossible=len(reasons),
        reason=next(iter(reasons), ""),
    )


def _told(asked: BaseDistribution | Fixed) -> str:
    if isinstance(asked, Fixed):
        return f"fixed at {asked.value}"
    if isinstance(asked, CategoricalDistribution):
        return f"one of: {listed(asked.choices)}"
    assert isinstance(asked, FloatDistribution | IntDistribution)
    text = f"{asked.low:g} to {asked.high:g}"
    if asked.log:
        return f"{text}, logarithmic"
    if isinstance(asked, IntDistribution):
        return f"{text}, whole" + ("" if asked.step == 1 else f", step {asked.step}")
    return text if asked.step is None else f"{text}, step {asked.step:g}"
