"""A fold run's global state is its own: nothing comes in, nothing is left behind."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from orchestrator.training.state import (
    derived_seed,
    fold_run_state,
    rng_states,
    set_rng_states,
)


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def drawn() -> tuple[float, float, float]:
    """The next number of each global generator."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def seeded(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_generators_go_on_as_if_nothing_had_happened(fails: bool) -> None:
    seeded(5)
    expected = [drawn(), drawn()]
    seeded(5)
    found = [drawn()]
    try:
        with fold_run_state(seed=0, threads=1):
            drawn()
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass
    found.append(drawn())

    assert found == expected


@pytest.mark.parametrize("deterministic", [(False, False), (True, True), (True, False)])
def test_threads_and_determinism_are_set_and_come_back(deterministic: tuple[bool, bool]) -> None:
    enabled, warn_only = deterministic
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
    with fold_run_state(seed=0, threads=1):
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()

    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled() == enabled
    assert torch.is_deterministic_algorithms_warn_only_enabled() == warn_only


def test_inside_everything_is_drawn_from_the_seed() -> None:
    seeded(1)
    with fold_run_state(seed=7, threads=1):
        one = drawn()
    seeded(2)
    with fold_run_state(seed=7, threads=1):
        same = drawn()
    with fold_run_state(seed=8, threads=1):
        other = drawn()

    assert one == same
    assert set(one).isdisjoint(other)


def test_a_seed_beyond_numpys_range_is_folded_into_it() -> None:
    with fold_run_state(seed=2**40 + 3, threads=1):
        assert drawn()


def test_derived_seeds_are_the_same_in_every_process() -> None:
    """A keyless digest of the parts' text, of which the sign bit is left out."""
    digest = hashlib.blake2b(b"('order', 0, 1)", digest_size=8).hexdigest()

    assert derived_seed("order", 0, 1) == int(digest, 16) // 2


def test_derived_seeds_differ_where_their_parts_do() -> None:
    seeds = [derived_seed(*parts) for parts in (("a", 1), ("a", "1"), ("a1",), ("b", 1), ("a", 2))]

    assert len(set(seeds)) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_generators_state_goes_out_and_comes_back() -> None:
    torch.manual_seed(1)
    states = {name: value.clone() for name, value in rng_states().items()}
    expected = torch.rand(3)
    set_rng_states(states | {"cuda99": states["cpu"]})

    assert torch.equal(torch.rand(3), expected)
