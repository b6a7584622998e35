"""Global state of torch during a fold run: seeds, threads, determinism. Set here, restored here."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


@contextmanager
def fold_run_state(
    *, seed: int, threads: int, deterministic: bool = True, gpus: float = 0.0
) -> Iterator[None]:
    """Seeded, deterministic torch with ``threads`` threads; the caller's state comes back after.

    The same inputs then give the same numbers wherever and beside whatever the fold run executes
    (law 5): nothing is drawn from a generator that someone else has advanced.

    Args:
        seed: of all generators.
        threads: of torch.
        deterministic: False lets a GPU use faster kernels whose sums come in any order; on a CPU
            there are none.
        gpus: below 1, the part of a GPU's memory that this process keeps to.
    """
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    torch_state = torch.get_rng_state()
    cuda_state = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    before_threads = torch.get_num_threads()
    before_deterministic = torch.are_deterministic_algorithms_enabled()
    before_warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    before_fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    before_search = torch.backends.cudnn.benchmark
    if deterministic:
        # read when a process first uses a GPU
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        # it guards against reading what nobody wrote, at the cost of writing everything twice
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = not deterministic
        if 0.0 < gpus < 1.0 and torch.cuda.is_available():
            torch.cuda.set_per_process_memory_fraction(gpus)
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        if cuda_state:
            torch.cuda.set_rng_state_all(cuda_state)
            torch.cuda.set_per_process_memory_fraction(1.0)
            torch.cuda.empty_cache()
        torch.set_num_threads(before_threads)
        torch.use_deterministic_algorithms(before_deterministic, warn_only=before_warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = before_fill  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = before_search


def rng_states() -> dict[str, Tensor]:
    """The states of torch's generators by device: what dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        for number, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"cuda{number}"] = state
    return states


def set_rng_states(states: Mapping[str, Tensor]) -> None:
    """Take back what :func:`rng_states` gave; a GPU that is not there is left out."""
    torch.set_rng_state(states["cpu"])
    for number in range(torch.cuda.device_count()):
        if f"cuda{number}" in states:
            torch.cuda.set_rng_state(states[f"cuda{number}"], number)


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed from its parts, the same in every process (``hash()`` is not)."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
