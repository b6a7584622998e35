"""Arrays of unequal length, mapped, resident and streamed, gathered by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import orchestrator.training.arrays as arrays_module
from orchestrator.training.arrays import (
    Arrays,
    MappedArrays,
    ResidentArrays,
    Steps,
    StreamedArrays,
    arrays_on,
)

VIEWS = [
    np.array([[1.0, 10.0]], np.float32),
    np.array([[2.0, 20.0], [4.0, 40.0], [6.0, 60.0]], np.float32),
    np.array([[3.0, 30.0], [5.0, 50.0]], np.float32),
]


def everywhere(**normal: Any) -> list[Arrays]:
    mapped = MappedArrays(VIEWS, shape=(2,), **normal)
    return [
        mapped,
        ResidentArrays(mapped, device="cpu"),
        StreamedArrays(mapped, device="cpu"),
    ]


def test_a_batch_is_0_beyond_each_ones_end() -> None:
    for arrays in everywhere():
        found = arrays.padded(torch.tensor([2, 0, 1]))

        assert arrays.lengths.tolist() == [1, 3, 2]
        assert found[0].tolist() == [[3, 30], [5, 50], [0, 0]]
        assert found[1].tolist() == [[1, 10], [0, 0], [0, 0]]
        assert found[2].tolist() == [[2, 20], [4, 40], [6, 60]]


def test_what_is_normalised_is_0_beyond_the_end_and_not_minus_the_mean() -> None:
    normal = {"mean": np.array([1, 0], np.float32), "std": np.array([2, 10], np.float32)}
    for arrays in everywhere(**normal):
        found = arrays.padded(torch.tensor([2, 1]))

        assert found[0].tolist() == [[1, 3], [2, 5], [0, 0]]
        assert found[1].tolist() == [[0.5, 2], [1.5, 4], [2.5, 6]]


def test_between_neighbours() -> None:
    low, high = torch.tensor([[0, 1], [1, 2]]), torch.tensor([[1, 1], [2, 2]])
    steps = Steps(low, high, torch.tensor([[0.25, 0.0], [0.5, 0.0]]))
    normal = {"mean": np.array([1, 0], np.float32), "std": np.array([1, 10], np.float32)}
    for arrays in everywhere(**normal):
        found = arrays.between(torch.tensor([2, 1]), steps)

        assert found[0].tolist() == [[2.5, 3.5], [4, 5]]
        assert found[1].tolist() == [[4, 5], [5, 6]]


def test_only_what_is_heard_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    arrays = MappedArrays(VIEWS, shape=(2,))
    real = arrays.read
    monkeypatch.setattr(arrays, "read", lambda view, out: (read.append(len(view)), real(view, out)))
    one = torch.tensor([[1, 1]])
    arrays.between(torch.tensor([1]), Steps(one, one + 1, torch.zeros(1, 2)))

    assert read == [2]


def test_half_precision_stays_as_it_is() -> None:
    halves = MappedArrays([np.ones((2, 3, 4), np.float16)], shape=(3, 4))
    for arrays in (halves, ResidentArrays(halves, device="cpu")):
        found = arrays.padded(torch.tensor([0, 0]))

        assert (found.dtype, found.shape) == (torch.float16, (2, 2, 3, 4))


@pytest.mark.parametrize("piece", [1, 8, 16, 24, 1 << 25])
def test_what_moves_whole_moves_piece_by_piece(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(arrays_module, "PIECE_BYTES", piece)
    resident = ResidentArrays(MappedArrays(VIEWS, shape=(2,)), device="cpu")

    assert torch.equal(resident.flat, torch.from_numpy(np.concatenate(VIEWS)))


def test_the_room_decides_where_arrays_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def room(size: int, *, device: str, share: float) -> bool:
        asked.append((size, device, share))
        return size <= 48

    monkeypatch.setattr(arrays_module, "moves_whole", room)
    mapped = MappedArrays(VIEWS, shape=(2,))
    more = MappedArrays([*VIEWS, VIEWS[0]], shape=(2,))

    assert isinstance(arrays_on(mapped, device="meta", share=0.5), ResidentArrays)
    assert isinstance(arrays_on(more, device="meta", share=0.5), StreamedArrays)
    # six frames, then seven, of two times four bytes
    assert asked == [(48, "meta", 0.5), (56, "meta", 0.5)]
    assert arrays_on(mapped, device="cpu", share=0.5) is mapped


def test_no_utterances() -> None:
    empty = MappedArrays([], shape=(2,))

    assert len(empty.lengths) == 0
    assert ResidentArrays(empty, device="cpu").flat.shape == (0, 2)
