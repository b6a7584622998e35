"""Whether a trial is worth its next fold: pure functions of what trials have scored so far."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.experiment.pruners import (
    HalvingPruner,
    MedianPruner,
    NoPruner,
    PrunerSection,
    RacePruner,
    WilcoxonPruner,
)
from orchestrator.experiment.search import Aggregate
from orchestrator.sweep.fold_effects import fold_effects
from orchestrator.sweep.scoring import Folds, filled, renormalised

NEGLIGIBLE = 1e-9
"""Scores this close are equal: what they differ by is rounding."""

WAVE = 6
"""Trials under way that count as much as a complete one, of those that are better."""


@dataclass(frozen=True)
class Ran:
    """What another trial has scored."""

    number: int
    folds: Folds
    """In the order in which they were run."""
    complete: bool
    """Whether these are all of its folds; otherwise it was pruned, or is under way."""
    under_way: bool = False


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
        others: trials that have run a fold, by number: complete, pruned or under way. With many at
            once those under way matter: else the first wave would have nothing to be judged by.
        total: folds of a trial.
        aggregate: ``search.aggregate``.
    """
    match pruner:
        case NoPruner():
            return ""
        case WilcoxonPruner():
            return _wilcoxon(pruner, folds, _leader(folds, others, total, aggregate), total)
        case RacePruner():
            leader = _leader(folds, others, total, aggregate)
            return _race(pruner, folds, others, leader, total)
        case HalvingPruner():
            return _halving(pruner, folds, others, aggregate)
        case MedianPruner():
            return _median(pruner, folds, others, aggregate)


def _wilcoxon(pruner: WilcoxonPruner, folds: Folds, leader: Ran | None, total: int) -> str:
    looks = wilcoxon_looks(pruner.p, total=total)
    if leader is None or len(folds) not in looks:
        return ""
    differences = _differences(folds, leader)
    p, needed = signed_rank_p(differences), pruner.p / len(looks)
    if p > needed:
        return ""
    return (
        f"behind trial {leader.number}, the best so far, by "
        f"{-100 * statistics.fmean(differences):.1f} points on average and in "
        f"{sum(d < 0 for d in differences)} of {len(differences)} folds (Wilcoxon p {p:.2g}, "
        f"needed {needed:.2g})"
    )


def wilcoxon_looks(p: float, *, total: int) -> range:
    """After how many folds the test can reject at all, its level split over these looks.

    The least p-value of n pairs is ``2**-n``. What lies below the floor that this sets is no look,
    and nothing of the level is spent on it.

    Args:
        p: of rejecting a true hypothesis, over all looks together.
        total: folds of a trial; after the last there is nothing left to stop.

    Returns:
        Numbers of folds; empty if even one look cannot reject.
    """
    for first in range(1, total):
        if 0.5**first <= p / (total - first):
            return range(first, total)
    return range(0)


def signed_rank_p(differences: Sequence[float]) -> float:
    """The one-sided p-value of Wilcoxon's signed-rank test that differences are not below zero.

    Exact for any number of pairs, also where magnitudes are equal (they share the mean of their
    ranks): given the magnitudes, each sign is as likely as the other. Differences of zero say
    nothing and are left out; with none left the p-value is 1. scipy's test is exact with ties up to
    13 pairs only, by going through all signs one by one, which takes it a tenth of a second.

    Source: Wilcoxon, "Individual comparisons by ranking methods", 1945; for ties: Pratt and
    Gibbons, "Concepts of nonparametric theory", 1981.
    """
    # scipy.stats takes most of a second to import, in every process that reads of a sweep
    from scipy.stats import rankdata

    told = np.array([d for d in differences if abs(d) > NEGLIGIBLE])
    if not len(told):
        return 1.0
    # twice the ranks, so that shared ones are whole numbers too
    doubled = np.rint(2 * rankdata(np.round(np.abs(told) / NEGLIGIBLE))).astype(int)
    # how many of the sign vectors have which sum of ranks above zero
    ways = np.zeros(doubled.sum() + 1)
    ways[0] = 1.0
    for rank in doubled:
        ways[rank:] += ways[:-rank].copy()
    above = doubled[told > 0].sum()
    return float(ways[: above + 1].sum() / ways.sum())


