"""What a sweep found: which parameters mattered, and which trials the best can be told from."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.evaluation.statistics import t_interval
from orchestrator.sweep.study import best_trial
from orchestrator.training.state import derived_seed

FEWEST_TRIALS = 8
"""Complete trials (in which a parameter occurs) below which its importance is not estimated."""
SHUFFLES = 19
"""A parameter without effect beats all of them once in twenty sweeps."""
_TREES = 24


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


@dataclass(frozen=True)
class Comparison:
    """The best trial minus another, paired by fold."""

    number: int
    value: float
    """The other's score."""
    difference: float
    low: float | None
    """None where there is no interval: one fold only, or other folds than the best trial's."""
    high: float | None
    folds: int
    """Pairs; 0 where the trials ran on different folds."""

    @property
    def apart(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.low > 0.0


@dataclass(frozen=True)
class Findings:
    """What the complete trials of a study say."""

    complete: int
    importances: tuple[Importance, ...]
    """Largest share first."""
    without_importance: str
    """Why there are no importances, or which parameters have none; empty if all have one."""
    best: int | None
    """Number of the best trial; None while none is complete."""
    comparisons: tuple[Comparison, ...]
    """Every other complete trial, the highest score first."""

    @property
    def indistinguishable(self) -> tuple[int, ...]:
        """Numbers of the trials that cannot be told apart from the best."""
        return tuple(other.number for other in self.comparisons if not other.apart)

    def facts(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "complete": self.complete,
            "importances": [dict(vars(one)) for one in self.importances],
            "without_importance": self.without_importance,
            "best": self.best,
            "comparisons": [vars(one) | {"apart": one.apart} for one in self.comparisons],
            "indistinguishable": list(self.indistinguishable),
        }


def findings_of(study: optuna.Study) -> Findings:
    """Read what a study has found so far; works while the sweep runs. Failed trials are left out.

    The best trial is compared with every other over the folds that both were scored on: the mean of
    the differences and Student's t interval (95 %). Two things make these intervals too narrow. The
    best trial is the winner of many looks at the same validation folds, so that its lead is partly
    luck; and the folds share training speakers, so that their scores are not independent. A trial
    that cannot be told apart even so is as good a choice as the best; one that can may still be.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    importances, without = _importances(complete)
    best = best_trial(study)
    return Findings(
        complete=len(complete),
        importances=importances,
        without_importance=without,
        best=None if best is None else best.number,
        comparisons=() if best is None else _comparisons(best, complete),
    )


def _comparisons(best: FrozenTrial, complete: Sequence[FrozenTrial]) -> tuple[Comparison, ...]:
    others = [trial for trial in complete if trial.number != best.number]
    compared = [_compared(best, other) for other in others]
    return tuple(sorted(compared, key=lambda one: (-one.value, one.number)))


def _compared(best: FrozenTrial, other: FrozenTrial) -> Comparison:
    ours: dict[str, float] = best.user_attrs.get("folds", {})
    theirs: dict[str, float] = other.user_attrs.get("folds", {})
    value = _score(other)
    if not ours or ours.keys() != theirs.keys():
        # a mean over the folds that both happen to have would compare other things
        return Comparison(other.number, value, _score(best) - value, None, None, folds=0)
    found = t_interval([ours[fold] - theirs[fold] for fold in sorted(ours)])
    return Comparison(other.number, value, found.mean, found.low, found.high, folds=found.n)


def _score(trial: FrozenTrial) -> float:
    assert trial.value is not None, "a complete trial has a score"
    return trial.value


def _importances(complete: Sequence[FrozenTrial]) -> tuple[tuple[Importance, ...], str]:
    """Importances, the largest first, and what is missing and why."""
    if len(complete) < FEWEST_TRIALS:
        return (), f"fewer than {FEWEST_TRIALS} trials are complete"
    if len({_score(trial) for trial in complete}) == 1:
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
        shares = _shares(trials) if len(numbers) >= FEWEST_TRIALS else {}
        # a parameter whose range changed from trial to trial has no importance either
        known = [name for name in names if name in shares]
        missing += [name for name in names if name not in shares]
        if not known:
            continue
        shuffled = [_shares(trials, shuffle=number) for number in range(SHUFFLES)]
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


def _shares(trials: Sequence[FrozenTrial], *, shuffle: int | None = None) -> dict[str, float]:
    """The share of variance of each parameter that all of ``trials`` have, with one range.

    Empty where the scores, or all that a forest makes of them, are equal.
    """
    values = [_score(trial) for trial in trials]
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
