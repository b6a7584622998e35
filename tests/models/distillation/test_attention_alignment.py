from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.distillation.attention_alignment import aligned, time_weights


def centres(count: int) -> torch.Tensor:
    """Tokens that share the utterance evenly among themselves."""
    return (torch.arange(count) + 0.5)[None] / count


def weights_of(source: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    return time_weights(
        source,
        torch.tensor([source.shape[1]]),
        student,
        torch.tensor([student.shape[1]]),
    )[0]


def drawn_maps(batch: int, heads: int, lengths: list[int], *, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = max(lengths)
    maps = torch.zeros(batch, heads, size, size, dtype=torch.float64)
    for index, length in enumerate(lengths):
        scores = torch.randn(heads, length, length, generator=generator, dtype=torch.float64)
        maps[index, :, :length, :length] = scores.softmax(-1)
    return maps


@pytest.mark.parametrize("count", [1, 2, 3, 7, 251, 1999])
def test_equal_places_are_the_identity_exactly(count: int) -> None:
    torch.testing.assert_close(
        torch.eye(count), weights_of(centres(count), centres(count)), rtol=0, atol=0
    )


def test_equal_places_by_another_way_of_computing_them_are_the_identity_too() -> None:
    frames = 4 * 997 + 1
    places = ((torch.arange(998) * 4 + 0.5) / frames)[None]
    in_double = ((torch.arange(998, dtype=torch.float64) * 0.04 + 0.005) / (frames * 0.01))[None]

    assert torch.equal(torch.eye(998), weights_of(places, in_double.float()))


def test_finer_student_reads_between_tokens() -> None:
    # tokens at 1/4 and 3/4, read at 1/8, 3/8, 5/8 and 7/8
    expected = torch.tensor([[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]])

    torch.testing.assert_close(expected, weights_of(centres(2), centres(4)))


def test_coarser_student_averages_without_skipping_tokens() -> None:
    # Read halfway between the first two of four, with a triangle that reaches two tokens far:
    # 3/4, 3/4, 1/4 and nothing, over their sum of 7/4.
    expected = torch.tensor([[3.0, 3.0, 1.0, 0.0], [0.0, 1.0, 3.0, 3.0]]) / 7

    torch.testing.assert_close(expected, weights_of(centres(4), centres(2)))


@pytest.mark.parametrize("count", [5, 8, 30, 31])
def test_no_token_goes_unheard_by_a_coarser_student(count: int) -> None:
    weights = weights_of(centres(31), centres(count))

    assert (weights.sum(dim=0) > 0).all()
    torch.testing.assert_close(torch.ones(count), weights.sum(dim=1))


@pytest.mark.parametrize("start", range(0, 150, 7))
def test_student_that_hears_a_crop_reads_the_tokens_of_that_crop(start: int) -> None:
    weights = weights_of(centres(200), centres(200)[:, start : start + 50])

    assert torch.equal(torch.eye(200)[start : start + 50], weights)


def test_place_a_little_beside_a_token_hears_a_little_of_its_neighbour() -> None:
    weights = weights_of(centres(10), centres(10)[:, :5] + 0.005)

    expected = 0.95 * torch.eye(10)[:5] + 0.05 * torch.eye(10)[1:6]
    torch.testing.assert_close(expected, weights, rtol=0, atol=1e-5)


def test_crop_at_another_rate_by_hand() -> None:
    # Ten tokens a second apart from 0.5 s on; the student's, half a second apart, from 4.25 s on.
    positions = torch.tensor([[4.25, 4.75, 5.25]]) / 10

    weights = weights_of(centres(10), positions)

    expected = torch.zeros(3, 10)
    expected[0, 3:5] = torch.tensor([0.25, 0.75])
    expected[1, 4:6] = torch.tensor([0.75, 0.25])
    expected[2, 4:6] = torch.tensor([0.25, 0.75])
    torch.testing.assert_close(expected, weights, rtol=0, atol=1e-5)


def test_places_outside_of_the_source_count_as_its_ends() -> None:
    weights = weights_of(torch.tensor([[0.4, 0.5, 0.6]]), torch.tensor([[0.1, 0.2, 0.3, 0.9]]))

    # the student's spacing is 0.8 / 3, or 8/3 tokens, so it averages
    left = torch.tensor([1.0, 5 / 8, 2 / 8])
    assert torch.allclose(left / left.sum(), weights[:3])
    assert torch.allclose(left.flip(0) / left.sum(), weights[3])


def test_single_token_of_the_source_counts_for_everything() -> None:
    assert torch.equal(torch.ones(3, 1), weights_of(torch.tensor([[0.5]]), centres(3)))


def test_single_token_of_the_student_reads_where_it_is() -> None:
    weights = weights_of(centres(4), torch.tensor([[0.5]]))

    assert torch.allclose(torch.tensor([[0.0, 0.5, 0.5, 0.0]]), weights)


def test_padding_of_either_side_is_not_read_and_gets_no_weight() -> None:
    source = torch.full((3, 6), math.nan)
    student = torch.full((3, 7), math.nan)
    sizes = [(6, 7), (4, 2), (1, 5)]
    for row, (many, few) in enumerate(sizes):
        source[row, :many], student[row, :few] = centres(many)[0], centres(few)[0]
    source_lengths, lengths = torch.tensor(sizes).T

    weights = time_weights(source, source_lengths, student, lengths)

    for row, (many, few) in enumerate(sizes):
        alone = weights_of(source[row : row + 1, :many], student[row : row + 1, :few])
        expected = torch.zeros(7, 6)
        expected[:few, :many] = alone
        torch.testing.assert_close(expected, weights[row], rtol=0, atol=1e-6)


def test_positions_in_double_precision_give_weights_in_it() -> None:
    weights = weights_of(centres(5).double(), centres(3).double())

    assert weights.dtype == torch.float64


def test_maps_are_read_at_rows_and_columns_and_rows_sum_to_one_again() -> None:
    lengths, few = [6, 4, 1], [3, 8, 2]
    maps = drawn_maps(3, 2, lengths)
    source = torch.cat([(torch.arange(6)[None] + 0.5) / length for length in lengths])
    student = torch.cat([(torch.arange(8)[None] + 0.5) / length for length in few])
    weights = time_weights(source, torch.tensor(lengths), student, torch.tensor(few)).double()

    found = aligned(maps, weights)

    assert found.shape == (3, 2, 8, 8)
    moved = np.einsum("bij,bhjk,blk->bhil", weights.numpy(), maps.numpy(), weights.numpy())
    for row, count in enumerate(few):
        real = moved[row, :, :count, :count]
        expected = np.zeros((2, 8, 8))
        expected[:, :count, :count] = real / real.sum(-1, keepdims=True)
        np.testing.assert_allclose(expected, found[row].numpy(), rtol=0, atol=1e-12)
        np.testing.assert_allclose(1.0, found[row, :, :count].sum(-1).numpy(), rtol=0, atol=1e-12)


def test_identity_leaves_maps_as_they_are() -> None:
    maps = drawn_maps(1, 3, [9])

    torch.testing.assert_close(maps, aligned(maps, torch.eye(9)[None]), rtol=0, atol=1e-15)


def test_crop_divides_what_each_row_pays_within_it() -> None:
    maps = torch.tensor([[[[0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.8, 0.05, 0.15]]]])

    found = aligned(maps, torch.eye(3)[None, 1:])

    torch.testing.assert_close(torch.tensor([[[[0.75, 0.25], [0.25, 0.75]]]]), found)


def test_row_that_pays_the_crop_nothing_is_zero() -> None:
    maps = torch.tensor([[[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.0, 0.5]]]])

    found = aligned(maps, torch.eye(3)[None, 1:])

    assert found.tolist() == [[[[0.0, 0.0], [0.0, 1.0]]]]


def test_autocast_changes_nothing() -> None:
    maps = drawn_maps(1, 2, [12]).float()
    weights = weights_of(centres(12), centres(7))[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = aligned(maps, weights)

    assert torch.equal(aligned(maps, weights), found)
