"""When pruners can act, and how few folds are run if they do."""

from __future__ import annotations

import pytest

from orchestrator.experiment.pruners import (
    HalvingPruner,
    MedianPruner,
    NoPruner,
    PrunerSection,
    RacePruner,
    WilcoxonPruner,
)
from orchestrator.sweep.pruning import Ran, why_pruned
from orchestrator.sweep.savings import fewest_folds, folds_needed, looks

NONE = NoPruner()
WILCOXON = WilcoxonPruner(kind="wilcoxon")
HALVING = HalvingPruner(kind="halving")
RACE = RacePruner(kind="race")
MEDIAN = MedianPruner(kind="median")


@pytest.mark.parametrize(
    ("pruner", "folds", "expected"),
    [
        (NONE, 10, []),
        # 2^-4 is the least p-value of four pairs, and one look is left of five folds
        (WILCOXON, 4, []),
        (WILCOXON, 5, [4]),
        (RACE, 1, []),
        (RACE, 5, [1, 2, 3, 4]),
        (HALVING, 2, []),
        (HALVING, 5, [2, 3, 4]),
        (MEDIAN, 3, [2]),
    ],
)
def test_looks_are_where_a_trial_can_be_stopped(
    pruner: PrunerSection, folds: int, expected: list[int]
) -> None:
    assert list(looks(pruner, folds=folds)) == expected


@pytest.mark.parametrize(
    ("pruner", "needed"),
    [
        (NONE, None),
        (WILCOXON, 5),
        # 2^-7 = 0.0078 is the first below 0.01
        (WilcoxonPruner(kind="wilcoxon", p=0.01), 8),
        (RACE, 2),
        (HALVING, 3),
        (HalvingPruner(kind="halving", first=6), 7),
        (MEDIAN, 3),
    ],
)
def test_a_pruner_needs_so_many_folds(pruner: PrunerSection, needed: int | None) -> None:
    assert folds_needed(pruner) == needed


@pytest.mark.parametrize("pruner", [WILCOXON, HALVING, RACE, MEDIAN])
@pytest.mark.parametrize("short", [0, 1])
def test_it_is_so_of_the_pruner_itself(pruner: PrunerSection, short: int) -> None:
    """A trial that is far behind in every fold is stopped on as many folds, and not on fewer."""
    needed = folds_needed(pruner)
    assert needed is not None
    total = needed - short
    leaders = [
        Ran(number, {f"a/{fold}": 0.9 for fold in range(total)}, complete=True)
        for number in range(8)
    ]

    stopped = [
        done
        for done in range(1, total)
        if why_pruned(
            pruner,
            {f"a/{fold}": 0.1 - 0.01 * fold for fold in range(done)},
            leaders,
            total=total,
            aggregate="mean",
        )
    ]

    assert bool(stopped) == (not short)


@pytest.mark.parametrize(
    ("pruner", "folds", "trials", "expected"),
    [
        (NONE, 10, 40, 400),
        (WILCOXON, 3, 40, 120),
        # one runs all, the others four
        (WILCOXON, 5, 40, 5 + 39 * 4),
        (RACE, 10, 40, 10 + 39 * 1),
        (RACE, 10, 1, 10),
        # each may fall behind later ones
        (HALVING, 10, 40, 40 * 2),
        (HALVING, 10, 1, 10),
        (HALVING, 2, 40, 80),
        (MEDIAN, 10, 40, 4 * 10 + 36 * 2),
        (MEDIAN, 10, 3, 30),
    ],
)
def test_the_fewest_folds(pruner: PrunerSection, folds: int, trials: int, expected: int) -> None:
    assert fewest_folds(pruner, folds=folds, trials=trials) == expected
