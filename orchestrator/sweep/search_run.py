"""A search under way: its study, its space, and the fold runs that its trials are scored on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from orchestrator.preparation import PlannedFold
from orchestrator.sweep.pruning import Ran
from orchestrator.sweep.scoring import Folds
from orchestrator.sweep.space import SearchSpace
from orchestrator.sweep.view import renormalised_view
from orchestrator.training.task import FoldTask

Tasks = Mapping[str, tuple[FoldTask, ...]]
"""For each fold, named ``corpus/fold``, one task a seed; recipes as the file has them."""


@dataclass
class SearchRun:
    """One search: a sweep has one, ``nested`` selection one inside each fold of the evaluation."""

    study: optuna.Study
    space: SearchSpace
    tasks: Tasks
    trials: int
    """How many there are to be."""
    protocol: str
    """The protocol string of its folds."""
    carried: tuple[Mapping[str, Any], ...] = ()
    """Parameters of trials that an earlier generation of the study has had, by number."""
    name: str = ""
    """The fold of the evaluation that it is inside of; none: the sweep's own."""
    ended: dict[int, Ran] = field(default_factory=dict)
    """Trials that count for others, complete or pruned, by number."""
    left: list[tuple[int, int]] = field(default_factory=list)
    """Trials that an earlier process left unfinished: Optuna's id and the number."""
    proposed: int = 0
    """Trials that the study has."""

    def __post_init__(self) -> None:
        """Read where the study stands."""
        trials = self.study.get_trials(deepcopy=False)
        self.proposed = len(trials)
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                self.left.append((trial._trial_id, trial.number))
            elif trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                complete = trial.state == TrialState.COMPLETE
                self.remember(trial.number, trial.user_attrs.get("folds", {}), complete=complete)

    @property
    def remaining(self) -> int:
        """Trials that are still to be proposed, or proposed again."""
        return len(self.left) + max(0, self.planned - self.proposed)

    @property
    def planned(self) -> int:
        """How many trials there are to be, as far as the space has as many."""
        size = self.space.size
        return self.trials if size is None else min(self.trials, size)

    @cached_property
    def fold_runs(self) -> int:
        """Of one trial."""
        return sum(len(seeds) for seeds in self.tasks.values())

    def remember(self, number: int, folds: Folds, *, complete: bool) -> None:
        """Keep what an ended trial scored, if it ran at all."""
        if folds:
            self.ended[number] = Ran(number, dict(folds), complete)

    def complete_folds(self) -> list[Folds]:
        """The folds of every complete trial, by number."""
        return [ran.folds for _, ran in sorted(self.ended.items()) if ran.complete]

    def next_trial(self) -> Trial:
        """The next trial to run: one that was left unfinished, or a new one."""
        left = self.left.pop(0) if self.left else None
        number = self.proposed if left is None else left[1]
        kind = self.space.search.aggregate
        self.study.sampler = self.space.sampler(
            number,
            carried=self.carried,
            view=renormalised_view(kind) if kind in ("rank", "z") else None,
        )
        if left is not None:
            return Trial(self.study, left[0])
        self.proposed += 1
        return self.study.ask()

    def reported(self, trial: Trial) -> frozenset[int]:
        """Steps of a trial that the study has been told of already."""
        return frozenset(self.study._storage.get_trial(trial._trial_id).intermediate_values)


def tasks_by_place(planned: Iterable[PlannedFold]) -> Tasks:
    """The tasks of each fold, in the order of their seeds."""
    tasks: dict[str, list[FoldTask]] = defaultdict(list)
    for entry in planned:
        tasks[f"{entry.task.corpus}/{entry.task.fold}"].append(entry.task)
    return {place: tuple(seeds) for place, seeds in tasks.items()}
