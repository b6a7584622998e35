"""What became of the searches of a command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import optuna

from orchestrator.sweep.summary import SweepSummary


@dataclass(frozen=True)
class SweepOutcome:
    """A sweep's summary and what this call of it computed."""

    summary: SweepSummary
    computed: int
    """Fold runs trained now."""
    reused: int
    """Fold runs whose students the store already had."""
    earlier: int
    """Fold runs of trials that had ended before."""
    pending: int
    """Journal segments that have not reached MLflow."""
    spent: bool = False
    """Whether ``search.max_hours`` have passed, so that no further trial begins."""

    @property
    def finished(self) -> bool:
        """Whether every planned trial has ended, or the hours are spent."""
        summary = self.summary
        return summary.ended >= summary.planned or (self.spent and not summary.running)


@dataclass(frozen=True)
class SearchesOutcome:
    """What became of the searches of one command."""

    searches: Mapping[str, SweepOutcome]
    """By name: the fold that a search is inside of. What was computed and reused is told of the
    first, for all of them together."""
    studies: Mapping[str, optuna.Study]

    @property
    def finished(self) -> bool:
        """Whether all of them are."""
        return all(outcome.finished for outcome in self.searches.values())