def _race(
    pruner: RacePruner,
    folds: Folds,
    others: Sequence[Ran],
    leader: Ran | None,
    total: int,
) -> str:
    from scipy.special import stdtrit

    if leader is None:
        return ""
    # those with other folds would enlarge what all folds are
    alike = [other.folds for other in others if other.folds.keys() <= leader.folds.keys()]
    effects = fold_effects([folds, *alike])
    if not effects.freedom:
        return ""
    expected = statistics.fmean(filled(folds, effects.usual).values())
    best = statistics.fmean(leader.folds.values())
    rejects = (1.0 - pruner.level) / (total - 1)
    if effects.noise > NEGLIGIBLE:
        margin = float(stdtrit(effects.freedom, 1.0 - rejects)) * effects.uncertainty(folds)
    else:
        # few scores may fit without a rest by coincidence; that signs agree by chance is as likely
        margin = 0.0 if 0.5**effects.freedom <= rejects else math.inf
    if expected + margin >= best - NEGLIGIBLE:
        return ""
    return (
        f"expected to end at {100 * expected:.1f}, adjusted for the folds it ran, and at most at "
        f"{100 * (expected + margin):.1f} at a confidence of {pruner.level:g} over all looks; "
        f"trial {leader.number}, the best so far, has {100 * best:.1f}"
    )


def _halving(pruner: HalvingPruner, folds: Folds, others: Sequence[Ran], kind: Aggregate) -> str:
    if len(folds) < pruner.first:
        return ""
    own, rest = _expected(folds, others, kind)
    better = {number for number, score in rest.items() if score > own + NEGLIGIBLE}
    part = pruner.keep * pruner.first / len(folds)
    go_on = math.ceil(part * (len(rest) + 1) - NEGLIGIBLE)
    # one that is better must not have been pruned itself, so that some trials run all their folds;
    # and one under way may yet be, so that there have to be several such
    lasting = sum(
        WAVE * other.complete + other.under_way for other in others if other.number in better
    )
    if len(better) < go_on or lasting < WAVE:
        return ""
    return (
        f"expected to end at {_shown(own, kind)}, adjusted for the folds it ran, with "
        f"{len(better)} of {len(rest)} other trials above it; the best {go_on} go on"
    )


def _median(pruner: MedianPruner, folds: Folds, others: Sequence[Ran], kind: Aggregate) -> str:
    if len(folds) < pruner.first or sum(other.complete for other in others) < pruner.after:
        return ""
    own, rest = _expected(folds, others, kind)
    median = statistics.median(rest.values()) if rest else -math.inf
    if own >= median - NEGLIGIBLE:
        return ""
    return (
        f"expected to end at {_shown(own, kind)}, adjusted for the folds it ran, below "
        f"{_shown(median, kind)}, the median of {len(rest)} other trials"
    )


def _leader(folds: Folds, others: Sequence[Ran], total: int, kind: Aggregate) -> Ran | None:
    """The best complete trial that has this one's folds; of equals the earliest."""
    complete = {
        other.number: other
        for other in others
        if other.complete and len(other.folds) == total and folds.keys() <= other.folds.keys()
    }
    scores = renormalised({number: other.folds for number, other in complete.items()}, kind=kind)
    best = min(scores, key=lambda number: (-scores[number], number), default=None)
    return None if best is None else complete[best]


def _differences(folds: Folds, leader: Ran) -> list[float]:
    return [score - leader.folds[fold] for fold, score in folds.items()]


def _expected(
    folds: Folds, others: Sequence[Ran], kind: Aggregate
) -> tuple[float, dict[int, float]]:
    """What trials would score at their ends, each judged by all folds that it has run.

    One that stopped early counts as what it was found to be: were only those compared that got as
    far, the same part of them would fall at every fold. One that went on counts with what it has
    shown since, so that luck in its first folds bars no other.

    Returns:
        The trial's own, and by number those of the others that share folds with it, at least
        through others.
    """
    usual = fold_effects([folds, *(other.folds for other in others)]).usual
    judged = {
        other.number: filled(other.folds, usual)
        for other in others
        if other.folds.keys() <= usual.keys()
    }
    scores = renormalised({**judged, -1: filled(folds, usual)}, kind=kind)
    own = scores.pop(-1)
    return own, scores


def _shown(score: float, kind: Aggregate) -> str:
    """In points where it is a score, as it is where it places the trial among others."""
    return f"{100 * score:.1f}" if kind in ("mean", "worst") else f"{kind} {score:.2f}"
