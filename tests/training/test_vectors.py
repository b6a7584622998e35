"""Arrays of one shape gathered by row, where they lie and as a whole elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import orchestrator.training.encoder_networks as networks_module
import orchestrator.training.vectors as vectors_module
from models.layer_mix import LayerMixHead
from orchestrator.training.data import PooledData
from orchestrator.training.encoder_networks import fit_statistics
from orchestrator.training.vectors import Vectors

VALUES = np.arange(24, dtype=np.float64).reshape(4, 2, 3)


def test_rows_are_gathered_as_float32() -> None:
    for values in (VALUES, list(VALUES)):
        vectors = Vectors(values)
        found = vectors[torch.tensor([3, 1, 3])]

        assert (len(vectors), vectors.shape) == (4, (4, 2, 3))
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found, VALUES[[3, 1, 3]])


def test_what_is_read_is_changed_and_what_lies_there_is_not(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VALUES.astype(np.float32))
    stored = np.load(tmp_path / "v.npy", mmap_mode="r")
    vectors = Vectors(stored, change=lambda batch: batch * 2.0)

    np.testing.assert_array_equal(vectors[torch.tensor([2])], 2.0 * VALUES[[2]])
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), VALUES)


def test_with_room_they_lie_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(vectors_module, "moves_whole", lambda size, **_: asked.append(size) or True)
    vectors = Vectors(VALUES, change=lambda batch: batch + 1.0)
    vectors.values = []

    # four of six numbers of four bytes
    assert asked == [96]
    np.testing.assert_array_equal(vectors[torch.tensor([1, 0])], VALUES[[1, 0]] + 1.0)


def test_batches_go_to_the_device() -> None:
    assert Vectors(VALUES, device="meta")[torch.tensor([0])].device.type == "meta"


@pytest.mark.parametrize("columns", [(1, 1), (1, 7), (5, 13), (7, 1024)])
@pytest.mark.parametrize("piece", [1, 3000, 1 << 25])
def test_statistics_by_columns_are_bitwise_those_of_all_at_once(
    monkeypatch: pytest.MonkeyPatch, columns: tuple[int, int], piece: int
) -> None:
    monkeypatch.setattr(networks_module, "PIECE_BYTES", piece)
    layers, width = columns
    draw = np.random.default_rng(0)
    pooled = draw.normal(3.0, 2.0, (150, layers, width)).astype(np.float32)
    pooled[:, 0, 0] = 7.0
    one, other = (LayerMixHead(layers=layers, width=width, classes=2) for _ in range(2))
    one.fit_statistics(torch.from_numpy(pooled))
    fit_statistics(other, PooledData(list(pooled)))

    assert torch.equal(one.mean, other.mean)
    assert torch.equal(one.deviation, other.deviation)
    assert other.deviation[0, 0] == 1.0
