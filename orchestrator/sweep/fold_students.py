"""The students of a trial, found again in the store, and what there is to see of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.evaluation.metrics import Scores, scores, speaker_rows
from orchestrator.evaluation.run_pictures import confusion_picture, curves_picture
from orchestrator.evaluation.run_tables import classes_csv, speakers_csv
from orchestrator.experiment.recipe import Recipe
from orchestrator.store import Artifact, Store
from orchestrator.tracking.journal import Journal
from orchestrator.training.files import FACTS, HISTORY, VALIDATION, read_json
from orchestrator.training.student import student_key
from orchestrator.training.task import FoldTask


@dataclass(frozen=True)
class FoldStudent:
    """A trained student of a fold and seed, with its scores on validation."""

    task: FoldTask
    artifact: Artifact
    validation: Scores
    predictions: np.ndarray
    """Classes of the validation utterances ``(n,)``, in the order of the task's."""
    epoch: int

    @property
    def name(self) -> str:
        """As its run is called."""
        return f"{self.task.corpus} {self.task.fold} seed {self.task.seed}"


def students_of(tasks: Iterable[FoldTask], recipe: Recipe, store: Store) -> list[FoldStudent]:
    """The students that a recipe has in the store; those that were removed are left out."""
    found = []
    for base in tasks:
        task = base.with_recipe(recipe)
        artifact = store.find("student", student_key(task, store))
        if artifact is None:
            continue
        predictions = np.load(artifact.path / VALIDATION).argmax(1)
        found.append(
            FoldStudent(
                task=task,
                artifact=artifact,
                validation=scores(
                    np.asarray(task.validation.labels), predictions, classes=task.classes
                ),
                predictions=predictions,
                epoch=read_json(artifact.path / FACTS)["epoch"],
            )
        )
    return found


def best_student(students: Sequence[FoldStudent], *, metric: str) -> FoldStudent | None:
    """The one that did best on its own validation; of equals, the first by corpus, fold and seed.

    Validation alone decides: what is taken away was chosen without a look at any test set.
    """
    order = sorted(students, key=lambda one: (one.task.corpus, one.task.fold, one.task.seed))
    return max(order, key=lambda one: float(getattr(one.validation, metric)), default=None)


def show_students(journal: Journal, students: Sequence[FoldStudent], *, title: str) -> None:
    """How a trial's students learned and what they confuse on validation, into its run."""
    journal.artifact(
        "curves.png",
        curves_picture(
            {one.name: read_json(one.artifact.path / HISTORY) for one in students},
            title=title,
            chosen={one.name: one.epoch for one in students},
        ),
    )
    by_corpus: dict[str, list[FoldStudent]] = {}
    for one in students:
        by_corpus.setdefault(one.task.corpus, []).append(one)
    for corpus, some in by_corpus.items():
        emotions = some[0].task.emotions
        confusion = sum(one.validation.confusion for one in some)
        told = f"{title}, validation of {corpus}"
        journal.artifact(
            f"validation/{corpus}-confusion.png",
            confusion_picture(confusion, emotions, title=told),
        )
        journal.artifact(f"validation/{corpus}-classes.csv", classes_csv(confusion, emotions))
        journal.artifact(f"validation/{corpus}-speakers.csv", speakers_csv(_speakers(some)))


def _speakers(students: Sequence[FoldStudent]) -> list[dict[str, object]]:
    return [
        {"fold": one.task.fold} | row
        for one in students
        for row in speaker_rows(
            one.task.validation.labels,
            one.predictions,
            one.task.validation.speakers,
            one.task.classes,
            corpus=one.task.corpus,
            system="student",
            seed=one.task.seed,
        )
    ]


def model_facts(task: FoldTask, validation: Scores) -> dict[str, Any]:
    """What the model of a fold run's student says of how it was chosen."""
    return {
        "validation": {
            "n": validation.n,
            "macro_recall": validation.macro_recall,
            "accuracy": validation.accuracy,
        },
        "validation_speakers": sorted(set(task.validation.speakers)),
    }
