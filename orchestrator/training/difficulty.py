"""How hard each training utterance of a fold is, found from its training speakers alone (law 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.distillation.difficulty import cross_entropies, true_class_probabilities
from orchestrator.canonical import digest
from orchestrator.errors import TrainingError
from orchestrator.experiment.recipe import DataCurriculum
from orchestrator.store import Artifact, Store
from orchestrator.training.inputs import plain
from orchestrator.training.knowledge import inner_parts, knowledge_artifact, knowledge_key
from orchestrator.training.state import derived_seed
from orchestrator.training.task import FoldTask, Reporter, Silent, Unlabelled

StudentOf = Callable[[FoldTask], Artifact]
"""Trains a student, or finds it in the store."""
LogitsOf = Callable[[FoldTask, Artifact, Unlabelled], NDArray[Any]]
"""What a trained student says of some utterances, ``(utterances, classes)``."""


def difficulty_inputs(
    task: FoldTask, store: Store, *, build: bool = True, reporter: Reporter | None = None
) -> dict[str, Any]:
    """What a student's store key needs of its curriculum.

    Args:
        task: the fold run.
        store: has the teachers, and gets what is missing.
        build: see to the teachers' knowledge, too; otherwise nothing is fitted.
        reporter: hears the epochs of the fold's own teacher, if that is fitted; default: nobody.

    Raises:
        TrainingError: as :func:`fixed_difficulty`.
    """
    section = task.recipe.curriculum
    if not isinstance(section, DataCurriculum):
        return {}
    inputs: dict[str, Any] = {"curriculum": plain(section)}
    match section.difficulty:
        case "teacher-loss" | "teacher-probability":
            kind = section.knowledge
            inputs["difficulty"] = (
                knowledge_artifact(task, store, reporter=reporter or Silent(), kind=kind).key
                if build
                else knowledge_key(task, store, kind=kind)
            )
        case "agreement":
            inputs["difficulty"] = digest(_agreement(task).tolist())
        case "cross-validated-loss":
            inputs["difficulty"] = digest(list(task.train.speakers))
    return inputs


def fixed_difficulty(
    task: FoldTask, section: DataCurriculum, store: Store, *, student: StudentOf, logits: LogitsOf
) -> NDArray[np.float64]:
    """Difficulty of each training utterance, low being easy, where it does not change in training.

    Args:
        task: the fold run.
        section: of the recipe.
        store: has the teachers, and gets what is missing.
        student: for cross-validated loss, which trains students of inner speaker folds.
        logits: the same.

    Raises:
        TrainingError: ``agreement`` is asked for and some training utterances have none.
    """
    labels = np.asarray(task.train.labels, dtype=np.int64)
    match section.difficulty:
        case "teacher-loss" | "teacher-probability":
            words = knowledge_artifact(task, store, reporter=Silent(), kind=section.knowledge)
            said = np.load(words.path / "logits.npy")
            if section.difficulty == "teacher-loss":
                return cross_entropies(said, labels)
            return -true_class_probabilities(said, labels)
        case "agreement":
            return -_agreement(task)
        case "cross-validated-loss":
            return cross_entropies(
                _cross_validated(task, store, student=student, logits=logits), labels
            )
        case "random":
            return random_difficulty(task)
    raise AssertionError(section.difficulty)


def random_difficulty(task: FoldTask) -> NDArray[np.float64]:
    """A number of each utterance's own, from the seed, the fold and its sound."""
    drawn = [
        derived_seed("difficulty", task.seed, task.fold, content) for content in task.train.contents
    ]
    return np.asarray(drawn, dtype=np.float64)


def _agreement(task: FoldTask) -> NDArray[np.float64]:
    agreement = np.asarray(task.train.agreement, dtype=np.float64)
    unknown = len(task.train.ids) if not len(agreement) else int(np.isnan(agreement).sum())
    if unknown:
        raise TrainingError(
            f"recipe.curriculum.difficulty is 'agreement', but {unknown} of "
            f"{len(task.train.ids)} training utterances of {task.corpus}, {task.fold}, have none; "
            "use a corpus with votes or recognition rates, or another difficulty"
        )
    return agreement


def _cross_validated(
    task: FoldTask, store: Store, *, student: StudentOf, logits: LogitsOf
) -> NDArray[Any]:
    """What students trained on the other inner speaker folds say of each utterance."""
    place = {name: row for row, name in enumerate(task.train.ids)}
    found = np.full((len(place), task.classes), np.nan, dtype=np.float32)
    alone = replace(task, recipe=task.recipe.alone(), encoder=None, held=None, unlabelled=None)
    for fitted, held in inner_parts(task):
        there = replace(alone, train=fitted)
        found[[place[name] for name in held.ids]] = logits(there, student(there), held)
    return found
