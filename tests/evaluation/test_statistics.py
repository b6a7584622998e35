"""Intervals against scipy, spreads by hand."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import scipy.stats

from orchestrator.errors import UnderstudyError
from orchestrator.evaluation.statistics import (
    differences,
    fold_summary,
    in_order,
    paired_difference,
    pairs_of,
    summarise,
    t_interval,
)


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("n", [2, 5, 10, 24])
def test_t_interval_agrees_with_scipy(n: int, level: float) -> None:
    values = np.random.default_rng(n).normal(0.6, 0.1, n).tolist()

    got = t_interval(values, level)

    known = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(level)
    assert (got.low, got.high) == pytest.approx((known.low, known.high))
    assert got.mean == pytest.approx(np.mean(values))
    assert got.n == n


def test_t_interval_of_one_value_is_unbounded() -> None:
    got = t_interval([0.4])

    assert (got.mean, got.low, got.high, got.n) == (0.4, None, None, 1)


def test_t_interval_of_equal_values_is_a_point() -> None:
    got = t_interval([0.25, 0.25, 0.25])

    assert (got.low, got.high) == (0.25, 0.25)


@pytest.mark.parametrize("values", [[], [0.1, float("nan")]])
def test_t_interval_refuses_nothing_and_nan(values: list[float]) -> None:
    with pytest.raises(ValueError, match="interval"):
        t_interval(values)


def test_a_paired_difference_averages_seeds_first_so_more_seeds_do_not_narrow_it() -> None:
    a = {"03": [0.7, 0.9], "08": [0.6, 0.6], "09": [0.5, 0.7]}
    b = {"03": [0.7, 0.7], "08": [0.5, 0.7], "09": [0.5, 0.5]}

    got = paired_difference(a, b)

    known = scipy.stats.ttest_rel([0.8, 0.6, 0.6], [0.7, 0.6, 0.5]).confidence_interval()
    assert got.n == 3
    assert (got.low, got.high) == pytest.approx((known.low, known.high))
    tenfold = paired_difference({k: v * 10 for k, v in a.items()}, b)
    assert (tenfold.low, tenfold.high) == pytest.approx((got.low, got.high))


def test_a_paired_difference_refuses_a_unit_that_only_one_side_has() -> None:
    with pytest.raises(UnderstudyError, match="same units on both sides.*08"):
        paired_difference({"03": [0.5], "08": [0.5]}, {"03": [0.5]})


def test_fold_summary_by_hand() -> None:
    got = fold_summary({"a": {0: 0.4, 1: 0.6}, "b": {0: 0.8, 1: 0.8}})

    assert got.mean == pytest.approx(0.65)
    # Folds 0.5 and 0.8, seeds 0.6 and 0.7: the deviation of two values is |x - y| / sqrt(2).
    assert got.std == pytest.approx(0.3 / 2**0.5)
    assert got.seed_std == pytest.approx(0.1 / 2**0.5)
    assert (got.folds, got.seeds) == (2, 2)


def test_fold_summary_of_one_fold_and_one_seed_has_no_spread() -> None:
    got = fold_summary({"a": {0: 0.4}})

    assert (got.mean, got.std, got.seed_std) == (0.4, None, None)


def test_fold_summary_refuses_to_average_over_the_survivors() -> None:
    with pytest.raises(UnderstudyError, match="fold b has no score for seed 1"):
        fold_summary({"a": {0: 0.4, 1: 0.6}, "b": {0: 0.8}})


def _rows() -> list[dict[str, Any]]:
    rows = []
    for system, base in (("distilled", 0.6), ("teacher", 0.9)):
        for fold, n, shift in (("f1", 10, 0.0), ("f2", 20, 0.1)):
            for seed in (0, 1):
                value = base + shift - 0.02 * seed
                rows.append(
                    {
                        "corpus": "c",
                        "system": system,
                        "fold": fold,
                        "seed": seed,
                        "n": n,
                        "accuracy": value,
                        "macro_recall": value,
                        "weighted_f1": value,
                        "macro_f1": value,
                        "epoch": 1,
                        "parameters": 100,
                    }
                )
    return rows


def test_the_summary_orders_systems_and_does_not_depend_on_the_rows_order() -> None:
    rows = _rows()
    summary = summarise(rows, macs={("c", "teacher"): 7})
    random.Random(0).shuffle(rows)

    assert summarise(rows, macs={("c", "teacher"): 7}) == summary
    assert [entry["system"] for entry in summary] == ["teacher", "distilled"]
    teacher, distilled = summary
    assert (teacher["n"], teacher["folds"], teacher["seeds"]) == (30, 2, 2)
    assert (teacher["parameters"], teacher["macs"], distilled["macs"]) == (100, 7, None)
    assert distilled["macro_recall_mean"] == pytest.approx(0.64)
    assert distilled["macro_f1_std"] == pytest.approx(0.1 / 2**0.5)
    assert distilled["macro_recall_seed_std"] == pytest.approx(0.02 / 2**0.5)


def test_the_summary_refuses_a_row_that_stands_twice() -> None:
    with pytest.raises(UnderstudyError, match="fold f1, seed 0 stands twice"):
        summarise([*_rows(), _rows()[0]])


def test_the_summary_refuses_seeds_scored_on_different_utterances() -> None:
    rows = _rows()
    rows[1]["n"] = 9

    with pytest.raises(UnderstudyError, match="fold f1 was scored on 10 utterances, but on 9"):
        summarise(rows)


def _speakers(systems: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "corpus": "c",
            "system": system,
            "seed": seed,
            "speaker": speaker,
            "n": 5,
            "accuracy": base + 0.01 * place * place,
            "macro_recall": base * (1 + place) / 4,
        }
        for system, base in systems.items()
        for place, speaker in enumerate(("03", "08", "09"))
        for seed in (0, 1)
    ]


def test_differences_pair_speakers_and_do_not_depend_on_the_rows_order() -> None:
    rows = _speakers({"teacher": 0.9, "student-alone": 0.5, "distilled": 0.6})
    got = differences(rows)
    random.Random(1).shuffle(rows)

    assert differences(rows) == got
    assert [(d["a"], d["b"], d["metric"]) for d in got] == [
        ("distilled", "student-alone", "macro_recall"),
        ("distilled", "student-alone", "accuracy"),
        ("distilled", "teacher", "macro_recall"),
        ("distilled", "teacher", "accuracy"),
    ]
    # 0.1 x (1, 2, 3) / 4
    known = scipy.stats.ttest_1samp([0.025, 0.05, 0.075], 0.0).confidence_interval()
    assert got[0]["mean"] == pytest.approx(0.05)
    assert (got[0]["low"], got[0]["high"]) == pytest.approx((known.low, known.high))
    assert (got[0]["unit"], got[0]["n"]) == ("speaker", 3)
    assert (got[1]["mean"], got[1]["low"]) == (pytest.approx(0.1), pytest.approx(0.1))


def test_differences_leave_out_a_pair_whose_system_was_not_evaluated() -> None:
    got = differences(_speakers({"student-alone": 0.5, "distilled": 0.6}))

    assert {(d["a"], d["b"]) for d in got} == {("distilled", "student-alone")}


def test_differences_refuse_a_speaker_without_one_of_the_seeds() -> None:
    rows = _speakers({"student-alone": 0.5, "distilled": 0.6})

    with pytest.raises(UnderstudyError, match="speaker 03 has no score for seed 0"):
        differences(rows[1:])


def test_each_ablation_is_compared_with_the_student_alone_and_the_distilled_one() -> None:
    assert pairs_of(["b", "a"]) == (
        ("distilled", "student-alone"),
        ("distilled", "teacher"),
        ("b", "student-alone"),
        ("b", "distilled"),
        ("a", "student-alone"),
        ("a", "distilled"),
    )
    assert pairs_of([]) == (("distilled", "student-alone"), ("distilled", "teacher"))


def test_systems_stand_in_the_files_order_and_strangers_last() -> None:
    found = ["b", "distilled", "x", "a", "b", "teacher", "d"]

    assert in_order(found) == ["teacher", "distilled", "a", "b", "d", "x"]
    order = ["teacher", "student-alone", "distilled", "x", "b"]
    assert in_order(found, order) == ["teacher", "distilled", "x", "b", "a", "d"]
    assert in_order([]) == []
