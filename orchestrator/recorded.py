"""Runs that are written down as they go: a fold run, and what a command does as a whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.canonical import digest
from orchestrator.store import Store
from orchestrator.teacher_runs import TeacherRun
from orchestrator.teachers_to_fit import asks_teacher
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.service import Tracking
from orchestrator.tracking.tree import RunTree
from orchestrator.training.fold_run import FoldOutcome, Role, run_fold
from orchestrator.training.task import FoldTask


def recorded_run(
    task: FoldTask,
    *,
    store: Store,
    journal: Journal,
    tree: RunTree,
    parent: str,
    role: Role = "student",
    teacher_evaluated: bool = False,
) -> FoldOutcome:
    """Run a fold with its epochs and validation scores in ``journal``; the caller ends the journal.

    The run of the teacher that a student learns from is linked from it, and written where nobody
    has yet. Of a student that the store had, the epochs are told as they were measured.

    Args:
        task: the fold run.
        store: has what has been computed, and gets what is.
        journal: of the fold run.
        tree: of the command, for the teacher's run.
        parent: key of the run above.
        role: ``student`` (default) or ``teacher``.
        teacher_evaluated: whether this command evaluates the student's teacher, too.

    Raises:
        Exception: whatever the fold run raises, after the journal has ended as FAILED with it.
    """
    journal.start(
        name=f"{task.corpus} {task.fold} seed {task.seed}",
        parent=parent,
        params={"corpus": task.corpus, "fold": task.fold, "seed": task.seed, "role": role},
        tags={"understudy.kind": "fold run", "understudy.emotions": ", ".join(task.emotions)},
    )
    _tell_dataset(task, journal)
    taught = role == "student" and asks_teacher(task.recipe)
    teacher = None
    if taught:
        teacher = TeacherRun(task, store=store, tree=tree, evaluated=teacher_evaluated)
    try:
        outcome = run_fold(task, store=store, reporter=journal, role=role, teacher=teacher)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        if teacher is not None:
            teacher.fail(reason)
        journal.end("FAILED", reason=reason)
        raise
    keys = {f"understudy.key.{role}": outcome.artifact.key}
    if teacher is not None:
        if teacher.end():
            journal.link("teacher", teacher.key)
        keys["understudy.key.teacher"] = teacher.artifact
    journal.tag(keys)
    if outcome.reused:
        for step, row in enumerate(outcome.history, 1):
            journal.metrics(row, step=step)
    if outcome.notes:
        journal.artifact("notes.txt", "".join(f"{note}\n" for note in outcome.notes).encode())
    journal.metrics(
        {
            "chosen/validation_macro_recall": outcome.validation.macro_recall,
            "chosen/validation_accuracy": outcome.validation.accuracy,
            "chosen/epoch": float(outcome.epoch),
            "parameters": float(outcome.parameters),
        },
        step=outcome.epoch,
    )
    return outcome


def _tell_dataset(task: FoldTask, journal: Journal) -> None:
    """What it trains on and chooses by; how many are tested is not for it to know (law 1)."""
    profile = {
        name: {"utterances": len(some.ids), "speakers": len(set(some.speakers))}
        | {task.emotions[label]: count for label, count in sorted(Counter(some.labels).items())}
        for name, some in (("train", task.train), ("validation", task.validation))
    }
    journal.dataset(
        name=f"{task.corpus} {task.fold}",
        digest=digest([task.train.key(), task.validation.key()])[:32],
        source=task.corpus,
        profile=json.dumps(profile),
        context="train and validation",
    )


@contextmanager
def ended_by_errors(top: Journal, tracking: Tracking) -> Iterator[None]:
    """End the command's top run when its body raises, so that nothing is left RUNNING."""
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        top.end("KILLED" if stopped else "FAILED", reason=f"{type(error).__name__}: {error}")
        tracking.close(timeout=30.0)
        raise
