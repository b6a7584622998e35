"""The fold run: a plain function from a task to a trained network, and another that scores it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from orchestrator.canonical import JSON
from orchestrator.errors import TrainingError
from orchestrator.evaluation.metrics import Scores, scores
from orchestrator.store import Artifact, Store
from orchestrator.training.files import FACTS, HISTORY, VALIDATION, read_json
from orchestrator.training.state import fold_run_state
from orchestrator.training.student import student_artifact, student_logits
from orchestrator.training.task import FoldTask, Reporter, Unlabelled
from orchestrator.training.teacher import load_teacher, teacher_artifact

Role = Literal["teacher", "student"]


@dataclass(frozen=True)
class FoldOutcome:
    """What a fold run leaves: the trained network in the store and its validation scores."""

    artifact: Artifact
    validation: Scores
    epoch: int
    parameters: int
    seconds: float
    """Wall time; near zero when the store had it. Never part of a result file."""
    notes: tuple[str, ...] = ()
    """What whoever reads its numbers should know of how they came about."""
    history: tuple[Mapping[str, float], ...] = ()
    """What was measured after each epoch, from the first."""

    @property
    def reused(self) -> bool:
        """Whether the store already had the trained network."""
        return self.artifact.reused


def run_fold(
    task: FoldTask,
    *,
    store: Store,
    reporter: Reporter,
    role: Role = "student",
    teacher: Reporter | None = None,
) -> FoldOutcome:
    """Train the student (or only the teacher) of one fold, choosing its epoch on validation.

    Everything on the way (teacher, knowledge) is taken from the store or put there. No test
    utterance is touched.

    Args:
        task: what to train on, and how.
        store: where everything lies and goes.
        reporter: hears the epochs of what is asked for.
        role: ``student`` (default) or ``teacher``.
        teacher: hears the epochs of a student's teacher, if that is fitted now; default: nobody.

    Raises:
        TrainingError: a loss is not finite, or a worker failed.
        StoreError: the store cannot be read or written.
    """
    began = time.perf_counter()
    with _state(task):
        if role == "teacher":
            artifact = teacher_artifact(task, store, train=task.train, reporter=reporter)
        else:
            artifact = student_artifact(task, store, reporter=reporter, teacher=teacher)
    logits = np.load(artifact.path / VALIDATION)
    facts = read_json(artifact.path / FACTS)
    return FoldOutcome(
        artifact=artifact,
        validation=scores(
            np.asarray(task.validation.labels), logits.argmax(1), classes=task.classes
        ),
        epoch=facts["epoch"],
        parameters=facts["parameters"],
        seconds=time.perf_counter() - began,
        notes=tuple(facts.get("notes", ())),
        history=tuple(read_json(artifact.path / HISTORY)),
    )


def predict(
    task: FoldTask,
    utterances: Unlabelled,
    *,
    store: Store,
    trained: Artifact,
    role: Role = "student",
) -> Artifact:
    """Logits of a trained network on utterances without labels, as ``logits.npy`` in the store.

    A stage of its own: the key of training holds no test ids, so whoever evaluates a student of a
    sweep only scores (law 4).
    """
    inputs: dict[str, JSON] = {"trained": trained.key, "utterances": utterances.key()}

    def build(folder: Path) -> None:
        with _state(task):
            if role == "teacher":
                logits = load_teacher(task, store, trained).logits(utterances)
            else:
                logits = student_logits(task, store, trained, utterances).numpy()
        if not np.isfinite(logits).all():
            raise TrainingError(
                f"{task.corpus}, {task.fold}, seed {task.seed}: the {role}'s logits on the test "
                "utterances are not finite; lower recipe.training.lr"
            )
        np.save(folder / "logits.npy", logits)

    return store.obtain("predictions", inputs, build)


@contextmanager
def _state(task: FoldTask) -> Iterator[None]:
    with fold_run_state(
        seed=task.seed, threads=task.threads, deterministic=task.deterministic, gpus=task.gpus
    ):
        yield
