"""What a search space proposes, found by drawing from it, since such a function lists nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from orchestrator.errors import ExperimentError, UnderstudyError
from orchestrator.experiment import Experiment
from orchestrator.experiment.recipe import Recipe
from search_spaces import SpaceError, get_space

DRAWS = 300
"""A parameter that occurs in one trial of a hundred is missed once in twenty probes."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a space."""

    name: str
    range: str
    """Such as ``0.05 to 5, logarithmic`` or ``one of: linear, root``."""
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
        ExperimentError: there is no such space, or none of its draws makes a valid recipe.
    """
    from orchestrator.sweep.trial import trial_recipe

    search = experiment.search
    assert search is not None
    try:
        space = get_space(search.space or "")
    except SpaceError as error:
        raise ExperimentError(f"search.space: {error}") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    counts: dict[str, int] = {}
    ranges: dict[str, dict[str, None]] = {}
    recipes: list[Recipe] = []
    reasons: list[str] = []
    for _ in range(draws):
        trial = study.ask()
        overrides = dict(space(trial))
        for name, distribution in trial.distributions.items():
            counts[name] = counts.get(name, 0) + 1
            ranges.setdefault(name, {})[_told(distribution)] = None
        try:
            recipes.append(trial_recipe(experiment, overrides))
        except UnderstudyError as error:
            reasons.append(str(error))
    if not recipes:
        raise ExperimentError(
            f"search.space {search.space!r} does not go with this experiment: of {draws} random "
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


def _told(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return f"one of: {_listed(distribution.choices)}"
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    text = f"{distribution.low:g} to {distribution.high:g}"
    if distribution.log:
        return f"{text}, logarithmic"
    if isinstance(distribution, IntDistribution):
        return f"{text}, whole" + ("" if distribution.step == 1 else f", step {distribution.step}")
    return text if distribution.step is None else f"{text}, step {distribution.step:g}"


def _listed(choices: Iterable[object]) -> str:
    return ", ".join(str(choice) for choice in choices)
