"""Where data of a fold run lie: whole on a GPU within a declared share of it, else on the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from orchestrator.training.task import FoldTask

SHARE = 0.5
"""Of a GPU's memory, what data may fill where nobody says otherwise."""
PIECE_BYTES = 1 << 22
"""What is read at once of something that is gone through from end to end."""


def data_share(task: FoldTask) -> float:
    """Of a GPU's memory, what the data of a fold run may fill: a share of the worker's part."""
    # a worker that was given no part has the GPU for itself; its data lie on one GPU in any case
    return task.device_share * (min(1.0, task.gpus) or 1.0)


def within_share(size: int, *, share: float, filled: int, free: int, total: int) -> bool:
    """Whether ``size`` more bytes stay within ``share`` of a device's memory.

    Args:
        size: bytes that want to move there.
        share: of ``total``.
        filled: bytes that this process has there already.
        free: bytes that nobody has.
        total: bytes of the device.
    """
    return filled + size <= share * total and size <= free


def moves_whole(size: int, *, device: str, share: float) -> bool:
    """Whether data of ``size`` bytes move to ``device`` at once; on a CPU they stay mapped.

    Whatever this process has on the GPU by then counts (training data, validation, what a teacher
    said, the network too), so the data of a fold run share what is declared in the order in which
    they are opened, and what comes too late is streamed.
    """
    if torch.device(device).type != "cuda":
        return False
    free, total = torch.cuda.mem_get_info(device)
    filled = torch.cuda.memory_allocated(device)
    return within_share(size, share=share, filled=filled, free=free, total=total)


def moved(tensor: Tensor, device: str) -> Tensor:
    """``tensor`` on ``device``; a GPU need not have finished what it was told before."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def pieces(count: int, *, each: int) -> Iterator[slice]:
    """Stretches of ``count`` items of ``each`` bytes, of at most ``PIECE_BYTES`` or one item."""
    step = max(1, PIECE_BYTES // max(1, each))
    for begin in range(0, count, step):
        yield slice(begin, min(count, begin + step))
