"""What is put by on disk comes back in order, and a disk that is full says so."""

from __future__ import annotations

import errno
import tempfile
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import orchestrator.training.scratch as scratch_module
from orchestrator.errors import TrainingError
from orchestrator.training.scratch import Scratch, mapped_tensor


def put_by(array: Tensor) -> None:
    scratch = Scratch()
    scratch.put(0, array)
    scratch.in_order()


def test_arrays_come_back_in_the_utterances_order() -> None:
    scratch = Scratch()
    scratch.put(2, torch.tensor([[5.0, 6.0]]))
    scratch.put(0, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    scratch.put(1, torch.zeros(0, 2))
    found, lengths = scratch.in_order()

    assert found.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert lengths == [2, 0, 1]


def test_what_was_put_in_order_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **it: (opened.append(1), real(**it))[1])
    scratch = Scratch()
    for row in range(3):
        scratch.put(row, torch.full((1, 2), float(row)))

    assert scratch.in_order()[0][:, 0].tolist() == [0, 1, 2]
    assert len(opened) == 1


def test_nothing_and_arrays_of_nothing() -> None:
    assert Scratch().in_order()[1] == []
    scratch = Scratch()
    scratch.put(0, torch.zeros(0, 3))

    assert scratch.in_order()[0].shape == (0, 3)


def test_a_map_outlives_its_scratch_and_is_read_only() -> None:
    scratch = Scratch()
    scratch.put(0, torch.ones(2, 2))
    found, _ = scratch.in_order()
    del scratch

    assert found.sum() == 4.0
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0.0


@pytest.mark.filterwarnings("error")
def test_a_tensor_over_a_map_warns_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.ones(3, np.float32)
    array.flags.writeable = False

    assert mapped_tensor(array).tolist() == [1, 1, 1]


@pytest.mark.parametrize("where", ["opening", "writing", "at the end"])
def test_a_full_disk_names_the_folder(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    class Full:
        def write(self, data: Any) -> None:
            if where == "writing":
                raise OSError(errno.ENOSPC, "No space left on device")

        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(**_: Any) -> Full:
        if where == "opening":
            raise OSError(errno.ENOSPC, "No space left on device")
        return Full()

    monkeypatch.setattr(scratch_module.tempfile, "TemporaryFile", opened)
    with pytest.raises(TrainingError, match=rf"{tempfile.gettempdir()}.*No space.*TMPDIR"):
        put_by(torch.ones(2, 2))
