"""What moves to a GPU whole, and what is streamed to it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import orchestrator.training.arrays as arrays_module
from orchestrator.features import PackedFrames
from orchestrator.store import Store
from orchestrator.training import residency
from orchestrator.training.inputs import FrameSource
from orchestrator.training.residency import data_share, moved, moves_whole, pieces, within_share
from tests.training.tiny import Home

GIB = 2**30


@pytest.mark.parametrize(
    ("size", "filled", "free", "fits"),
    [
        (4, 0, 10, True),
        (5, 0, 10, True),
        (6, 0, 10, False),  # half of ten are five
        (3, 2, 8, True),
        (3, 3, 7, False),  # what came before counts
        (3, 0, 2, False),  # others have the rest
        (0, 5, 0, True),
    ],
)
def test_data_fill_no_more_than_their_share_and_what_is_free(
    size: int, filled: int, free: int, fits: bool
) -> None:
    assert within_share(size, share=0.5, filled=filled, free=free, total=10) == fits


def test_a_gpu_is_asked_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    filled = [0]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (12 * GIB, 16 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: filled[0])

    assert moves_whole(4 * GIB, device="cuda", share=0.25)
    assert not moves_whole(4 * GIB + 1, device="cuda", share=0.25)
    filled[0] = 1
    assert not moves_whole(4 * GIB, device="cuda", share=0.25)


def test_on_a_cpu_nothing_moves() -> None:
    assert not moves_whole(0, device="cpu", share=1.0)


@pytest.mark.parametrize(
    ("gpus", "share"), [(0.25, 0.125), (0.5, 0.25), (1.0, 0.5), (2.0, 0.5), (0.0, 0.5)]
)
def test_the_share_is_of_the_workers_part_of_one_gpu(home: Home, gpus: float, share: float) -> None:
    task = dataclasses.replace(home.task(), gpus=gpus, device_share=0.5)

    assert data_share(task) == share


def test_the_frames_of_a_fold_run_keep_to_its_share(
    home: Home, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def room(size: int, *, device: str, share: float) -> bool:
        asked.append((size, device, share))
        return True

    monkeypatch.setattr(arrays_module, "moves_whole", room)
    task = dataclasses.replace(home.task(), device="meta", gpus=0.5, device_share=0.5)
    pack = PackedFrames.open(store, task.frames)
    FrameSource(task, pack, task.train).data(task.validation)
    frames = sum(pack.length(name) for name in task.validation.ids)

    assert asked == [(frames * pack.width * 4, "meta", 0.25)]


def test_pieces_are_of_so_many_bytes_and_leave_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency, "PIECE_BYTES", 10)

    assert list(pieces(5, each=4)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert list(pieces(2, each=11)) == [slice(0, 1), slice(1, 2)]
    assert list(pieces(3, each=0)) == [slice(0, 3)]
    assert list(pieces(0, each=4)) == []


def test_what_is_there_already_is_not_copied() -> None:
    tensor = torch.zeros(3)

    assert moved(tensor, "cpu") is tensor
    assert moved(tensor, "meta").device.type == "meta"


def test_what_lies_on_the_device_already_is_not_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what lies on the host can be pinned."""
    there = torch.empty(2, device="meta")
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: 1 / 0)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *where, **how: tensor)

    assert moved(there, "cuda") is there
