"""What an evaluation runs, and the one place where test labels are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from orchestrator.errors import ExperimentError
from orchestrator.evaluation.metrics import Scores
from orchestrator.experiment import Experiment
from orchestrator.experiment.changes import ablation_recipes, of_place
from orchestrator.experiment.evaluate import System
from orchestrator.experiment.recipe import Recipe
from orchestrator.preparation import PlannedFold
from orchestrator.training.fold_run import Role
from orchestrator.training.task import FoldTask, Unlabelled


@dataclass(frozen=True)
class Job:
    """One system of one fold and seed, with the utterances it is to be scored on, unlabelled."""

    system: str
    """``teacher``, ``student-alone``, ``distilled``, or the name of an ablation."""
    task: FoldTask
    sealed: Unlabelled
    pictured: bool = False
    """Draw what the student attends to in an utterance."""
    teacher: Recipe | None = None
    """Of the system ``teacher`` of the same fold, if that is evaluated too."""

    @property
    def role(self) -> Role:
        """Which network of the task is trained and scored."""
        return "teacher" if self.system == "teacher" else "student"

    @property
    def place(self) -> tuple[str | int, ...]:
        """Its place in the run tree."""
        return (self.system, self.task.corpus, self.task.fold, self.task.seed)


@dataclass(frozen=True)
class Scored:
    """A job done: logits on the sealed utterances, not yet compared with anything."""

    job: Job
    logits: np.ndarray
    """``(utterances, classes)``, in the order of ``job.sealed``."""
    epoch: int
    parameters: int
    reused: bool
    notes: tuple[str, ...] = ()
    """What is to be known of how its network came about."""
    trained: str = ""
    """Store key of the trained network."""
    validation: Scores | None = None
    """What its kept epoch scored on validation."""
    history: tuple[Mapping[str, float], ...] = ()
    """What was measured after each epoch."""
    picture: bytes | None = None
    """PNG of what the student attends to, if the job asks for one."""


def evaluation_jobs(experiment: Experiment, planned: list[PlannedFold]) -> list[Job]:
    """Every system of every fold and seed; teachers first, since taught students need them.

    Where each fold has chosen a recipe, its systems are of that, whatever the seed.

    Raises:
        ExperimentError: an ablation makes no valid recipe, a fold has chosen none, or the recipes
            of some folds have no teacher to evaluate.
    """
    by_place = recipes_by_place(experiment, planned)
    jobs = []
    for system in next(iter(by_place.values()), {}):
        drawn: set[str] = set()
        for entry in planned:
            recipe = by_place[entry.place][system]
            attends = bool(recipe.objectives.attention_transfer) and system != "teacher"
            task = entry.task.with_recipe(recipe)
            if system == "student-alone":
                task = replace(task, encoder=None, waveforms=None)
            sealed = Unlabelled.of_table(entry.prepared.corpus.table, entry.fold.test)
            # one fold run of each system and corpus is enough to look at
            pictured = attends and task.corpus not in drawn
            if attends:
                drawn.add(task.corpus)
            teacher = None if system == "teacher" else by_place[entry.place].get("teacher")
            jobs.append(
                Job(system=system, task=task, sealed=sealed, pictured=pictured, teacher=teacher)
            )
    return jobs


def recipes_by_place(
    experiment: Experiment, planned: Iterable[PlannedFold]
) -> dict[str, dict[str, Recipe]]:
    """The recipe of each system, in the order of the tables, by ``corpus/fold``.

    Every fold has the same systems: where the recipe that one fold has chosen learns from nobody,
    that student is its distilled one all the same.

    Raises:
        ExperimentError: as :func:`evaluation_jobs`.
    """
    found = {
        place: system_recipes(of_place(experiment, place))
        for place in dict.fromkeys(entry.place for entry in planned)
    }
    systems = list(dict.fromkeys(system for recipes in found.values() for system in recipes))
    if all(list(recipes) == systems for recipes in found.values()):
        return found
    for place, recipes in found.items():
        if "teacher" in systems and "teacher" not in recipes:
            raise ExperimentError(
                f"evaluate.systems has the teacher, but the recipe that was chosen for {place} has "
                "none, and those of other folds have; take teacher out of evaluate.systems"
            )
        recipes.setdefault("distilled", of_place(experiment, place).recipe)
    order = [
        *(name for name in get_args(System) if name in systems),
        *experiment.evaluate.ablations,
    ]
    return {place: {name: recipes[name] for name in order} for place, recipes in found.items()}


def system_recipes(experiment: Experiment) -> dict[str, Recipe]:
    """The recipe of each system of the experiment's own recipe, in the order of the tables.

    Raises:
        ExperimentError: an ablation makes no valid recipe.
    """
    recipe, wanted = experiment.recipe, experiment.evaluate.systems
    systems: dict[str, Recipe] = {}
    if "teacher" in wanted and recipe.teacher is not None:
        systems["teacher"] = recipe
    if "student-alone" in wanted:
        systems["student-alone"] = recipe.alone()
    if "distilled" in wanted and recipe.learns_from_another:
        systems["distilled"] = recipe
    return systems | ablation_recipes(experiment)


@dataclass(frozen=True)
class Unsealed:
    """Test labels of one fold, beside what was predicted."""

    labels: np.ndarray
    predictions: np.ndarray
    speakers: tuple[str, ...]
    units: tuple[str, ...]
    """What claims count: the dialogue of each utterance under ``official``, else its speaker."""


def unseal(scored: Scored, entry: PlannedFold) -> Unsealed:
    """Look up the labels of a fold's test utterances: epoch and configuration are chosen by now."""
    rows = entry.prepared.corpus.table.set_index("id").loc[list(scored.job.sealed.ids)]
    number = {name: index for index, name in enumerate(entry.task.emotions)}
    return Unsealed(
        labels=np.asarray([number[emotion] for emotion in rows["emotion"]], dtype=np.int64),
        predictions=scored.logits.argmax(1).astype(np.int64),
        speakers=tuple(rows["speaker"]),
        units=tuple(rows[entry.prepared.unit(entry.protocol)]),
    )
