"""A trial: one configuration, fold after fold, in an actor that stays warm for the next."""

from __future__ import annotations

import json
import math
import random
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from ray import tune

from orchestrator.errors import UnderstudyError
from orchestrator.experiment import Experiment
from orchestrator.experiment.changes import searched_recipe
from orchestrator.experiment.recipe import Recipe
from orchestrator.features import PackedFrames
from orchestrator.recorded import recorded_run
from orchestrator.source_encoder import refuse_heads
from orchestrator.store import Store
from orchestrator.sweep.costs import beyond, student_costs
from orchestrator.sweep.course import Course
from orchestrator.sweep.search_run import Tasks
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.tree import RunTree
from orchestrator.training.fold_run import FoldOutcome
from orchestrator.training.state import derived_seed
from orchestrator.training.task import FoldTask

UNFIT = (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)
"""Errors after which a process is not to be trusted with another fold run."""


class RunFold(Protocol):
    """How a fold run is run: as :func:`orchestrator.recorded.recorded_run`."""

    def __call__(
        self, task: FoldTask, *, store: Store, journal: Journal, tree: RunTree, parent: str
    ) -> FoldOutcome:
        """Train the student of a fold."""


@dataclass(frozen=True)
class TrialContext:
    """What every trial of a sweep shares."""

    experiment: Experiment
    tasks: Mapping[str, Tasks]
    """Of each search, by its name."""
    store: Store
    tree: RunTree
    run: RunFold = recorded_run


def trial_place(search: str, number: int) -> tuple[str | int, ...]:
    """A trial's place in the run tree."""
    return (search, number) if search else (number,)


class TrialActor(tune.Trainable):
    """Tune's view of a trial: one step is one fold, over all seeds of the search.

    Tune reuses the actor for the next trial, so that imports and caches are paid once.
    """

    def setup(  # type: ignore[override]  # Tune hands over what with_parameters holds
        self, config: dict[str, Any], context: TrialContext
    ) -> None:
        """Keep the context and begin the first trial."""
        self.context = context
        self._frames: dict[str, int] = {}
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in this actor."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self.place = trial_place(config["search"], config["number"])
        self.overrides: dict[str, Any] = config["overrides"]
        self.tasks = self.context.tasks[config["search"]]
        self.recipe: Recipe | None = None
        self.costs: dict[str, int] = {}
        self.scores: dict[str, dict[str, float]] = {}
        self.course = Course()
        order = sorted(self.tasks)
        name = self.context.experiment.name
        random.Random(derived_seed("fold-order", name, *self.place)).shuffle(order)
        self.order = order

    def step(self) -> dict[str, Any]:
        """Run the next fold; the last one, or a failed one, ends the trial.

        A student beyond a constraint ends it before the first.
        """
        began = time.perf_counter()
        place = self.order[len(self.scores)]
        try:
            if self.recipe is None:
                self.recipe = trial_recipe(self.context.experiment, self.overrides)
                self.costs = self._costs(self.recipe)
                limits = self._search.constraints
                if above := beyond(self.costs, limits):
                    return {**self.costs, "infeasible": above, "complete": False, "done": True}
            outcomes = self._run_fold(place, self.recipe)
        except Exception as error:  # a failed fold is a failed trial, whatever failed
            if isinstance(error, UNFIT):
                raise  # Tune begins the trial again in a fresh actor
            known = isinstance(error, UnderstudyError)
            reason = f"{place}: {error if known else f'{type(error).__name__}: {error}'}"
            return {"failed": reason, "complete": False, "done": True}
        for task, outcome in zip(self.tasks[place], outcomes, strict=True):
            self.course.add(task, outcome)
        metric = self._search.metric
        self.scores[place] = {
            str(task.seed): getattr(outcome.validation, metric)
            for task, outcome in zip(self.tasks[place], outcomes, strict=True)
        }
        bad = [score for score in self.scores[place].values() if not math.isfinite(score)]
        if bad:
            reason = f"{place}: the score is {bad[0]}"
            return {"failed": reason, "complete": False, "done": True}
        complete = len(self.scores) == len(self.order)
        return {
            # as text, since Tune flattens mappings on their way to the searcher
            "folds": json.dumps(
                {name: statistics.fmean(seeds.values()) for name, seeds in self.scores.items()}
            ),
            "seeds": json.dumps(self.scores),
            **self.costs,
            "seconds": time.perf_counter() - began,
            "computed": sum(not outcome.reused for outcome in outcomes),
            "reused": sum(outcome.reused for outcome in outcomes),
            "course": self.course.told(),
            "notes": json.dumps(
                sorted({f"{place}: {note}" for outcome in outcomes for note in outcome.notes})
            ),
            "complete": complete,
            "done": complete,
        }

    def _run_fold(self, place: str, recipe: Recipe) -> list[FoldOutcome]:
        tree = self.context.tree
        outcomes = []
        for base in self.tasks[place]:
            task = base.with_recipe(recipe)
            journal = tree.journal(*self.place, place, task.seed)
            outcomes.append(
                self.context.run(
                    task,
                    store=self.context.store,
                    journal=journal,
                    tree=tree,
                    parent=tree.key(*self.place),
                )
            )
            journal.end("FINISHED")
        return outcomes

    def _costs(self, recipe: Recipe) -> dict[str, int]:
        """The student's, for an utterance of mean length of the corpus where that is longest."""
        by_corpus = {seeds[0].corpus: seeds[0] for seeds in self.tasks.values()}
        frames = max(self._mean_frames(task) for task in by_corpus.values())
        task = next(iter(by_corpus.values()))
        return student_costs(recipe, features=task.features, classes=task.classes, frames=frames)

    def _mean_frames(self, task: FoldTask) -> int:
        if task.corpus not in self._frames:
            pack = PackedFrames.open(self.context.store, task.frames)
            lengths = [pack.length(name) for name in pack.ids]
            self._frames[task.corpus] = round(float(np.mean(lengths)))
        return self._frames[task.corpus]

    @property
    def _search(self) -> Any:
        assert self.context.experiment.search is not None
        return self.context.experiment.search


def trial_recipe(experiment: Experiment, overrides: Mapping[str, object]) -> Recipe:
    """The recipe of a trial, validated anew.

    Raises:
        ExperimentError: the overrides make no valid recipe, or change what was computed before the
            sweep began (a frozen encoder's outputs), or heads that cannot be compared.
    """
    recipe = searched_recipe(experiment, overrides)
    refuse_heads([("", recipe)])
    return recipe
