"""A thin Tune searcher over Optuna studies: ask, report fold by fold, tell the truth."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from optuna.trial import Trial, TrialState
from ray.tune.search import Searcher

from orchestrator.sweep.budget import Budget
from orchestrator.sweep.pruning import Ran, why_pruned
from orchestrator.sweep.scoring import adjusted, aggregate
from orchestrator.sweep.search_run import SearchRun
from orchestrator.sweep.study import OVERRIDES

LOST = "the trial's actor was lost, or ran out of memory, three times"


@dataclass
class Proposed:
    """A trial that has been proposed and has not ended."""

    run: SearchRun
    trial: Trial
    overrides: dict[str, Any]
    folds: dict[str, float] = field(default_factory=dict)
    """In the order in which they were run."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else it last reported."""
    course: str = ""
    """What :class:`~orchestrator.sweep.course.Course` told of its fold runs."""
    stopped: str = ""
    """Why it was told to stop, if it was."""
    reported: frozenset[int] = frozenset()
    """Numbers of folds that an earlier process told the study of; a step is told once."""

    @property
    def number(self) -> int:
        """Of the trial in its study."""
        return self.trial.number

    @property
    def left(self) -> int:
        """Fold runs that it has not run."""
        return sum(len(seeds) for place, seeds in self.run.tasks.items() if place not in self.folds)


class Listener(Protocol):
    """Who hears how trials go, before the study does."""

    def began(self, trial: Proposed) -> None:
        """It was proposed, or proposed again."""

    def ran(self, trial: Proposed, places: Sequence[str], report: Mapping[str, Any]) -> None:
        """It has run some more folds."""

    def ended(
        self, trial: Proposed, state: TrialState, *, reason: str, values: Sequence[float]
    ) -> None:
        """It is complete, pruned or failed."""


