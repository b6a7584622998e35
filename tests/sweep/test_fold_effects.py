"""How easy folds are, beside the same fit worked out another way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.sweep.fold_effects import fold_effects
from orchestrator.sweep.scoring import Folds, filled


def ragged(seed: int, *, trials: int = 7, folds: int = 5) -> list[dict[str, float]]:
    """Trials with some folds each, in an order of their own; the second has all."""
    generator = np.random.default_rng(seed)
    found = []
    for trial in range(trials):
        count = folds if trial == 1 else int(generator.integers(1, folds + 1))
        names = [f"c/{fold}" for fold in generator.permutation(folds)[:count]]
        found.append({name: float(generator.normal()) for name in names})
    return found


def design(trials: list[dict[str, float]]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A column for each trial and for each fold but the last."""
    names = sorted({name for folds in trials for name in folds})
    rows, scores = [], []
    for trial, folds in enumerate(trials):
        for name, score in folds.items():
            row = np.zeros(len(trials) + len(names))
            row[[trial, len(trials) + names.index(name)]] = 1.0
            rows.append(row[:-1])
            scores.append(score)
    return np.array(rows), np.array(scores), names


@pytest.mark.parametrize("seed", range(8))
def test_the_fit_is_that_of_least_squares_on_all_columns(seed: int) -> None:
    trials = ragged(seed)
    matrix, scores, names = design(trials)
    fitted, rest, rank, _ = np.linalg.lstsq(matrix, scores, rcond=None)
    of_folds = np.append(fitted[len(trials) :], 0.0)

    found = fold_effects(trials)

    usual = np.array([found.usual[name] for name in names])
    assert usual - usual.mean() == pytest.approx(of_folds - of_folds.mean())
    assert usual.mean() == pytest.approx(scores.mean())
    assert found.freedom == len(scores) - rank
    assert found.noise == pytest.approx(math.sqrt(rest[0] / found.freedom))


@pytest.mark.parametrize("seed", range(8))
def test_the_uncertainty_is_that_of_a_prediction_by_all_columns(seed: int) -> None:
    trials = ragged(seed)
    trials[0] = dict(list(trials[0].items())[:3])
    matrix, _, names = design(trials)
    left = [name for name in names if name not in trials[0]]
    found = fold_effects(trials)
    # what is asked of the fit is the trial's mean over the folds left
    asked = np.zeros(len(trials) + len(names))
    asked[0] = 1.0
    for name in left:
        asked[len(trials) + names.index(name)] = 1.0 / len(left)
    variance = asked[:-1] @ np.linalg.inv(matrix.T @ matrix) @ asked[:-1] + 1.0 / len(left)

    expected = found.noise * math.sqrt(variance) * len(left) / len(names)

    assert found.uncertainty(trials[0]) == pytest.approx(expected)


def test_of_one_other_trial_it_is_the_paired_comparison() -> None:
    # differences -0.1, -0.3: mean -0.2, variance 0.02, so a score's own is 0.01
    mine: Folds = {"c/1": 0.4, "c/2": 0.3}
    other: Folds = {"c/1": 0.5, "c/2": 0.6, "c/3": 0.7, "c/4": 0.8}
    found = fold_effects([mine, other])

    assert found.freedom == 1
    assert found.noise == pytest.approx(0.1)
    assert np.mean(list(filled(mine, found.usual).values())) == pytest.approx(0.65 - 0.2)
    # half of the folds left: (1/2)^2 (1/2 + 1/2) for each of the two trials
    assert found.uncertainty(mine) == pytest.approx(0.1 * math.sqrt(0.25 * 2))


def test_hard_folds_run_by_bad_trials_alone_are_not_taken_for_bad_trials() -> None:
    folds = {"c/1": 0.9, "c/2": 0.5, "c/3": 0.7}
    trials = [
        {name: folds[name] + shift for name in names}
        for shift, names in [(0.1, folds), (-0.2, ["c/2"]), (-0.3, ["c/2", "c/3"]), (0, ["c/1"])]
    ]
    usual = fold_effects(trials).usual

    assert usual["c/1"] - usual["c/2"] == pytest.approx(0.4)
    assert usual["c/3"] - usual["c/2"] == pytest.approx(0.2)


def test_trials_that_no_fold_joins_to_the_first_are_left_out() -> None:
    trials: list[Folds] = [
        {"a/1": 0.2},
        {"b/1": 0.9, "b/2": 0.9},
        {"a/2": 0.5, "a/3": 0.6},
        {"a/1": 0.3, "a/2": 0.4},
    ]

    assert fold_effects(trials).usual.keys() == {"a/1", "a/2", "a/3"}


def test_a_trial_alone_says_nothing_of_noise_and_lacks_nothing() -> None:
    found = fold_effects([{"a/1": 0.2, "a/2": 0.6}])

    assert found.usual == pytest.approx({"a/1": 0.2, "a/2": 0.6})
    assert (found.noise, found.freedom) == (0.0, 0)
    assert found.uncertainty(["a/1", "a/2"]) == 0.0
