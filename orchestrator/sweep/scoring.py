"""From the scores of folds to the score of a trial, at its end and on the way there."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from orchestrator.experiment.search import Aggregate

Folds = Mapping[str, float]
"""The score of each fold, named ``corpus/fold``, averaged over seeds, as a fraction."""


def aggregate(folds: Folds, *, kind: Aggregate, others: Sequence[Folds]) -> float:
    """The score of a trial that has run all its folds.

    Args:
        folds: of the trial.
        kind: ``search.aggregate``.
        others: of every other complete trial, each with the same folds.
    """
    return statistics.fmean(folds.values())


def adjusted(folds: Folds, *, kind: Aggregate, others: Sequence[Folds]) -> float:
    """What the trial would score at its end, if its other folds went as these did.

    Args:
        folds: that the trial has run, at least one.
        kind: ``search.aggregate``.
        others: of every complete trial, each with all folds.
    """
    return statistics.fmean(folds.values())
