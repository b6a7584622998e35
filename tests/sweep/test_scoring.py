"""From folds to a trial's score, by values worked out by hand."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from scipy.stats import rankdata, zscore

from orchestrator.experiment.search import Aggregate
from orchestrator.sweep.scoring import Folds, adjusted, aggregate, renormalised

KINDS: tuple[Aggregate, ...] = ("mean", "rank", "z", "worst")
# means: a 0.5, 0.7, 0.6; b 0.2, 0.2, 0.5
FIRST = {"a/1": 0.4, "a/2": 0.6, "b/session=1/x": 0.2}
SECOND = {"a/1": 0.6, "a/2": 0.8, "b/session=1/x": 0.2}
THIRD = {"a/1": 0.7, "a/2": 0.5, "b/session=1/x": 0.5}


@pytest.mark.parametrize(
    ("kind", "score"),
    [
        ("mean", 0.4),
        ("worst", 0.2),
        # a: last of three; b: shares the two lower places
        ("rank", (0.0 + 0.25) / 2),
        # a: -0.1 over sqrt(0.02 / 3); b: -0.1 over sqrt(0.06 / 3)
        ("z", (-0.1 / (0.02 / 3) ** 0.5 - 0.1 / 0.02**0.5) / 2),
    ],
)
def test_a_trial_among_two_others_on_two_corpora(kind: Aggregate, score: float) -> None:
    assert aggregate(FIRST, kind=kind, others=[SECOND, THIRD]) == pytest.approx(score)


@pytest.mark.parametrize(
    ("kind", "score"), [("mean", 0.4), ("worst", 0.2), ("rank", 0.5), ("z", 0)]
)
def test_alone_or_among_trials_with_other_folds(kind: Aggregate, score: float) -> None:
    others: list[Folds] = [{"a/1": 0.9}, {**SECOND, "b/2": 0.9}]

    assert aggregate(FIRST, kind=kind, others=[]) == pytest.approx(score)
    assert aggregate(FIRST, kind=kind, others=others) == pytest.approx(score)


@pytest.mark.parametrize(("kind", "score"), [("rank", 0.5), ("z", 0.0)])
def test_equal_trials_share_the_middle_whatever_rounding_does(
    kind: Aggregate, score: float
) -> None:
    folds = {f"a/{i}": value for i, value in enumerate((0.1, 0.2, 0.3, 0.7))}
    reverse = dict(zip(folds, reversed(folds.values()), strict=True))

    assert aggregate(folds, kind=kind, others=[reverse, folds]) == score


def test_every_trial_on_one_footing_as_numpy_and_scipy_have_it() -> None:
    generator = np.random.default_rng(1)
    scores = generator.normal(size=(9, 6))
    names = ["a/1", "a/2", "a/3", "a/4", "b/1", "b/2"]
    trials = {10 + i: dict(zip(names, row.tolist(), strict=True)) for i, row in enumerate(scores)}
    means = np.stack([scores[:, :4].mean(axis=1), scores[:, 4:].mean(axis=1)], axis=1)

    by_rank, by_z = renormalised(trials, kind="rank"), renormalised(trials, kind="z")

    assert list(by_rank) == list(by_z) == list(trials)
    ranks = (rankdata(means, axis=0).mean(axis=1) - 1) / 8
    assert list(by_rank.values()) == pytest.approx(ranks.tolist())
    assert list(by_z.values()) == pytest.approx(zscore(means, axis=0).mean(axis=1).tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_what_it_would_score_as_the_last(kind: Aggregate) -> None:
    trials = {0: FIRST, 1: SECOND, 2: THIRD, 3: {"a/1": 0.1}}
    found = renormalised(trials, kind=kind)

    for number, folds in trials.items():
        others = [other for i, other in trials.items() if i != number]
        assert found[number] == aggregate(folds, kind=kind, others=others)
    assert renormalised({}, kind=kind) == {}


def test_a_mean_so_far_is_the_mean_paired_difference_and_the_mean_of_the_others() -> None:
    # better by -0.2 and -0.05 than the others' 0.6 and 0.25; theirs over all folds: 1.55 / 3
    others = [{"a/1": 0.5, "a/2": 0.6, "a/3": 0.1}, {"a/1": 0.7, "a/2": 0.8, "a/3": 0.4}]

    found = adjusted({"a/3": 0.2, "a/1": 0.4}, kind="mean", others=others)

    assert found == pytest.approx(-0.125 + 1.55 / 3)


@pytest.mark.parametrize(
    ("kind", "score"),
    # 0.1 better than the other, so 0.4 is filled in for b: worst 0.4, first of two in each corpus
    [("worst", 0.4), ("rank", 1.0), ("z", 1.0)],
)
def test_folds_to_come_are_filled_in_before_aggregating(kind: Aggregate, score: float) -> None:
    found = adjusted({"a/1": 0.8}, kind=kind, others=[{"a/1": 0.7, "b/1": 0.3}])

    assert found == pytest.approx(score)


@pytest.mark.parametrize("kind", KINDS)
def test_with_all_folds_run_it_is_the_score_itself(kind: Aggregate) -> None:
    generator = np.random.default_rng(2)
    rows = generator.random((5, 7)).tolist()
    trials = [{f"{'ab'[i % 2]}/{i}": row[i] for i in range(7)} for row in rows]
    backwards = dict(reversed(trials[0].items()))

    found = adjusted(backwards, kind=kind, others=trials[1:])

    assert found == aggregate(trials[0], kind=kind, others=trials[1:])


@pytest.mark.parametrize(
    ("kind", "score"), [("mean", 0.5), ("worst", 0.4), ("rank", 0.5), ("z", 0)]
)
def test_without_comparable_others_the_folds_run_are_all_there_is(
    kind: Aggregate, score: float
) -> None:
    begun = {"a/1": 0.6, "b/1": 0.4}

    assert adjusted(begun, kind=kind, others=[]) == pytest.approx(score)
    assert adjusted(begun, kind=kind, others=[{"a/1": 0.9, "b/2": 0.9}]) == pytest.approx(score)


def test_of_others_that_differ_those_with_most_folds_count() -> None:
    short, long = {"a/1": 0.1, "a/2": 0.1}, {"a/1": 0.5, "a/2": 0.6, "a/3": 0.7}

    found = adjusted({"a/1": 0.4}, kind="mean", others=[short, long])

    assert found == pytest.approx(statistics.fmean([0.4, 0.5, 0.6]))
