"""What a pruner can do on so many folds, and how few folds a search may need with it."""

from __future__ import annotations

from orchestrator.experiment.pruners import (
    HalvingPruner,
    MedianPruner,
    NoPruner,
    PrunerSection,
    RacePruner,
    WilcoxonPruner,
)
from orchestrator.sweep.pruning import wilcoxon_looks


def looks(pruner: PrunerSection, *, folds: int) -> range:
    """After how many folds a trial can be stopped at all; empty: never.

    Args:
        pruner: ``search.pruner``.
        folds: of a trial.
    """
    match pruner:
        case NoPruner():
            return range(0)
        case WilcoxonPruner():
            return wilcoxon_looks(pruner.p, total=folds)
        case RacePruner():
            return range(1, folds)
        case HalvingPruner() | MedianPruner():
            return range(pruner.first, folds)


def folds_needed(pruner: PrunerSection) -> int | None:
    """The least number of folds on which a pruner can stop a trial; None: it never stops any."""
    if isinstance(pruner, NoPruner):
        return None
    folds = 2
    while not looks(pruner, folds=folds):
        folds += 1
    return folds


def fewest_folds(pruner: PrunerSection, *, folds: int, trials: int) -> int:
    """Folds that ``trials`` run if each is stopped as early as the pruner can: a bound, no guess.

    Args:
        pruner: ``search.pruner``.
        folds: of a trial.
        trials: that begin, none having ended before.
    """
    possible = looks(pruner, folds=folds)
    if not possible or trials < 2:
        return trials * folds
    # trials that have to be complete before any can be stopped
    whole = {"halving": 0, "median": getattr(pruner, "after", 0)}.get(pruner.kind, 1)
    whole = min(whole, trials)
    return whole * folds + (trials - whole) * possible[0]
