"""The run of a fold's teacher: one in the record, however many students learn from it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from orchestrator.errors import StoreError
from orchestrator.evaluation.metrics import scores
from orchestrator.store import Store
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.tree import RunTree
from orchestrator.training.files import FACTS, HISTORY, VALIDATION, read_json
from orchestrator.training.task import FoldTask
from orchestrator.training.teacher import teacher_inputs

log = logging.getLogger(__name__)

_told: set[str] = set()
"""Keys of teachers' runs that this process knows to have been told of to their end."""


class TeacherRun:
    """Hears how a fold's own teacher is fitted, whoever asks for it first.

    A teacher that the store had before is told of from what it left there, once.

    Args:
        task: whose recipe has the teacher.
        store: that has the teacher, or will.
        tree: of the command.
        evaluated: whether the teacher is a system of the evaluation too, whose fold run then is the
            teacher's run.
    """

    def __init__(
        self, task: FoldTask, *, store: Store, tree: RunTree, evaluated: bool = False
    ) -> None:
        self.artifact = store.key("teacher", teacher_inputs(task, task.train))
        place: tuple[str | int, ...] = ("teacher", task.corpus, task.fold, task.seed)
        if not evaluated:
            place = (*place, self.artifact[:16])
        self.key = tree.key(*place)
        self._place, self._evaluated = place, evaluated
        self._task, self._store, self._tree = task, store, tree
        self._journal: Journal | None = None

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Named values after epoch ``step`` of its fit."""
        if not self._evaluated:
            self._begun().metrics(values, step=step)

    def end(self) -> bool:
        """It has been fitted, now or before: its run ends as it should.

        Of a teacher that the store had, everything is told again by each process that learns from
        it, once: the same again changes nothing.

        Returns:
            Whether there is a run of it; there is none of a teacher that is in the store no more.
        """
        if self._evaluated or (self._journal is None and self.key in _told):
            return True
        try:
            return self._tell_the_end()
        except Exception as error:
            # the student has been trained
            log.warning("the run of a teacher could not be written: %s", error)
            return False

    def _tell_the_end(self) -> bool:
        found = self._store.find("teacher", self.artifact)
        if found is None:
            return self._journal is not None
        heard, journal = self._journal is not None, self._begun()
        for step, row in enumerate([] if heard else read_json(found.path / HISTORY), 1):
            journal.metrics(row, step=step)
        facts = read_json(found.path / FACTS)
        labels = np.asarray(self._task.validation.labels)
        chosen = scores(
            labels, np.load(found.path / VALIDATION).argmax(1), classes=self._task.classes
        )
        journal.metrics(
            {
                "chosen/validation_macro_recall": chosen.macro_recall,
                "chosen/validation_accuracy": chosen.accuracy,
                "chosen/epoch": float(facts["epoch"]),
                "parameters": float(facts["parameters"]),
            },
            step=facts["epoch"],
        )
        journal.end("FINISHED")
        _told.add(self.key)
        return True

    def fail(self, reason: str) -> None:
        """What it was fitted for failed, or its own fit did."""
        if self._journal is None:
            return
        try:
            fitted = self._store.find("teacher", self.artifact) is not None
        except StoreError:
            fitted = False
        if fitted:
            self.end()
        else:
            self._journal.end("FAILED", reason=reason)

    def _begun(self) -> Journal:
        if self._journal is None:
            task = self._task
            self._journal = self._tree.journal(*self._place)
            self._journal.start(
                # trials may have teachers of their own, which only their keys tell apart
                name=f"teacher {task.corpus} {task.fold} seed {task.seed} ({self.artifact[:8]})",
                parent=self._tree.key(),
                params={
                    "corpus": task.corpus,
                    "fold": task.fold,
                    "seed": task.seed,
                    "role": "teacher",
                    "teacher": _section(task),
                },
                tags={
                    "understudy.kind": "teacher",
                    "understudy.key.teacher": self.artifact,
                    "understudy.emotions": ", ".join(task.emotions),
                },
            )
        return self._journal


def _section(task: FoldTask) -> dict[str, object]:
    """Of the task's teacher, without where on this machine its encoder lies."""
    assert task.recipe.teacher is not None
    section = task.recipe.teacher.model_dump(mode="json")
    section.pop("root", None)
    return section
