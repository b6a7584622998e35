"""What a sweep found: its best trial, what that can be told from, and which parameters mattered.

It is read from the study, also while the sweep runs. Trials that failed, were stopped early or were
never run are counted, and left out of everything else: their scores are of other folds, or of none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from orchestrator.evaluation.statistics import t_interval
from orchestrator.sweep.importance import Importance, Scores, importances_of
from orchestrator.sweep.study import scores_of
from orchestrator.sweep.summary import state_of


@dataclass(frozen=True)
class Comparison:
    """The best trial minus another in the metric, paired by fold."""

    number: int
    value: float
    """The other's score, by ``search.aggregate``."""
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
    """What the trials of a study say."""

    complete: int
    pruned: int
    """Stopped before their last fold; not those that were never run."""
    importances: tuple[Importance, ...]
    """Largest share first."""
    without_importance: str
    """Why there are no importances, or which parameters have none; empty if all have one."""
    best: int | None
    """Number of the best trial; None while none is complete."""
    comparisons: tuple[Comparison, ...]
    """Every other complete trial, the highest score first."""
    parameters: Mapping[str, str]
    """What was drawn in complete trials: by name, ``log``, ``linear`` or ``choice``."""

    @property
    def indistinguishable(self) -> tuple[int, ...]:
        """Numbers of the trials that cannot be told apart from the best."""
        return tuple(other.number for other in self.comparisons if not other.apart)

    def facts(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "complete": self.complete,
            "pruned": self.pruned,
            "importances": [dict(vars(one)) for one in self.importances],
            "without_importance": self.without_importance,
            "best": self.best,
            "comparisons": [vars(one) | {"apart": one.apart} for one in self.comparisons],
            "indistinguishable": list(self.indistinguishable),
            "parameters": dict(self.parameters),
        }


def findings_of(study: optuna.Study) -> Findings:
    """Read what a study has found so far, of the first objective if there are several.

    The best trial is compared with every other over the folds that both were scored on: the mean of
    the differences in the metric and Student's t interval (95 %), whatever the score is aggregated
    by. Two things make these intervals too narrow. The best trial is the winner of many looks at
    the same validation folds, so that its lead is partly luck; and the folds share training
    speakers, so that their scores are not independent. A trial that cannot be told apart even so is
    as good a choice as the best; one that can may still be.
    """
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    scores = scores_of(study)
    importances, without = importances_of(complete, scores)
    best = min(complete, key=lambda t: (-scores[t.number], t.number), default=None)
    return Findings(
        complete=len(complete),
        pruned=sum(state_of(trial) == "pruned" for trial in trials),
        importances=importances,
        without_importance=without,
        best=None if best is None else best.number,
        comparisons=() if best is None else _comparisons(best, complete, scores),
        parameters=_parameters(complete),
    )


def _folds(trial: FrozenTrial) -> Mapping[str, float]:
    folds: Mapping[str, float] = trial.user_attrs.get("folds", {})
    return folds


def _comparisons(
    best: FrozenTrial, complete: Sequence[FrozenTrial], scores: Scores
) -> tuple[Comparison, ...]:
    others = [trial for trial in complete if trial.number != best.number]
    compared = [_compared(best, other, scores) for other in others]
    return tuple(sorted(compared, key=lambda one: (-one.value, one.number)))


def _compared(best: FrozenTrial, other: FrozenTrial, scores: Scores) -> Comparison:
    ours, theirs = _folds(best), _folds(other)
    value = scores[other.number]
    if not ours or ours.keys() != theirs.keys():
        # a mean over the folds that both happen to have would compare other things
        return Comparison(other.number, value, scores[best.number] - value, None, None, folds=0)
    found = t_interval([ours[fold] - theirs[fold] for fold in sorted(ours)])
    return Comparison(other.number, value, found.mean, found.low, found.high, folds=found.n)


def _parameters(complete: Sequence[FrozenTrial]) -> dict[str, str]:
    drawn: dict[str, BaseDistribution] = {}
    for trial in complete:
        drawn |= trial.distributions
    return {name: _kind(distribution) for name, distribution in sorted(drawn.items())}


def _kind(distribution: BaseDistribution) -> str:
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return "log" if distribution.log else "linear"
    return "choice"
