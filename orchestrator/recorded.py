"""A fold run that is written down as it goes."""

from __future__ import annotations

from orchestrator.store import Store
from orchestrator.tracking.journal import Journal
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
    journal.metrics(
        {
            "chosen/validation_macro_recall": outcome.validation.macro_recall,
            "chosen/validation_accuracy": outcome.validation.accuracy,
            "chosen/epoch": float(outcome.epoch),
        },
        step=outcome.epoch,
    )
    return outcome
