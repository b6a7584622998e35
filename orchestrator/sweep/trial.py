"""A trial: one configuration, fold after fold, in an actor that stays warm for the next."""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from ray import tune

from orchestrator.errors import UnderstudyError
from orchestrator.experiment import Experiment
from orchestrator.experiment.changes import searched_recipe
from orchestrator.experiment.recipe import Recipe
from orchestrator.recorded import recorded_run
from orchestrator.source_encoder import refuse_heads
from orchestrator.store import Store
from orchestrator.tracking.tree import RunTree
from orchestrator.training.fold_run import FoldOutcome
from orchestrator.training.state import derived_seed
from orchestrator.training.task import FoldTask

UNFIT = (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)
"""Errors after which a process is not to be trusted with another fold run."""


@dataclass(frozen=True)
class TrialContext:
    """What every trial of a sweep shares."""

    experiment: Experiment
    tasks: Mapping[str, tuple[FoldTask, ...]]
    """For each fold, named ``corpus/fold``, one task a seed; recipes as the file has them."""
    store: Store
    tree: RunTree


class TrialActor(tune.Trainable):
    """Tune's view of a trial: one step is one fold, over all seeds of the search.

    Tune reuses the actor for the next trial, so that imports and caches are paid once.
    """

    def setup(  # type: ignore[override]  # Tune hands over what with_parameters holds
        self, config: dict[str, Any], context: TrialContext
    ) -> None:
        """Keep the context and begin the first trial."""
        self.context = context
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in this actor."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self.number: int = config["number"]
        self.overrides: dict[str, Any] = config["overrides"]
        self.folds: dict[str, float] = {}
        self.parameters = 0
        order = sorted(self.context.tasks)
        random.Random(
            derived_seed("fold-order", self.context.experiment.name, self.number)
        ).shuffle(order)
        self.order = order
        self.journal = self.context.tree.journal(self.number)
        self.journal.start(
            name=f"trial {self.number}",
            parent=self.context.tree.key(),
            params=self.overrides,
            tags={"understudy.kind": "trial"},
        )

    def step(self) -> dict[str, Any]:
        """Run the next fold; the last one, or a failed one, ends the trial."""
        name = self.order[len(self.folds)]
        try:
            outcomes = self._run_fold(name)
        except Exception as error:  # a failed fold is a failed trial, whatever failed
            reason = (
                f"{name}: {error}"
                if isinstance(error, UnderstudyError)
                else (f"{name}: {type(error).__name__}: {error}")
            )
            self.journal.end("FAILED", reason=reason)
            if isinstance(error, UNFIT):
                raise  # Tune begins the trial again in a fresh actor
            return {"failed": reason, "done": True, "complete": False}
        metric = self._metric
        self.folds[name] = statistics.fmean(
            getattr(outcome.validation, metric) for outcome in outcomes
        )
        self.parameters = outcomes[0].parameters
        score = statistics.fmean(self.folds.values())
        complete = len(self.folds) == len(self.order)
        std = statistics.stdev(self.folds.values()) if len(self.folds) > 1 else 0.0
        if complete:
            self.journal.metrics(
                {
                    f"validation/{metric}": score,
                    f"validation/{metric}_std": std,
                    "parameters": float(self.parameters),
                },
                step=len(self.folds),
            )
            self.journal.end("FINISHED")
        return {
            "score": score,
            "std": std,
            # as text, since Tune flattens mappings on their way to the searcher
            "folds": json.dumps(self.folds),
            "parameters": self.parameters,
            "computed": sum(not outcome.reused for outcome in outcomes),
            "reused": sum(outcome.reused for outcome in outcomes),
            "notes": json.dumps(
                sorted({f"{name}: {note}" for outcome in outcomes for note in outcome.notes})
            ),
            "complete": complete,
            "done": complete,
        }

    def _run_fold(self, name: str) -> list[FoldOutcome]:
        recipe = trial_recipe(self.context.experiment, self.overrides)
        outcomes = []
        for base in self.context.tasks[name]:
            task = base.with_recipe(recipe)
            journal = self.context.tree.journal(self.number, name, task.seed)
            outcomes.append(
                recorded_run(
                    task, store=self.context.store, journal=journal, parent=self.journal.key
                )
            )
            journal.end("FINISHED")
        return outcomes

    @property
    def _metric(self) -> str:
        search = self.context.experiment.search
        assert search is not None
        return search.metric

    def cleanup(self) -> None:
        """Ship what the journal still holds."""
        self.journal.flush()


def trial_recipe(experiment: Experiment, overrides: Mapping[str, object]) -> Recipe:
    """The recipe of a trial, validated anew.

    Raises:
        ExperimentError: the overrides make no valid recipe, or change what was computed before the
            sweep began (a frozen encoder's outputs), or heads that cannot be compared.
    """
    recipe = searched_recipe(experiment, overrides)
    refuse_heads([("", recipe)])
    return recipe
