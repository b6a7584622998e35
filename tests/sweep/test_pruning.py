"""Whether a trial goes on: by hand, beside scipy, and over many simulated trials."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from orchestrator.experiment.pruners import (
    HalvingPruner,
    MedianPruner,
    NoPruner,
    PrunerSection,
    RacePruner,
    WilcoxonPruner,
)
from orchestrator.experiment.search import Aggregate
from orchestrator.sweep.pruning import WAVE, Ran, signed_rank_p, why_pruned, wilcoxon_looks

WILCOXON = WilcoxonPruner(kind="wilcoxon")
HALVING = HalvingPruner(kind="halving")
RACE = RacePruner(kind="race")
MEDIAN = MedianPruner(kind="median")
ALL: tuple[PrunerSection, ...] = (NoPruner(), WILCOXON, HALVING, RACE, MEDIAN)


def scored(*scores: float) -> dict[str, float]:
    return {f"c/{fold}": score for fold, score in enumerate(scores)}


def ran(number: int, *scores: float, total: int = 0, under_way: bool = False) -> Ran:
    return Ran(number, scored(*scores), len(scores) >= (total or len(scores)), under_way)


def why(pruner: PrunerSection, mine: dict[str, float], others: list[Ran], total: int) -> str:
    return why_pruned(pruner, mine, others, total=total, aggregate="mean")


@pytest.mark.parametrize("pruner", ALL, ids=lambda pruner: pruner.kind)
@pytest.mark.parametrize(
    "others",
    [
        [],
        [ran(1, *[0.5] * 10), ran(2, *[0.5] * 10)],
        [Ran(n, {f"d/{i}": 0.9 for i in range(10)}, complete=True) for n in range(9)],
        [ran(n, *[0.3 + 0.01 * i for i in range(10)]) for n in range(9)],
    ],
    ids=["no others yet", "all equal", "other folds", "worse ones"],
)
def test_a_trial_that_nothing_speaks_against_goes_on(
    pruner: PrunerSection, others: list[Ran]
) -> None:
    for done in range(1, 10):
        assert why(pruner, scored(*[0.5] * done), others, 10) == ""


# --- Wilcoxon


@pytest.mark.parametrize(
    ("total", "looks"),
    # 10 folds: 2^-6 <= 0.1 / 4, but 2^-5 > 0.1 / 5; 5: 2^-4 <= 0.1; 4: 2^-3 > 0.1
    [(1, []), (4, []), (5, [4]), (10, [6, 7, 8, 9]), (24, list(range(8, 24)))],
)
def test_folds_below_the_floor_are_no_look(total: int, looks: list[int]) -> None:
    assert list(wilcoxon_looks(0.1, total=total)) == looks


def test_wilcoxon_stops_what_is_worse_in_six_folds_of_ten_and_says_by_how_much() -> None:
    best = ran(3, *[0.6] * 10)
    others = [best, ran(4, *[0.5] * 10), ran(5, *[0.9] * 2, total=10)]
    mine = scored(*[0.6 - 0.01 * i for i in range(1, 7)])

    found = why(WILCOXON, mine, others, 10)

    assert found == (
        "behind trial 3, the best so far, by 3.5 points on average and in 6 of 6 folds "
        "(Wilcoxon p 0.016, needed 0.025)"
    )
    assert why(WILCOXON, dict(list(mine.items())[:5]), others, 10) == ""
    # better in the fold of the least difference: p = 2 / 64
    assert why(WILCOXON, mine | {"c/0": 0.605}, others, 10) == ""


def test_the_best_is_told_by_aggregate_and_of_equals_the_earliest() -> None:
    others = [ran(7, *[0.7] * 5), ran(2, *[0.7] * 5), ran(3, *[0.6] * 5)]

    assert "trial 2," in why(WILCOXON, scored(0.1, 0.2, 0.3, 0.4), sorted_by(others), 5)


def sorted_by(others: list[Ran]) -> list[Ran]:
    return sorted(others, key=lambda other: other.number)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tied", [False, True])
def test_the_p_value_is_that_of_scipy_also_with_ties(seed: int, tied: bool) -> None:
    generator = np.random.default_rng(seed)
    found = generator.normal(-0.4, 1.0, size=7)
    found = np.round(found) + (found > 0) if tied else found

    expected = stats.wilcoxon(found[found != 0], alternative="less").pvalue

    assert signed_rank_p(found.tolist()) == pytest.approx(expected)


def test_the_p_value_with_ties_is_a_count_of_signs() -> None:
    # ranks 1.5, 1.5, 3, 4 and a zero, which says nothing; the positive one has 1.5
    ranks = (1.5, 1.5, 3, 4)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=4)]

    expected = sum(total <= 1.5 for total in sums) / 16

    assert signed_rank_p([-0.1, 0.3 - 0.2, -0.2, -0.3, 0.0]) == expected == 3 / 16


@pytest.mark.parametrize(
    ("differences", "p"), [([], 1.0), ([0.0, 0.0], 1.0), ([-0.1] * 40, 0.5**40)]
)
def test_the_p_value_at_the_edges(differences: list[float], p: float) -> None:
    assert signed_rank_p(differences) == pytest.approx(p)


def test_wilcoxon_stops_an_equal_trial_no_more_often_than_it_says() -> None:
    generator = np.random.default_rng(0)
    stopped = 0
    for _ in range(1500):
        mine, best = generator.normal(0.5, 0.04, size=(2, 10)).tolist()
        others = [ran(0, *best)]
        stopped += any(why(WILCOXON, scored(*mine[:n]), others, 10) for n in range(1, 10))

    # at most 0.1, and not for want of trying; three standard errors are 0.023
    assert 0.02 < stopped / 1500 < 0.1 + 0.023


# --- race


def test_with_one_other_trial_the_race_is_student_s_t_on_the_pairs() -> None:
    best = [0.70, 0.62, 0.66, 0.71, 0.60, 0.65, 0.68, 0.62]
    behind = np.array([-0.30, -0.34, -0.29, -0.33, -0.31])
    mine = scored(*(np.array(best[:5]) + behind).tolist())
    bound = behind.mean() + stats.t.ppf(1 - 0.1 / 7, 4) * behind.std(ddof=1) * math.sqrt(
        1 / 5 - 1 / 8
    )

    found = why(RACE, mine, [ran(0, *best)], 8)

    mean = np.mean(best)
    assert found == (
        f"expected to end at {100 * (mean + behind.mean()):.1f}, adjusted for the folds it ran, "
        f"and at most at {100 * (mean + bound):.1f} at a confidence of 0.9 over all looks; "
        f"trial 0, the best so far, has {100 * mean:.1f}"
    )
    assert why(RACE, scored(0.3), [ran(0, *best)], 8) == ""


def test_other_trials_sharpen_the_race() -> None:
    generator = np.random.default_rng(3)
    rows = generator.normal(0.5, 0.03, size=(12, 10)) + np.linspace(0, 0.1, 10)
    mine = scored(*(rows[0, :2] - 0.15).tolist())
    others = [ran(n, *row.tolist()) for n, row in enumerate(rows)]

    assert why(RACE, mine, others[:1], 10) == ""
    assert why(RACE, mine, others, 10) != ""


def test_differences_without_spread_need_more_than_two_folds() -> None:
    best = ran(0, *[0.5 + 0.01 * i for i in range(10)])
    behind = {fold: score - 0.2 for fold, score in best.folds.items()}
    first = [bool(why(RACE, dict(list(behind.items())[:n]), [best], 10)) for n in range(1, 10)]

    # 2^-(n - 1) <= 0.1 / 9 from eight folds on
    assert first == [False] * 7 + [True] * 2


def test_the_race_stops_what_would_have_led_no_more_often_than_it_says() -> None:
    generator = np.random.default_rng(1)
    stopped = led = 0
    effects = generator.normal(0.0, 0.05, size=10)
    names = np.array([f"c/{fold}" for fold in range(10)])
    for _ in range(700):
        # all of one worth: the hardest to tell apart, and any of them may end as the best
        rows = 0.5 + effects + generator.normal(0.0, 0.04, size=(6, 10))
        others = [ran(n, *row.tolist()) for n, row in enumerate(rows[1:])]
        if rows[0].mean() < rows[1:].mean(axis=1).max():
            continue
        led += 1
        order = generator.permutation(10)
        mine = dict(zip(names[order].tolist(), rows[0, order].tolist(), strict=True))
        begun = (dict(list(mine.items())[:n]) for n in range(1, 10))
        stopped += any(why(RACE, folds, others, 10) for folds in begun)

    assert led > 90
    assert stopped / led <= 0.1


# --- halving


def test_halving_lets_a_smaller_part_go_on_at_each_fold() -> None:
    # after two folds the best third of twelve go on, after four the best sixth
    others = [ran(n, *[0.3 + 0.01 * n] * 6) for n in range(11)]

    def goes_on(score: float, done: int) -> bool:
        return not why(HALVING, scored(*[score] * done), others, 6)

    assert goes_on(0.001, 1)
    assert [goes_on(score, 2) for score in (0.375, 0.365)] == [True, False]
    assert [goes_on(score, 4) for score in (0.395, 0.385)] == [True, False]
    assert why(HALVING, scored(0.365, 0.365), others, 6) == (
        "expected to end at 36.5, adjusted for the folds it ran, with 4 of 11 other trials above "
        "it; the best 4 go on"
    )


def test_hard_folds_are_no_reason_to_stop() -> None:
    # the first two folds are hard; the trial does better there than any other
    others = [ran(n, 0.1, 0.1, 0.9, 0.9) for n in range(3)]
    luckier = Ran(3, {"c/2": 0.91, "c/3": 0.88}, complete=False)

    assert why(HALVING, scored(0.12, 0.12), [*others, luckier], 4) == ""
    assert why(HALVING, scored(0.08, 0.08), [*others, luckier], 4) != ""


def test_one_that_only_pruned_trials_beat_goes_on() -> None:
    complete = ran(0, 0.4, 0.4, 0.4, 0.4, 0.4)
    better = [ran(n, 0.6, 0.6, 0.6, total=5) for n in range(1, 9)]

    assert why(HALVING, scored(0.5, 0.5), [complete, *better], 5) == ""
    assert why(HALVING, scored(0.3, 0.3), [complete, *better], 5) != ""


@pytest.mark.parametrize(("several", "stops"), [(WAVE - 1, False), (WAVE, True)])
def test_before_any_is_complete_several_under_way_have_to_be_better(
    several: int, stops: bool
) -> None:
    better = [ran(n, 0.6, 0.6, total=5, under_way=True) for n in range(several)]

    assert bool(why(HALVING, scored(0.5, 0.5), better, 5)) == stops


def test_with_worst_the_weaker_corpus_decides() -> None:
    others = [
        Ran(n, {"a/1": 0.8, "a/2": 0.8, "b/1": 0.4, "b/2": 0.4}, complete=True) for n in range(4)
    ]
    mine = {"b/1": 0.35, "a/1": 0.9}

    assert why_pruned(HALVING, mine, others, total=4, aggregate="mean") == ""
    # b: 0.35, and for b/2 0.4 with what it is better by, 0.025: 0.3875 of 0.4
    found = why_pruned(HALVING, mine, others, total=4, aggregate="worst")
    assert found.startswith("expected to end at 38.")


@pytest.mark.parametrize("aggregate", ["rank", "z"])
def test_places_among_the_trials_are_told_as_such(aggregate: Aggregate) -> None:
    others = [ran(n, *[0.5 + 0.01 * n] * 4) for n in range(5)]

    found = why_pruned(HALVING, scored(0.1, 0.1), others, total=4, aggregate=aggregate)

    assert found.startswith(f"expected to end at {aggregate} ")


# --- median


@pytest.mark.parametrize(("score", "stops"), [(0.51, False), (0.5, False), (0.49, True)])
def test_the_median_of_the_others_divides(score: float, stops: bool) -> None:
    others = [ran(n, *[value] * 4) for n, value in enumerate((0.3, 0.4, 0.5, 0.6, 0.7))]

    found = why(MEDIAN, scored(score, score), others, 4)

    assert bool(found) == stops
    assert why(MEDIAN, scored(score), others, 4) == ""
    assert why(MEDIAN, scored(score, score), others[:3], 4) == ""


def test_trials_pruned_before_still_hold_the_median_down() -> None:
    complete = [ran(n, *[0.6] * 5) for n in range(4)]
    pruned = [ran(n, 0.3, 0.3, total=5) for n in range(4, 9)]

    assert why(MEDIAN, scored(0.4, 0.4, 0.4), [*complete, *pruned], 5) == ""
    assert why(MEDIAN, scored(0.4, 0.4, 0.4), complete, 5) == (
        "expected to end at 40.0, adjusted for the folds it ran, below 60.0, the median of 4 other "
        "trials"
    )
