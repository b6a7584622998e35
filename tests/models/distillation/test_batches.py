from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.distillation.batches import class_balanced, cycled


def drawing(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dealt(
    rows: list[int], labels: list[int], *, size: int, batches: int, seed: int = 0
) -> list[list[int]]:
    dealing = class_balanced(
        torch.tensor(rows),
        torch.tensor(labels),
        size=size,
        batches=batches,
        generator=drawing(seed),
    )
    assert all(batch.dtype == torch.int64 for batch in dealing)
    return [batch.tolist() for batch in dealing]


def test_rows_come_shuffle_after_shuffle() -> None:
    drawn = cycled(torch.tensor([3, 5, 8]), 8, drawing()).tolist()

    assert sorted(drawn[:3]) == sorted(drawn[3:6]) == [3, 5, 8]
    assert len(set(drawn[6:])) == 2


def test_shuffles_are_fresh() -> None:
    drawn = cycled(torch.arange(20), 60, drawing()).view(3, 20).tolist()

    assert len({tuple(shuffle) for shuffle in drawn}) == 3


@given(st.integers(1, 9), st.integers(0, 40), st.integers(0, 99))
def test_no_row_comes_more_than_once_oftener_than_another(rows: int, count: int, seed: int) -> None:
    drawn = Counter(cycled(torch.arange(rows), count, drawing(seed)).tolist())

    assert drawn.total() == count
    assert {drawn[row] for row in range(rows)} <= {count // rows, -(-count // rows)}


def test_fewer_draws_than_rows_are_all_different() -> None:
    assert len(set(cycled(torch.arange(10), 4, drawing()).tolist())) == 4


def test_a_single_row_is_drawn_again_and_again() -> None:
    assert cycled(torch.tensor([7]), 3, drawing()).tolist() == [7, 7, 7]


def test_nothing_drawn_is_empty() -> None:
    drawn = cycled(torch.tensor([7]), 0, drawing())

    assert (drawn.tolist(), drawn.dtype) == ([], torch.int64)


def test_batches_have_equal_numbers_of_the_classes() -> None:
    # 2 rows of class 0, 4 of class 1; row 6 (of class 2) is not drawn from.
    batches = dealt([0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 1, 1, 2], size=4, batches=6)

    rows = Counter(row for batch in batches for row in batch)
    assert all(sum(row < 2 for row in batch) == 2 for batch in batches)
    # Twelve draws of each class: six of each 0, three of each 1.
    assert rows == {0: 6, 1: 6, 2: 3, 3: 3, 4: 3, 5: 3}


def test_places_left_over_go_round_the_classes() -> None:
    # Three classes in batches of four: each has the extra place in two of six batches.
    labels = [0, 0, 1, 1, 2, 2]
    batches = dealt([0, 1, 2, 3, 4, 5], labels, size=4, batches=6)

    twice = [Counter(labels[row] for row in batch).most_common(1)[0] for batch in batches]
    assert [count for _, count in twice] == [2] * 6
    assert Counter(label for label, _ in twice) == {0: 2, 1: 2, 2: 2}


def test_with_fewer_places_than_classes_they_take_turns() -> None:
    batches = dealt([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], size=2, batches=5)

    assert Counter(row for batch in batches for row in batch) == dict.fromkeys(range(5), 2)
    assert all(len(set(batch)) == 2 for batch in batches)


def test_who_goes_without_in_a_single_batch_is_drawn() -> None:
    left = {tuple(sorted(dealt([0, 1], [0, 1], size=1, batches=1, seed=s)[0])) for s in range(20)}

    assert left == {(0,), (1,)}


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=20),
    st.integers(1, 9),
    st.integers(1, 6),
    st.integers(0, 99),
)
def test_classes_and_their_rows_come_equally_often(
    labels: list[int], size: int, batches: int, seed: int
) -> None:
    def spread(counts: list[int]) -> int:
        return max(counts) - min(counts)

    found = dealt(list(range(len(labels))), labels, size=size, batches=batches, seed=seed)

    assert [len(batch) for batch in found] == [size] * batches
    classes = set(labels)
    for batch in [*found, sum(found, [])]:
        assert spread([sum(labels[row] == label for row in batch) for label in classes]) <= 1
    times = Counter(sum(found, []))
    for label in classes:
        assert spread([times[row] for row, own in enumerate(labels) if own == label]) <= 1


def test_one_class_is_dealt_as_it_is() -> None:
    batches = dealt([2, 4, 9], [7] * 10, size=3, batches=2)

    assert [sorted(batch) for batch in batches] == [[2, 4, 9], [2, 4, 9]]


def test_one_row_fills_every_batch() -> None:
    assert dealt([1], [0, 3], size=2, batches=2) == [[1, 1], [1, 1]]


def test_parts_of_a_batch_are_mixed_however_it_is_parted() -> None:
    # Workers take stretches of a batch or every so many rows of it.
    labels = [0] * 16 + [1] * 16
    batches = dealt(list(range(32)), labels, size=32, batches=8)

    parts = [part for batch in batches for part in (batch[:16], batch[::2])]
    assert all(0 < sum(labels[row] for row in part) < 16 for part in parts)


@pytest.mark.parametrize(
    "draw",
    [
        lambda seed: cycled(torch.arange(9), 20, drawing(seed)).tolist(),
        lambda seed: dealt(list(range(9)), [0, 1, 2] * 3, size=5, batches=4, seed=seed),
    ],
)
def test_the_generator_decides_everything(draw: Callable[[int], list[object]]) -> None:
    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


def test_nothing_to_draw_from_is_refused() -> None:
    nothing = torch.tensor([], dtype=torch.int64)

    with pytest.raises(ValueError, match="rows is empty"):
        cycled(nothing, 3, drawing())
    with pytest.raises(ValueError, match="rows is empty"):
        class_balanced(nothing, torch.tensor([0]), size=2, batches=1, generator=drawing())
