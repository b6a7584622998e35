"""A thin Tune searcher over an Optuna study: ask, report fold by fold, tell the truth."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import Trial, TrialState
from ray.tune.search import Searcher

from orchestrator.sweep.study import OVERRIDES, make_sampler

Space = Callable[[Trial], Mapping[str, object]]


class StudySearcher(Searcher):
    """Proposes points of a space and tells the study how they did.

    Trials that an earlier process left unfinished come first, under their own numbers and with
    their own parameters. A trial whose fold failed is told as FAIL with its reason, never as a mean
    over the other folds (law 3).

    Tune's own OptunaSearch is not used because it reports stopped trials as complete and passes no
    attributes.
    """

    def __init__(self, study: optuna.Study, space: Space, *, sampler: str, seed: int) -> None:
        super().__init__(metric="score", mode="max")
        self.study = study
        self.space = space
        self.sampler = sampler
        self.seed = seed
        self._open: dict[str, Trial] = {}
        self._left = [
            Trial(study, frozen._trial_id)
            for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        ]

    @property
    def unfinished(self) -> int:
        """Trials that an earlier process left and that will be proposed again."""
        return len(self._left)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Overrides of the recipe for a new Tune trial."""
        if self._left:
            trial = self._left.pop(0)
        else:
            number = len(self.study.get_trials(deepcopy=False))
            self.study.sampler = make_sampler(self.sampler, seed=self.seed, number=number)
            trial = self.study.ask()
        overrides = dict(self.space(trial))
        trial.set_user_attr(OVERRIDES, json.dumps(overrides))
        self._open[trial_id] = trial
        return {"number": trial.number, "overrides": overrides}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """The mean so far after each fold, for pruners and plots."""
        trial = self._open.get(trial_id)
        if trial is None or result.get("failed") or "folds" not in result:
            return
        folds = json.loads(result["folds"])
        reported = self.study._storage.get_trial(trial._trial_id).intermediate_values
        if len(folds) not in reported:
            trial.report(result["score"], step=len(folds))
        trial.set_user_attr("folds", folds)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Complete or failed; Tune says nothing of why an actor was lost."""
        trial = self._open.get(trial_id)
        if trial is None:
            return
        result = result or {}
        score = result.get("score")
        reason = result.get("failed") or (
            "the trial's actor was lost, or ran out of memory, three times" if error else ""
        )
        if not reason and not result.get("complete"):
            # stopped from outside (Ctrl-C): it stays open, and the next run takes it up
            return
        del self._open[trial_id]
        if not reason and (score is None or not math.isfinite(score)):
            reason = f"the score is {score}"
        if reason:
            trial.set_user_attr("reason", reason)
            self.study.tell(trial, state=TrialState.FAIL)
            return
        trial.set_user_attr("folds", json.loads(result["folds"]))
        for name in ("std", "parameters"):
            trial.set_user_attr(name, result[name])
        self.study.tell(trial, score)

    def save(self, checkpoint_path: str) -> None:
        """An empty file where Tune wants its copy: the study is the state."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher for a restore that is never done here."""
        return {}
