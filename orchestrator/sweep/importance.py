"""Which parameters of a search mattered, and whether that is more than chance gives."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from orchestrator.training.state import derived_seed

FEWEST_TRIALS = 8
"""Complete trials (in which a parameter occurs) below which its importance is not estimated."""
SHUFFLES = 19
"""A parameter without effect beats all of them once in twenty sweeps."""
_TREES = 24

Scores = Mapping[int, float]
"""By number of the trial."""


@dataclass(frozen=True)
class Importance:
    """What one parameter alone explains of the trials' scores."""

    parameter: str
    share: float
    """Of the variance of the scores, as a random forest models them, averaged over the other
    parameters (fANOVA, Hutter et al. 2014); what parameters explain together is in none."""
    chance: float
    """The largest share it gets in ``SHUFFLES`` shufflings of the scores among the trials."""
    trials: int
    """Complete trials in which it occurs, and on which ``share`` rests."""
    conditional: bool
    """Whether it is absent from other complete trials, of which ``share`` says nothing."""


def importances_of(
    complete: Sequence[FrozenTrial], scores: Scores
) -> tuple[tuple[Importance, ...], str]:
    """Importances, the largest first, and what is missing and why.

    Args:
        complete: trials, of which each has a score.
        scores: of them, as fractions, ranks or whatever they are compared by.
    """
    if len(complete) < FEWEST_TRIALS:
        return (), f"fewer than {FEWEST_TRIALS} trials are complete"
    if len({scores[trial.number] for trial in complete}) == 1:
        return (), "all trials have the same score"
    occurs: dict[str, list[FrozenTrial]] = {}
    for trial in complete:
        for name in trial.params:
            occurs.setdefault(name, []).append(trial)
    # parameters that occur in the same trials are estimated together
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, trials in sorted(occurs.items()):
        groups.setdefault(tuple(trial.number for trial in trials), []).append(name)
    found: list[Importance] = []
    missing: list[str] = []
    for numbers, names in groups.items():
        trials = occurs[names[0]]
        shares = _shares(trials, scores) if len(numbers) >= FEWEST_TRIALS else {}
        # a parameter whose range changed from trial to trial has no importance either
        known = [name for name in names if name in shares]
        missing += [name for name in names if name not in shares]
        if not known:
            continue
        shuffled = [_shares(trials, scores, shuffle=number) for number in range(SHUFFLES)]
        found += [
            Importance(
                parameter=name,
                share=shares[name],
                chance=max(one.get(name, 0.0) for one in shuffled),
                trials=len(trials),
                conditional=len(trials) < len(complete),
            )
            for name in known
        ]
    told = f"too few trials, equal scores, or a changing range: {', '.join(sorted(missing))}"
    return (
        tuple(sorted(found, key=lambda one: (-one.share, one.parameter))),
        told if missing else "",
    )


def _shares(
    trials: Sequence[FrozenTrial], scores: Scores, *, shuffle: int | None = None
) -> dict[str, float]:
    """The share of variance of each parameter that all of ``trials`` have, with one range.

    Empty where the scores, or all that a forest makes of them, are equal.
    """
    values = [scores[trial.number] for trial in trials]
    if len(set(values)) == 1:
        return {}
    if shuffle is not None:
        random.Random(derived_seed("importance", shuffle)).shuffle(values)
    study = optuna.create_study(direction="maximize")
    for trial, value in zip(trials, values, strict=True):
        evened = {
            name: _evened(distribution, trial.params[name])
            for name, distribution in trial.distributions.items()
        }
        study.add_trial(
            create_trial(
                value=value,
                params={name: number for name, (_, number) in evened.items()},
                distributions={name: distribution for name, (distribution, _) in evened.items()},
            )
        )
    evaluator = FanovaImportanceEvaluator(n_trees=_TREES, seed=0)
    with warnings.catch_warnings():
        # said at every call: that shares which do not sum to one are new
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            found = get_param_importances(study, evaluator=evaluator, normalize=False)
        except RuntimeError:  # so it says that no tree of the forest told any two trials apart
            return {}
    return {name: float(share) for name, share in found.items()}


def _evened(distribution: BaseDistribution, value: Any) -> tuple[BaseDistribution, Any]:
    """A parameter on the scale it was drawn on: fANOVA averages evenly over a range, and of a
    logarithmic one it would see little but the upper end.
    """
    if isinstance(distribution, FloatDistribution | IntDistribution) and distribution.log:
        low, high = math.log(distribution.low), math.log(distribution.high)
        # rounding must not push the ends out of the range
        return FloatDistribution(low, high), min(max(math.log(value), low), high)
    return distribution, value
