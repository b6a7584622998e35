"""From the scores of folds to the score of a trial, at its end and on the way there."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.experiment.search import Aggregate

Folds = Mapping[str, float]
"""The score of each fold, named ``corpus/fold``, averaged over seeds, as a fraction."""


def aggregate(folds: Folds, *, kind: Aggregate, others: Sequence[Folds]) -> float:
    """The score of a trial that has run all its folds.

    ``mean``: over all folds of all corpora, so that each fold counts once, and a corpus by how many
    it has. ``worst``: over the folds of the corpus in which that mean is lowest. ``rank`` and ``z``
    place the trial in each corpus among all trials, by its mean over the corpus's folds, and
    average over corpora, so that each corpus counts once: its rank from 0 (worst) to 1 (best),
    equals sharing the mean of theirs; or its distance to the trials' mean in their standard
    deviations (of the population, not of a sample). These two change as trials join. A trial alone
    has rank 0.5 and z 0, and z is 0 in a corpus in which all are equal.

    Args:
        folds: of the trial, at least one.
        kind: ``search.aggregate``.
        others: of every other complete trial; those with other folds than this one's are ignored.
    """
    alike = [other for other in others if other.keys() == folds.keys()]
    return _scored([folds, *alike], kind)[0]


def renormalised(trials: Mapping[int, Folds], *, kind: Aggregate) -> dict[int, float]:
    """The scores of all complete trials, each among all the others, as ``aggregate`` has it.

    A sampler that is shown these sees every trial on the footing of today, not on that of the trial
    count at its end.

    Args:
        trials: folds of each, by number; trials are placed among those with the same folds.
        kind: ``search.aggregate``.
    """
    alike: dict[frozenset[str], list[int]] = {}
    for number, folds in trials.items():
        alike.setdefault(frozenset(folds), []).append(number)
    found: dict[int, float] = {}
    for numbers in alike.values():
        scores = _scored([trials[number] for number in numbers], kind)
        found.update(zip(numbers, scores, strict=True))
    return {number: found[number] for number in trials}


def adjusted(folds: Folds, *, kind: Aggregate, others: Sequence[Folds]) -> float:
    """What the trial would score at its end, if its other folds went as these did.

    Some folds are easier than others. So for each fold still to come the trial is given the mean of
    the others in that fold, plus the mean of what it was better by in the folds it has run; this is
    then aggregated. For ``mean`` that is the mean paired difference to the others, plus their mean
    over all folds. With all folds run nothing is filled in, and it is ``aggregate``.

    Args:
        folds: that the trial has run, at least one.
        kind: ``search.aggregate``.
        others: of every complete trial, each with all folds. Those that lack one of this trial's
            are ignored, and where they differ among themselves those with most folds count. With
            none left, the folds run are aggregated as they are.
    """
    known = [other for other in others if folds.keys() <= other.keys()]
    longest = max(known, key=len, default=folds)
    known = [other for other in known if other.keys() == longest.keys()]
    usual = {fold: statistics.fmean(other[fold] for other in known) for fold in longest if known}
    return aggregate(filled(folds, usual), kind=kind, others=known)


def filled(folds: Folds, usual: Folds) -> dict[str, float]:
    """A trial's folds, and for those that it has not run what is usual there, shifted to fit it.

    Args:
        folds: that the trial has run, at least one of them among the usual ones.
        usual: the score that is usual in each fold; the shift is the mean of what the trial was
            better by.
    """
    shift = statistics.fmean(folds[fold] - usual[fold] for fold in folds) if usual else 0.0
    return {**{fold: score + shift for fold, score in usual.items()}, **folds}


def _scored(trials: Sequence[Folds], kind: Aggregate) -> list[float]:
    """Of trials with the same folds, in their order."""
    if kind == "mean":
        return [statistics.fmean(folds.values()) for folds in trials]
    corpora: dict[str, list[str]] = {}
    for fold in trials[0]:
        corpora.setdefault(fold.split("/", 1)[0], []).append(fold)
    # fmean rounds once, so that equal folds in another order have equal means
    means = np.array(
        [
            [statistics.fmean(folds[fold] for fold in inside) for inside in corpora.values()]
            for folds in trials
        ]
    )
    if kind == "worst":
        scores = means.min(axis=1)
    elif kind == "rank":
        scores = _ranks(means).mean(axis=1)
    else:
        scores = _z(means).mean(axis=1)
    return [float(score) for score in scores]


def _ranks(means: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(means) == 1:
        return np.full_like(means, 0.5)
    # which takes most of a second to import, in every actor of a trial
    from scipy.stats import rankdata

    ranks: NDArray[np.float64] = rankdata(means, axis=0)
    return (ranks - 1) / (len(means) - 1)


def _z(means: NDArray[np.float64]) -> NDArray[np.float64]:
    # where all are equal the computed deviation may be a rounding error, and not 0
    differ = np.ptp(means, axis=0) > 0
    spread = np.where(differ, means.std(axis=0), 1.0)
    return np.where(differ, (means - means.mean(axis=0)) / spread, 0.0)
