"""Where a sweep stands, read from its study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from orchestrator.evaluation.statistics import Interval, t_interval
from orchestrator.sweep.budget import seconds_used
from orchestrator.sweep.front import front_of
from orchestrator.sweep.study import BELONGS_TO, best_trial, overrides_of, scores_of

State = Literal["complete", "pruned", "infeasible", "failed", "running"]
ENDED: tuple[State, ...] = ("complete", "pruned", "infeasible", "failed")


@dataclass(frozen=True)
class SweepSummary:
    """Where a sweep stands."""

    name: str
    metric: str
    planned: int
    """Trials that there are to be."""
    complete: int
    failed: int
    running: int
    best_number: int | None
    """None while no trial is complete, and where there are several objectives."""
    best_value: float | None
    """Its score, among all trials as they are now where it is relative to them."""
    best_overrides: Mapping[str, Any]
    trials: tuple[Mapping[str, Any], ...]
    """One row a trial: ``number``; ``state``, one of ``State``; ``ended``; ``value``, its
    score, as ``best_value`` is, or if it was pruned the estimate of then; ``values`` of all
    objectives; ``folds`` with the score of each; ``overrides``; ``reason``; ``macs`` and
    ``parameters``; ``seconds`` of its fold runs, added up. What is not known is None."""
    pruned: int = 0
    """Stopped before their last fold."""
    infeasible: int = 0
    """Beyond a constraint, and never run."""
    best_interval: Interval | None = None
    """Of the best trial: the mean of its folds' scores, with Student's t interval (95 %)."""
    front: tuple[int, ...] = ()
    """With several objectives: the complete trials of which none is better in everything."""
    fold_runs: int = 0
    """Fold runs that trials have been scored on, of whichever state they are."""
    fold_runs_saved: int = 0
    """Fold runs that pruned trials did not need."""
    seconds: float = 0.0
    """Wall time in which trials ran, over all sittings."""
    search: Mapping[str, Any] = field(default_factory=dict)
    """The section ``search`` as the study was begun with it."""
    protocols: tuple[str, ...] = ()
    """The protocol strings of what trials were scored on."""

    @property
    def ended(self) -> int:
        """Trials that are complete, pruned, infeasible or failed."""
        return self.complete + self.pruned + self.infeasible + self.failed


def summarise(
    study: optuna.Study, *, metric: str, planned: int, folds: int | None = None
) -> SweepSummary:
    """Read a study; works while the sweep runs.

    Args:
        study: to read.
        metric: that trials are scored by.
        planned: trials that there are to be.
        folds: of a trial that runs all of them; default: as many as the complete trials have.
    """
    trials = study.get_trials(deepcopy=False)
    best, scores = best_trial(study), scores_of(study)
    states = Counter(state_of(trial) for trial in trials)
    several = len(study.directions) > 1
    search = study.user_attrs.get(BELONGS_TO, {}).get("search", {})
    seeds = len(search.get("seeds", (0,)))
    if folds is None:
        complete = [_folds(trial) for trial in trials if state_of(trial) == "complete"]
        folds = max(map(len, complete), default=0)
    of_best = [] if best is None else list(_folds(best).values())
    return SweepSummary(
        name=study.study_name,
        metric=metric,
        planned=planned,
        complete=states["complete"],
        pruned=states["pruned"],
        infeasible=states["infeasible"],
        failed=states["failed"],
        running=states["running"],
        best_number=None if best is None else best.number,
        best_value=None if best is None else scores[best.number],
        best_interval=t_interval(of_best) if of_best else None,
        best_overrides={} if best is None else overrides_of(best),
        front=tuple(t.number for t in front_of(trials, study.directions, scores=scores))
        if several
        else (),
        trials=tuple(_row(trial, scores) for trial in trials),
        fold_runs=seeds * sum(len(_folds(trial)) for trial in trials),
        fold_runs_saved=seeds
        * sum(max(0, folds - len(_folds(t))) for t in trials if state_of(t) == "pruned"),
        seconds=seconds_used(study),
        search=search,
        protocols=tuple(
            sorted({t.user_attrs["protocol"] for t in trials if "protocol" in t.user_attrs})
        ),
    )


def state_of(trial: FrozenTrial) -> State:
    """What a trial has come to; Optuna calls those beyond a constraint pruned, too."""
    if trial.state == TrialState.COMPLETE:
        return "complete"
    if trial.state == TrialState.PRUNED:
        # a pruner needs a fold to judge by
        return "pruned" if _folds(trial) else "infeasible"
    return "failed" if trial.state == TrialState.FAIL else "running"


def _row(trial: FrozenTrial, scores: Mapping[int, float]) -> dict[str, Any]:
    state, told = state_of(trial), trial.user_attrs
    values = list(trial.values or ())
    if trial.number in scores:
        values[0] = scores[trial.number]
    return {
        "number": trial.number,
        "state": state,
        "ended": state in ENDED,
        "value": values[0] if values else None,
        "values": values,
        "folds": _folds(trial),
        "overrides": overrides_of(trial),
        "reason": told.get("reason", ""),
        "macs": told.get("macs"),
        "parameters": told.get("parameters"),
        "seconds": told.get("seconds"),
    }


def _folds(trial: FrozenTrial) -> Mapping[str, float]:
    found: Mapping[str, float] = trial.user_attrs.get("folds", {})
    return found
