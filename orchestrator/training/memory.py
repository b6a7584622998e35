"""What a fit does when memory runs out."""

from __future__ import annotations

import torch

from orchestrator.errors import TrainingError

_SAID = (
    "can't allocate memory",
    "not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What allocators and libraries say whose errors have no class of their own."""


class MemoryRanOutError(TrainingError):
    """Memory ran out in a way that this process cannot mend by itself.

    Args:
        message: a paragraph.
        at_once: utterances that a worker had heard at once.
    """

    def __init__(self, message: str, at_once: int) -> None:
        super().__init__(message, at_once)
        self.at_once = at_once

    def __str__(self) -> str:
        return str(self.args[0])


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocator, of a GPU or the CPU, had no more to give."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID)


def free_cached() -> None:
    """Give back what torch keeps of a GPU for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
