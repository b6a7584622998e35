from __future__ import annotations

from collections import Counter
from fractions import Fraction
from math import ceil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from models.distillation.difficulty import cross_entropies, easiest, true_class_probabilities


def test_cross_entropies_are_torchs() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(9, 5, dtype=torch.float64) * 4, torch.randint(5, (9,))

    costs = cross_entropies(logits.numpy(), labels.numpy())

    expected = F.cross_entropy(logits, labels, reduction="none").numpy()
    np.testing.assert_allclose(costs, expected, rtol=1e-12)
    np.testing.assert_allclose(
        true_class_probabilities(logits.numpy(), labels.numpy()), np.exp(-expected), rtol=1e-12
    )


def test_a_network_that_is_certain_has_finite_costs() -> None:
    logits = np.array([[1e4, -1e4], [1e4, -1e4], [7.0, 7.0]], dtype=np.float32)
    labels = np.array([0, 1, 1])

    costs = cross_entropies(logits, labels)

    assert costs.dtype == np.float64
    np.testing.assert_allclose(costs, [0.0, 2e4, np.log(2)])
    np.testing.assert_allclose(true_class_probabilities(logits, labels), [1.0, 0.0, 0.5])


def test_easiest_of_each_class_by_hand() -> None:
    difficulty = np.array([0.9, 0.1, 0.2, 0.3, 0.8, 0.7])
    labels = np.array([0, 1, 1, 1, 0, 2])

    half = easiest(difficulty, labels, share=0.5, balanced=True)

    # One of the two 0s, two of the three 1s, and the only 2.
    assert half.tolist() == [1, 2, 4, 5]


def test_easiest_of_all_may_be_of_one_class() -> None:
    difficulty = np.array([0.9, 0.1, 0.2, 0.3, 0.8, 0.7])
    labels = np.array([0, 1, 1, 1, 0, 2])

    assert easiest(difficulty, labels, share=0.5, balanced=False).tolist() == [1, 2, 3]


@pytest.mark.parametrize("balanced", [True, False])
def test_of_equally_hard_rows_the_first_come_first(balanced: bool) -> None:
    difficulty, labels = np.array([1.0, 0.0] * 20), np.zeros(40, dtype=int)

    rows = easiest(difficulty, labels, share=0.6, balanced=balanced)

    assert rows.tolist() == sorted([*range(1, 40, 2), 0, 2, 4, 6])


@pytest.mark.parametrize(
    ("share", "count", "expected"),
    [
        (0.1, 30, 3),  # 0.1 * 30 is 3.0000000000000004
        (0.07, 100, 7),  # 7.000000000000001
        (0.55, 100, 55),  # 55.00000000000001
        (0.101, 30, 4),
        (1e-9, 30, 1),
        (1.0, 30, 30),
        (1.0 - 1e-16, 30, 30),
    ],
)
@pytest.mark.parametrize("balanced", [True, False])
def test_counts_are_rounded_up_but_not_for_floating_points_sake(
    share: float, count: int, expected: int, balanced: bool
) -> None:
    difficulty = np.arange(count)[::-1].astype(float)

    rows = easiest(difficulty, np.zeros(count), share=share, balanced=balanced)

    assert rows.tolist() == list(range(count - expected, count))


tables = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0]) | st.floats(-9, 9), st.integers(0, 4)),
    min_size=1,
    max_size=60,
)


@settings(max_examples=200)
@given(tables, st.floats(1e-6, 1.0))
def test_every_class_differs_from_its_share_by_less_than_one_utterance(
    table: list[tuple[float, int]], share: float
) -> None:
    difficulty, labels = (np.array(column) for column in zip(*table, strict=True))

    rows = easiest(difficulty, labels, share=share, balanced=True)

    kept, whole = Counter(labels[rows].tolist()), Counter(labels.tolist())
    assert kept.keys() == whole.keys()
    assert all(abs(kept[label] - share * count) < 1 for label, count in whole.items())


@given(tables, st.integers(1, 100))
def test_rows_are_the_first_of_each_class_by_difficulty_then_row(
    table: list[tuple[float, int]], percent: int
) -> None:
    difficulty, labels = (np.array(column) for column in zip(*table, strict=True))

    rows = easiest(difficulty, labels, share=percent / 100, balanced=True)

    expected = []
    for label in {label for _, label in table}:
        ranked = sorted((hard, row) for row, (hard, own) in enumerate(table) if own == label)
        expected += [row for _, row in ranked[: ceil(Fraction(percent, 100) * len(ranked))]]
    assert rows.tolist() == sorted(expected)


@given(tables, st.floats(1e-6, 1.0), st.floats(1e-6, 1.0), st.booleans())
def test_a_larger_share_holds_all_rows_of_a_smaller_one(
    table: list[tuple[float, int]], one: float, other: float, balanced: bool
) -> None:
    difficulty, labels = (np.array(column) for column in zip(*table, strict=True))

    small, large = (
        set(easiest(difficulty, labels, share=share, balanced=balanced).tolist())
        for share in sorted((one, other))
    )

    assert small <= large


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("share", [1e-6, 0.5, 1.0])
def test_one_row_is_always_kept(balanced: bool, share: float) -> None:
    assert easiest(np.array([3.0]), np.array([2]), share=share, balanced=balanced).tolist() == [0]


@pytest.mark.parametrize("balanced", [True, False])
def test_the_whole_share_is_everything(balanced: bool) -> None:
    rows = easiest(np.array([3.0, 1.0, 2.0]), np.array([0, 1, 0]), share=1.0, balanced=balanced)

    assert rows.tolist() == [0, 1, 2]


def test_labels_may_be_names() -> None:
    labels = np.array(["sad", "angry", "sad"], dtype=object)

    rows = easiest(np.array([2.0, 5.0, 1.0]), labels, share=0.5, balanced=True)

    assert rows.tolist() == [1, 2]


@pytest.mark.parametrize("unknown", [np.nan, np.inf, -np.inf])
def test_a_row_without_a_difficulty_is_named(unknown: float) -> None:
    difficulty = np.array([0.0, 1.0, unknown, 2.0])

    with pytest.raises(ValueError, match=f"row 2 is {unknown}"):
        easiest(difficulty, np.zeros(4), share=1.0, balanced=True)


@pytest.mark.parametrize("balanced", [True, False])
def test_no_rows_are_refused(balanced: bool) -> None:
    with pytest.raises(ValueError, match="difficulty is empty"):
        easiest(np.array([]), np.array([]), share=0.5, balanced=balanced)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=f"share is {share}"):
        easiest(np.zeros(2), np.zeros(2), share=share, balanced=True)


def test_labels_of_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="3 labels for 2 difficulties"):
        easiest(np.zeros(2), np.zeros(3), share=0.5, balanced=False)
