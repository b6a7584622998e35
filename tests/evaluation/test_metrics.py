"""Scores against scikit-learn and against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
)

from orchestrator.evaluation.metrics import score_row, scores, speaker_rows


@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_scikit_learn_when_every_class_occurs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(5), rng.integers(0, 5, 60)])
    predictions = np.where(rng.random(65) < 0.6, labels, rng.integers(0, 5, 65))

    got = scores(labels, predictions, 5)

    assert got.n == 65
    assert got.accuracy == pytest.approx(accuracy_score(labels, predictions))
    assert got.macro_recall == pytest.approx(balanced_accuracy_score(labels, predictions))
    assert got.weighted_f1 == pytest.approx(f1_score(labels, predictions, average="weighted"))
    assert got.macro_f1 == pytest.approx(f1_score(labels, predictions, average="macro"))
    assert np.array_equal(got.confusion, confusion_matrix(labels, predictions, labels=range(5)))


@pytest.mark.parametrize("seed", range(5))
def test_a_class_that_is_predicted_but_absent_is_left_out_of_the_macro_averages(seed: int) -> None:
    rng = np.random.default_rng(seed)
    present = [0, 2, 3]
    labels = np.concatenate([present, rng.choice(present, 40)])
    predictions = rng.integers(0, 5, 43)

    got = scores(labels, predictions, 5)

    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert got.macro_recall == pytest.approx(balanced_accuracy_score(labels, predictions))
    f1 = f1_score(labels, predictions, labels=present, average=None, zero_division=0)
    assert got.macro_f1 == pytest.approx(np.mean(f1))
    support = [int((labels == one).sum()) for one in present]
    assert got.weighted_f1 == pytest.approx(np.average(f1, weights=support))


def test_scores_worked_out_by_hand() -> None:
    # Class 0: 3 of 4 right, predicted 3 times. Class 1: 1 of 1 right, predicted twice.
    got = scores([0, 0, 0, 0, 1], [0, 0, 0, 1, 1], 2)

    assert got.accuracy == pytest.approx(4 / 5)
    assert got.macro_recall == pytest.approx((3 / 4 + 1) / 2)
    assert got.macro_f1 == pytest.approx((6 / 7 + 2 / 3) / 2)
    assert got.weighted_f1 == pytest.approx((4 * 6 / 7 + 2 / 3) / 5)
    assert got.confusion.tolist() == [[3, 1], [0, 1]]


def test_a_class_that_is_never_predicted_has_an_f1_of_zero() -> None:
    got = scores([0, 1], [0, 0], 3)

    assert got.macro_recall == pytest.approx(0.5)
    assert got.macro_f1 == pytest.approx((2 / 3) / 2)


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([], [], "nothing to score"),
        ([0, 1], [0], "one length"),
        ([0, 3], [0, 1], "labels must lie between 0 and 2, but span 0 to 3"),
        ([0, 1], [0, -1], "predictions must lie between 0 and 2"),
        ([0.5, 1.0], [0, 1], "labels must be integers"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    labels: list[int], predictions: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        scores(np.array(labels), np.array(predictions), 3)


def test_a_row_holds_the_scores_and_where_they_come_from() -> None:
    row = score_row(
        [0, 1, 1],
        [0, 1, 0],
        2,
        corpus="emodb",
        system="distilled",
        fold="speaker=03",
        seed=1,
        epoch=7,
        parameters=1234,
    )

    assert list(row) == [
        *("corpus", "system", "fold", "seed", "n"),
        *("accuracy", "macro_recall", "weighted_f1", "macro_f1", "epoch", "parameters"),
    ]
    assert row["n"] == 3
    assert row["macro_recall"] == pytest.approx(0.75)


def test_speaker_rows_pool_a_speaker_over_folds_and_sort_by_speaker() -> None:
    rows = speaker_rows(
        [0, 1, 0, 1],
        [0, 0, 0, 1],
        ["08", "03", "03", "08"],
        2,
        corpus="c",
        system="teacher",
        seed=0,
    )

    assert [(row["speaker"], row["n"], row["macro_recall"]) for row in rows] == [
        ("03", 2, 0.5),
        ("08", 2, 1.0),
    ]


def test_speaker_rows_refuse_a_missing_speaker() -> None:
    with pytest.raises(ValueError, match="1 speakers were given for 2 labels"):
        speaker_rows([0, 1], [0, 1], ["03"], 2, corpus="c", system="teacher", seed=0)
