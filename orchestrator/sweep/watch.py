"""How trials go, told to whoever looks on: the progress display, and the journals for MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import TrialState

from orchestrator.evaluation.run_tables import confusion_csv
from orchestrator.evaluation.statistics import told_interval
from orchestrator.experiment.search import Search
from orchestrator.progress import Progress
from orchestrator.sweep.course import read_course
from orchestrator.sweep.searcher import Proposed
from orchestrator.sweep.summary import SweepSummary
from orchestrator.sweep.trial import trial_place
from orchestrator.tracking.journal import Journal, Status
from orchestrator.tracking.tree import RunTree

STATUS: Mapping[TrialState, Status] = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "KILLED",
    TrialState.FAIL: "FAILED",
}


RELATIVE = ("rank", "z")
"""Aggregates that are relative to the trials of their time."""


class Watch:
    """Hears of every trial before its study does, and counts fold runs.

    A trial's run is written here and not where it runs: only here is it known how it ended.

    Args:
        progress: what is shown while it runs.
        tree: of the command.
        search: the section.
        above: journals of the runs that trials are under, by the name of their search.
        tags: of all runs of the command.
    """

    def __init__(
        self,
        progress: Progress,
        tree: RunTree,
        search: Search,
        *,
        above: Mapping[str, Journal],
        tags: Mapping[str, str],
    ) -> None:
        self.progress = progress
        self.tree = tree
        self.search = search
        self.above = above
        self.tags = dict(tags)
        self.computed = 0
        self.reused = 0
        self._best: tuple[float, str] | None = None
        self._highest: dict[str, float] = {}
        self._ended: list[Journal] = []

    def began(self, trial: Proposed) -> None:
        """Its run begins, or goes on."""
        parent = self.tree.key(trial.run.name) if trial.run.name else self.tree.key()
        self._journal(trial).start(
            name=self._name(trial),
            parent=parent,
            params=trial.overrides,
            tags=self.tags
            | {"understudy.kind": "trial", "understudy.protocol": trial.run.protocol},
        )

    def ran(self, trial: Proposed, places: Sequence[str], report: Mapping[str, Any]) -> None:
        """Some more of its folds are done."""
        self.computed += report["computed"]
        self.reused += report["reused"]
        for reused in [False] * report["computed"] + [True] * report["reused"]:
            self.progress.fold_run(reused=reused)
        for note in json.loads(report["notes"]):
            self.progress.note(f"{self._name(trial)}, {note}")

    def ended(
        self, trial: Proposed, state: TrialState, *, reason: str, values: Sequence[float]
    ) -> None:
        """Its run ends, with what became of its folds."""
        journal = self._journal(trial)
        measured: dict[str, float] = {
            cost: float(trial.facts[cost]) for cost in ("macs", "parameters") if cost in trial.facts
        }
        # of one with a failed fold nothing is averaged (law 3)
        if trial.folds and state != TrialState.FAIL:
            self._tell_course(trial, journal)
            measured |= self._scores(trial, values)
        if "seconds" in trial.facts:
            measured["seconds"] = trial.facts["seconds"]
        if measured:
            journal.metrics(measured, step=len(trial.folds))
        if values:
            self._tell_above(trial, values[0])
        journal.end(STATUS[state], reason=reason, wait=False)
        self._ended.append(journal)
        name = self._name(trial)
        if state == TrialState.FAIL:
            self.progress.failure(f"{name}: {reason}", dropped=trial.left)
        elif state == TrialState.PRUNED:
            self.progress.pruned(f"{name}: {reason}", dropped=trial.left)
        elif not trial.run.name:
            self._lead(values[0], name)
        self.progress.trial(best="" if self._best is None else self._best[1])

    def flush(self) -> None:
        """Wait until the store has the journals of the trials that ended: nobody did meanwhile,
        since all trials would have waited with it.
        """
        while self._ended:
            self._ended.pop().flush()

    def resume(self, summaries: Mapping[str, SweepSummary]) -> None:
        """Take over the best of the trials that ended before, of each search by its name."""
        for name, summary in summaries.items():
            for trial in summary.trials:
                if trial["state"] != "complete":
                    continue
                self._highest[name] = max(trial["value"], self._highest.get(name, trial["value"]))
                if len(summaries) == 1:
                    self._lead(trial["value"], f"trial {trial['number']}")

    def _lead(self, value: float, name: str) -> None:
        if self.search.aggregate in RELATIVE:
            return  # who leads is seen at the end
        if self._best is None or value > self._best[0]:
            self._best = value, f"{self.search.metric} {100 * value:.1f} ({name}, validation)"

    def _tell_course(self, trial: Proposed, journal: Journal) -> None:
        """The mean of its fold runs epoch by epoch, and what they confuse on validation."""
        told = read_course(trial.course)
        for epoch, row in enumerate(told["curves"], 1):
            journal.metrics({f"curve/{name}": value for name, value in row.items()}, step=epoch)
        for corpus, found in told["confusions"].items():
            name = f"validation/{corpus}-confusion.csv"
            journal.artifact(name, confusion_csv(found["counts"], found["emotions"]))

    def _tell_above(self, trial: Proposed, score: float) -> None:
        """The course of the search, as curves over the trials' numbers."""
        if self.search.aggregate in RELATIVE:
            return
        name = trial.run.name
        self._highest[name] = max(score, self._highest.get(name, score))
        self.above[name].metrics(
            {"search/score": score, "search/best": self._highest[name]}, step=trial.number
        )

    def _scores(self, trial: Proposed, values: Sequence[float]) -> dict[str, float]:
        """The mean over folds with its interval, and what else was made of the folds.

        That of a trial that did not run them all is another measure, under another name.
        """
        metric, kind = f"validation/{self.search.metric}", self.search.aggregate
        if not values:
            metric = f"partial/{metric}"
        found = told_interval(metric, list(trial.folds.values()))
        if kind != "mean" and values:
            found[f"score/{kind}"] = values[0]
        return found

    def _journal(self, trial: Proposed) -> Journal:
        return self.tree.journal(*trial_place(trial.run.name, trial.number))

    def _name(self, trial: Proposed) -> str:
        inside = f"{trial.run.name}, " if trial.run.name else ""
        return f"{inside}trial {trial.number}"
