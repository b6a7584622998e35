"""Runs that are written down as they go: a fold run, and what a command does as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.store import Store
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.service import Tracking
from orchestrator.training.fold_run import FoldOutcome, Role, run_fold
from orchestrator.training.task import FoldTask


def recorded_run(
    task: FoldTask, *, store: Store, journal: Journal, parent: str, role: Role = "student"
) -> FoldOutcome:
    """Run a fold with its epochs and validation scores in ``journal``; the caller ends the journal.

    Raises:
        Exception: whatever the fold run raises, after the journal has ended as FAILED with it.
    """
    journal.start(
        name=f"{task.corpus} {task.fold} seed {task.seed}",
        parent=parent,
        params={"corpus": task.corpus, "fold": task.fold, "seed": task.seed, "role": role},
        tags={"understudy.kind": "fold run", "understudy.emotions": ", ".join(task.emotions)},
    )
    try:
        outcome = run_fold(task, store=store, reporter=journal, role=role)
    except Exception as error:
        journal.end("FAILED", reason=f"{type(error).__name__}: {error}")
        raise
    if outcome.notes:
        journal.artifact("notes.txt", "".join(f"{note}\n" for note in outcome.notes).encode())
    journal.metrics(
        {
            "chosen/validation_macro_recall": outcome.validation.macro_recall,
            "chosen/validation_accuracy": outcome.validation.accuracy,
            "chosen/epoch": float(outcome.epoch),
        },
        step=outcome.epoch,
    )
    return outcome


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
