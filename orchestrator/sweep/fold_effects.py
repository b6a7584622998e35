"""How easy each fold is, told apart from how good the trials are that happened to run it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.sweep.scoring import Folds


@dataclass(frozen=True)
class FoldEffects:
    """What the scores of all trials say of the folds that can be compared.

    Attributes:
        usual: of each fold its effect plus the mean of all scores; the effects have mean 0.
        noise: the residual standard deviation, of a score about its trial and its fold.
        freedom: degrees of freedom of ``noise``; with none it is 0.
    """

    usual: dict[str, float]
    noise: float
    freedom: int
    _solved: NDArray[np.float64]

    def uncertainty(self, folds: Collection[str]) -> float:
        """Standard deviation of what a trial will score over all folds about what is expected.

        What is expected is the mean of ``filled``. It errs because the trial's mean and the folds'
        effects are estimated, and because the folds to come have noise of their own; if the folds'
        effects were known, the variance would be that of a draw without replacement,
        ``noise ** 2 * (1 / n - 1 / total)``.

        Args:
            folds: that the trial has run; it is one of those that the effects were found from.
        """
        ran = np.array([name in folds for name in self.usual])
        done, total = int(ran.sum()), len(ran)
        left = total - done
        if not left:
            return 0.0
        # a trial's mean is uncorrelated with the effects, which rest on differences within trials
        contrast = np.where(ran, -1.0 / done, 1.0 / left)
        effects = float(contrast @ self._solved @ contrast)
        return self.noise * left / total * math.sqrt(1.0 / done + 1.0 / left + effects)


def fold_effects(trials: Sequence[Folds]) -> FoldEffects:
    """Fold effects of trials that have each run some folds.

    Each trial runs its folds in an order of its own, and bad ones stop early, so the mean of a fold
    depends on who ran it. Therefore the least-squares fit of ``score = trial + fold`` over all
    scores there are: a fold's effect rests on differences within trials alone. The trials' effects
    are eliminated first, so that what is solved is as large as the number of folds. Of one complete
    trial and one other this is the comparison of their pairs; more trials make it sharper.

    Source: the two-way analysis of variance without interaction, unbalanced.

    Args:
        trials: each at least one fold. Trials that share no fold with the first, nor with one that
            does, and so on, cannot be compared with it and are left out.
    """
    names = _connected(trials)
    place = {name: column for column, name in enumerate(names)}
    inside = [folds for folds in trials if any(name in place for name in folds)]
    scores = np.zeros((len(inside), len(names)))
    ran = np.zeros_like(scores)
    for row, folds in enumerate(inside):
        columns = [place[name] for name in folds]
        scores[row, columns] = list(folds.values())
        ran[row, columns] = 1.0
    counts = ran.sum(axis=1, keepdims=True)
    centred = (scores - scores.sum(axis=1, keepdims=True) / counts) * ran
    normal = np.diag(ran.sum(axis=0)) - (ran / counts).T @ ran
    # a constant may move between trials and folds: of all solutions the one whose mean is 0
    solved = np.linalg.inv(normal + 1.0 / len(names))
    effects = solved @ centred.sum(axis=0)
    residuals = (centred - effects + ran @ effects[:, None] / counts) * ran
    freedom = int(ran.sum()) - len(inside) - len(names) + 1
    return FoldEffects(
        usual=dict(zip(names, (scores.sum() / ran.sum() + effects).tolist(), strict=True)),
        noise=math.sqrt((residuals**2).sum() / freedom) if freedom else 0.0,
        freedom=freedom,
        _solved=solved,
    )


def _connected(trials: Sequence[Folds]) -> list[str]:
    """Folds that chains of common folds join to those of the first trial."""
    found = dict.fromkeys(trials[0])
    left = list(trials[1:])
    while joined := [folds for folds in left if any(name in found for name in folds)]:
        left = [folds for folds in left if not any(name in found for name in folds)]
        found.update(dict.fromkeys(name for folds in joined for name in folds))
    return list(found)
