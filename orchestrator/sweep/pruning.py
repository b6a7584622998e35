"""Whether a trial is worth its next fold: pure functions of what trials have scored so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.experiment.pruners import PrunerSection
from orchestrator.experiment.search import Aggregate
from orchestrator.sweep.scoring import Folds


@dataclass(frozen=True)
class Ran:
    """What another trial has scored."""

    number: int
    folds: Folds
    """In the order in which they were run."""
    complete: bool
    """Whether these are all of its folds; otherwise it was pruned."""


def why_pruned(
    pruner: PrunerSection,
    folds: Folds,
    others: Sequence[Ran],
    *,
    total: int,
    aggregate: Aggregate,
) -> str:
    """Why a trial should stop now, as a clause for people; empty if it goes on.

    A function of its arguments alone, so that a sweep taken up again decides as before.

    Args:
        pruner: ``search.pruner``.
        folds: that the trial has run, in their order; at least one, not all.
        others: trials that have ended, complete or pruned, by number.
        total: folds of a trial.
        aggregate: ``search.aggregate``.
    """
    return ""
