"""What a sampler is shown of a study whose scores are relative to one another."""

from __future__ import annotations

import copy

import optuna
from optuna.trial import TrialState

from orchestrator.experiment.search import Aggregate
from orchestrator.sweep.samplers import View
from orchestrator.sweep.scoring import renormalised


def renormalised_view(kind: Aggregate) -> View:
    """A view in which all complete trials are scored against one another, as they now stand.

    A rank or z-score that was told when a trial ended is relative to the trials of that time.
    """

    def view(study: optuna.Study) -> optuna.Study:
        trials = [copy.copy(trial) for trial in study.get_trials(deepcopy=False)]
        folds = {
            trial.number: trial.user_attrs["folds"]
            for trial in trials
            if trial.state == TrialState.COMPLETE and trial.user_attrs.get("folds")
        }
        now = renormalised(folds, kind=kind)
        shown = optuna.create_study(directions=study.directions)
        for trial in trials:
            if trial.number in now:
                trial.values = [now[trial.number], *(trial.values or [])[1:]]
        shown.add_trials(trials)
        return shown

    return view