class StudySearcher(Searcher):
    """Proposes points of spaces and tells studies how they did.

    Trials that an earlier process left unfinished come first, under their own numbers and with
    their own parameters. One search is proposed to its end before the next begins. A trial whose
    fold failed is told as FAIL with its reason, never as a mean over the other folds (law 3); one
    that was stopped, or is beyond a constraint, as PRUNED.

    Tune's own OptunaSearch is not used because it reports stopped trials as complete and passes
    neither attributes nor constraints.
    """

    def __init__(self, runs: Sequence[SearchRun], *, listener: Listener, budget: Budget) -> None:
        super().__init__(metric="score", mode="max")
        self.runs = runs
        self.listener = listener
        self.budget = budget
        self.problem: Exception | None = None
        """The first error of the study or the space; Tune would log it and go on."""
        self._open: dict[str, Proposed] = {}

    def suggest(  # type: ignore[override]  # Tune knows the word FINISHED, its annotation does not
        self, trial_id: str
    ) -> dict[str, Any] | str:
        """Where a new Tune trial belongs, its number, and overrides of the recipe."""
        run = self._next_run()
        if run is None or self.problem is not None:
            finished: str = Searcher.FINISHED
            return finished
        try:
            trial = run.next_trial()
            known = trial.user_attrs.get(OVERRIDES)
            overrides = run.space.suggest(trial) if known is None else json.loads(known)
            if known is None:
                trial.set_user_attr(OVERRIDES, json.dumps(overrides))
            proposed = Proposed(run, trial, overrides, reported=run.reported(trial))
            self.listener.began(proposed)
        except Exception as error:  # noqa: BLE001 - raised when Tune has wound down
            self.problem = error
            return str(Searcher.FINISHED)
        self._open[trial_id] = proposed
        return {"search": run.name, "number": proposed.number, "overrides": overrides}

    def _next_run(self) -> SearchRun | None:
        """The search whose turn it is: no trial begins beyond the hours, but begun ones go on."""
        left = next((run for run in self.runs if run.left), None)
        if left is not None or self.budget.spent:
            return left
        return next((run for run in self.runs if run.remaining), None)

    def hear(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Take what a trial reports after a fold that is not its last.

        Returns:
            Whether it is to stop.
        """
        trial = self._open.get(trial_id)
        if trial is None:
            return False
        try:
            self._take(trial, result)
            search = trial.run.space.search
            why = why_pruned(
                search.pruner,
                trial.folds,
                self._others(trial),
                total=len(trial.run.tasks),
                aggregate=search.aggregate,
            )
        except Exception as error:  # noqa: BLE001 - raised when Tune has wound down
            self.problem = self.problem or error
            return True
        if why:
            trial.stopped = (
                f"pruned after {len(trial.folds)} of {len(trial.run.tasks)} folds: {why}"
            )
        return bool(why) or self.problem is not None

    def _others(self, trial: Proposed) -> list[Ran]:
        """What the other trials of its search have scored: those that ended come first."""
        ended = [ran for _, ran in sorted(trial.run.ended.items())]
        under_way = [
            Ran(other.number, dict(other.folds), complete=False, under_way=True)
            for other in self._open.values()
            if other.run is trial.run and other is not trial and other.folds
        ]
        return ended + sorted(under_way, key=lambda ran: ran.number)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: :meth:`hear` has heard it."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Complete, pruned or failed; Tune says nothing of why an actor was lost."""
        trial = self._open.get(trial_id)
        if trial is None:
            return
        try:
            self._end(trial_id, trial, result or {}, lost=error)
        except Exception as problem:  # noqa: BLE001 - raised when Tune has wound down
            self.problem = self.problem or problem

    def _end(
        self, trial_id: str, trial: Proposed, result: Mapping[str, Any], *, lost: bool
    ) -> None:
        complete = bool(result.get("complete")) and not lost
        failed = LOST if lost else result.get("failed", "")
        infeasible = result.get("infeasible", "")
        if not (complete or failed or infeasible or trial.stopped):
            # stopped from outside (Ctrl-C): it stays open, and the next run takes it up
            return
        if complete and not failed:
            self._take(trial, result)
        del self._open[trial_id]
        if failed:
            self._tell(trial, TrialState.FAIL, reason=failed)
        elif infeasible:
            self._costs(trial, result)
            self._tell(trial, TrialState.PRUNED, reason=f"not run: {infeasible}")
        elif trial.stopped:
            self._tell(trial, TrialState.PRUNED, reason=trial.stopped)
        else:
            self._complete(trial)

    def _complete(self, trial: Proposed) -> None:
        search = trial.run.space.search
        bad = next((f for f, value in trial.folds.items() if not math.isfinite(value)), None)
        if bad is not None:
            reason = f"{bad}: the score is {trial.folds[bad]}"
            self._tell(trial, TrialState.FAIL, reason=reason)
            return
        score = aggregate(trial.folds, kind=search.aggregate, others=trial.run.complete_folds())
        values = [score, *(float(trial.facts[cost]) for cost in search.minimise)]
        self._tell(trial, TrialState.COMPLETE, values=values)

    def _take(self, trial: Proposed, result: Mapping[str, Any]) -> None:
        """Note folds that are news: a trial begun again after its node was lost tells all again."""
        folds = {place: float(score) for place, score in json.loads(result["folds"]).items()}
        new = [place for place in folds if place not in trial.folds]
        if not new:
            return
        trial.folds = folds
        trial.facts = {
            "seeds": json.loads(result["seeds"]),
            "seconds": trial.facts.get("seconds", 0.0) + result["seconds"],
        }
        trial.course = result.get("course", "")
        self._costs(trial, result)
        self.listener.ran(trial, new, result)
        if not all(map(math.isfinite, folds.values())):
            return
        if len(trial.run.study.directions) == 1 and len(folds) not in trial.reported:
            kind = trial.run.space.search.aggregate
            value = adjusted(folds, kind=kind, others=trial.run.complete_folds())
            trial.trial.report(value, step=len(folds))
        trial.trial.set_user_attr("folds", folds)

    def _costs(self, trial: Proposed, result: Mapping[str, Any]) -> None:
        trial.facts |= {"parameters": result["parameters"], "macs": result["macs"]}

    def _tell(
        self,
        trial: Proposed,
        state: TrialState,
        *,
        reason: str = "",
        values: Sequence[float] = (),
    ) -> None:
        """The journal first: a trial that the study holds as ended is not asked for again."""
        self.listener.ended(trial, state, reason=reason, values=values)
        attributes = {"protocol": trial.run.protocol, **trial.facts}
        if reason:
            attributes["reason"] = reason
        if len(trial.folds) > 1 and state == TrialState.COMPLETE:
            attributes["std"] = statistics.stdev(trial.folds.values())
        for name, value in attributes.items():
            trial.trial.set_user_attr(name, value)
        for cost, limit in trial.run.space.search.constraints.items():
            if cost in trial.facts:
                trial.trial.set_constraint(cost, trial.facts[cost] - limit)
        self.budget.note(trial.run.study)
        trial.run.study.tell(
            trial.trial, list(values) if state == TrialState.COMPLETE else None, state=state
        )
        if state != TrialState.FAIL:
            trial.run.remember(trial.number, trial.folds, complete=state == TrialState.COMPLETE)

    def save(self, checkpoint_path: str) -> None:
        """An empty file where Tune wants its copy: the study is the state."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher for a restore that is never done here."""
        return {}
