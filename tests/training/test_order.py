"""Which utterances an epoch draws, and in which batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from orchestrator.experiment.recipe import Training
from orchestrator.training.order import Order, epoch_batches, extra_batches

LENGTHS = torch.arange(50) % 7


def counts(batches: Sequence[Tensor]) -> Counter[int]:
    return Counter(torch.cat(list(batches)).tolist())


def lists(batches: Sequence[Tensor]) -> list[list[int]]:
    return [rows.tolist() for rows in batches]


def order_of(*, labels: Sequence[int] = (), lengths: Tensor = LENGTHS, **options: object) -> Order:
    return Order(
        Training.model_validate({"batch_size": 8} | options), lengths, labels=labels, seed=3
    )


# Every utterance once


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=90),
    size=st.integers(1, 40),
    epoch=st.integers(1, 100),
)
def test_an_epoch_has_each_row_once_in_batches_of_the_size(
    lengths: list[int], size: int, epoch: int
) -> None:
    batches = epoch_batches(torch.tensor(lengths), size=size, seed=0, epoch=epoch)
    sizes = sorted(map(len, batches))

    assert sorted(torch.cat(batches).tolist()) == list(range(len(lengths)))
    # full but for one at most, which is what the number of updates is planned by
    assert sizes[1:] == [size] * (len(sizes) - 1)
    assert len(batches) == -(-len(lengths) // size)


def test_batches_hold_utterances_of_like_length() -> None:
    lengths = torch.randperm(64, generator=torch.Generator().manual_seed(0)) + 1
    batches = epoch_batches(lengths, size=8, seed=0, epoch=1)

    # eight batches are one pool, so they are the sorted lengths cut in eight
    ranges = sorted((int(lengths[rows].min()), int(lengths[rows].max())) for rows in batches)
    assert ranges == [(8 * n + 1, 8 * n + 8) for n in range(8)]


def test_the_order_is_of_seed_and_epoch_alone() -> None:
    lengths = torch.arange(50) % 7
    torch.manual_seed(1)
    one = epoch_batches(lengths, size=8, seed=0, epoch=3)
    torch.manual_seed(2)
    same = epoch_batches(lengths, size=8, seed=0, epoch=3)

    assert [rows.tolist() for rows in one] == [rows.tolist() for rows in same]
    for seed, epoch in ((1, 3), (0, 4)):
        other = epoch_batches(lengths, size=8, seed=seed, epoch=epoch)
        assert [rows.tolist() for rows in other] != [rows.tolist() for rows in one]


# A part of the utterances, or another number of updates


@settings(deadline=None, max_examples=60)
@given(
    total=st.integers(1, 90),
    part=st.integers(1, 90),
    size=st.integers(1, 40),
    epoch=st.integers(1, 100),
)
def test_a_part_is_drawn_again_and_again_in_as_many_batches_as_the_whole(
    total: int, part: int, size: int, epoch: int
) -> None:
    lengths = torch.arange(total) % 7 + 1
    rows = torch.randperm(total, generator=torch.Generator().manual_seed(epoch))[:part]
    batches = epoch_batches(lengths, size=size, seed=0, epoch=epoch, rows=rows)
    drawn = counts(batches)

    assert set(drawn) <= set(rows.tolist())
    # floor or ceil: nobody twice while another waits
    times = {drawn[row] for row in rows.tolist()}
    assert times <= {total // len(rows), -(-total // len(rows))}
    assert sum(drawn.values()) == total
    whole = epoch_batches(lengths, size=size, seed=0, epoch=epoch)
    assert sorted(map(len, batches)) == sorted(map(len, whole))


def test_a_part_is_sorted_by_length_too() -> None:
    lengths = torch.arange(64) + 1
    # eight rows, drawn eight times each: of one length in every batch
    batches = epoch_batches(lengths, size=8, seed=0, epoch=1, rows=torch.arange(0, 64, 8))

    assert sorted(set(rows.tolist()).pop() for rows in batches) == list(range(0, 64, 8))
    assert all(len(set(rows.tolist())) == 1 for rows in batches)


@pytest.mark.parametrize("updates", [1, 3, 6, 8, 30])
def test_an_epoch_has_as_many_updates_as_are_asked_for(updates: int) -> None:
    """Fifty utterances would make seven batches of eight."""
    batches = order_of(updates_per_epoch=updates).batches(1)
    drawn = counts(batches)

    assert [len(rows) for rows in batches] == [8] * updates
    assert {drawn[row] for row in range(50)} <= {updates * 8 // 50, -(-updates * 8 // 50)}


def test_asking_for_the_natural_number_of_updates_changes_nothing() -> None:
    natural, asked = order_of(), order_of(updates_per_epoch=7)

    assert natural.updates == asked.updates == 7
    assert lists(asked.batches(4)) == lists(natural.batches(4))
    assert lists(natural.batches(4)) == lists(epoch_batches(LENGTHS, size=8, seed=3, epoch=4))


def test_all_rows_named_one_by_one_are_all_rows() -> None:
    order = order_of()

    assert lists(order.batches(2, rows=torch.arange(50))) == lists(order.batches(2))


@pytest.mark.parametrize("utterances", [5, 50, 51, 400])
def test_other_speech_makes_as_many_updates(utterances: int) -> None:
    lengths = torch.arange(utterances) % 11
    batches = order_of().batches_of(lengths, 1)
    drawn = counts(batches)

    assert len(batches) == 7
    times = {drawn[row] for row in range(utterances)}
    assert max(times) - min(times) <= 1


# Class-balanced batches


LABELS = [0] * 40 + [1] * 8 + [2] * 2


def test_balanced_batches_have_equal_numbers_of_each_class() -> None:
    order = order_of(labels=LABELS, batches="class-balanced", batch_size=6)
    batches = order.batches(1)

    assert len(batches) == order.updates == 9
    for rows in batches:
        assert Counter(LABELS[row] for row in rows.tolist()) == {0: 2, 1: 2, 2: 2}
    drawn = counts(batches)
    assert drawn[48] == drawn[49] == 9
    # eighteen draws of eight
    assert {drawn[row] for row in range(40, 48)} == {2, 3}


def test_balanced_batches_of_a_part_draw_from_it_alone() -> None:
    order = order_of(labels=LABELS, batches="class-balanced", updates_per_epoch=5)
    rows = torch.tensor([0, 1, 2, 41])
    batches = order.batches(1, rows=rows)

    assert len(batches) == 5
    for batch in batches:
        assert Counter(LABELS[row] for row in batch.tolist()) == {0: 4, 1: 4}
        assert set(batch.tolist()) <= set(rows.tolist())


def test_balanced_batches_without_labels_are_a_mistake() -> None:
    with pytest.raises(AssertionError, match="labels are needed"):
        order_of(batches="class-balanced")


# From seed and epoch alone


@pytest.mark.parametrize("batches", ["shuffled", "class-balanced"])
@pytest.mark.parametrize("rows", [None, torch.arange(10, 49, 3)])
@pytest.mark.parametrize("updates", [None, 4])
def test_the_same_epoch_is_drawn_alike_and_another_is_not(
    batches: str, rows: Tensor | None, updates: int | None
) -> None:
    options = {"labels": LABELS, "batches": batches, "updates_per_epoch": updates}
    torch.manual_seed(1)
    one = lists(order_of(**options).batches(3, rows=rows))  # type: ignore[arg-type]
    torch.manual_seed(2)
    again = order_of(**options)  # type: ignore[arg-type]
    # whatever was drawn before
    again.batches(1)

    assert lists(again.batches(3, rows=rows)) == one
    assert lists(again.batches(4, rows=rows)) != one


# Speech beside the batches


@pytest.mark.parametrize(("utterances", "size", "updates"), [(5, 4, 7), (100, 4, 7), (28, 4, 7)])
def test_each_update_hears_as_much_beside_it(utterances: int, size: int, updates: int) -> None:
    batches = extra_batches(utterances, size=size, updates=updates, seed=0, epoch=1)
    drawn = counts(batches)

    assert [len(rows) for rows in batches] == [size] * updates
    times = {drawn[row] for row in range(utterances)}
    assert max(times) - min(times) <= 1
    assert max(drawn) < utterances


def test_the_speech_beside_is_of_seed_and_epoch_alone() -> None:
    def drawn(seed: int, epoch: int) -> list[list[int]]:
        return lists(extra_batches(50, size=4, updates=7, seed=seed, epoch=epoch))

    one = drawn(0, 1)
    torch.manual_seed(9)

    assert drawn(0, 1) == one
    assert drawn(0, 2) != one
    assert drawn(1, 1) != one
