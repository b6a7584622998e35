from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.distillation.pacing import (
    share_baby_steps,
    share_exponential,
    share_geometric,
    share_linear,
    share_one_step,
    share_root,
)

GROWING = {
    "linear": share_linear,
    "square root": partial(share_root, power=2.0),
    "cube root": partial(share_root, power=3.0),
    "geometric": share_geometric,
}


@pytest.mark.parametrize("share", GROWING.values(), ids=GROWING.keys())
def test_growing_share_begins_at_start_and_is_all_from_grow_on(
    share: Callable[..., float],
) -> None:
    paced = partial(share, start=0.2, grow=0.5)

    assert paced(0.0) == pytest.approx(0.2, abs=1e-15)
    assert 0.999 < paced(0.4999) < 1.0
    assert [paced(time) for time in (0.5, 0.6, 0.99)] == [1.0] * 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear", 0.28),  # 0.2 + 0.8 / 10
        ("square root", math.sqrt(0.136)),  # 0.04 + 0.96 / 10
        ("cube root", math.cbrt(0.1072)),  # 0.008 + 0.992 / 10
        ("geometric", 0.2**0.9),
    ],
)
def test_share_after_a_tenth_of_the_growth(name: str, expected: float) -> None:
    assert GROWING[name](0.05, start=0.2, grow=0.5) == pytest.approx(expected, rel=1e-12)


@given(st.floats(0, 1), st.floats(0.01, 1), st.floats(0.01, 1))
def test_root_of_power_one_is_linear(time: float, start: float, grow: float) -> None:
    line = min(start + (1 - start) * time / grow, 1.0)

    assert share_root(time, start=start, grow=grow, power=1.0) == pytest.approx(line)
    assert share_linear(time, start=start, grow=grow) == pytest.approx(line)


def test_a_power_too_large_for_its_start_still_begins_there() -> None:
    # 0.1 to the power 500 is 0 in floating point.
    assert share_root(0.0, start=0.1, grow=0.5, power=500.0) == 0.1


def test_roots_are_ahead_of_linear_and_geometric_behind() -> None:
    order = ["geometric", "linear", "square root", "cube root"]

    shares = [GROWING[name](0.2, start=0.1, grow=0.8) for name in order]

    assert shares == sorted(shares)
    assert len(set(shares)) == 4


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 0.1), (1, 0.1), (2, 0.2), (3, 0.2), (4, 0.4), (6, 0.8), (8, 1.0)]
)
def test_exponential_multiplies_after_each_step(epoch: int, expected: float) -> None:
    share = share_exponential(epoch / 20, start=0.1, increase=2.0, step=0.1)

    assert share == pytest.approx(expected, rel=1e-12)


def test_exponential_that_reaches_one_exactly_is_one() -> None:
    times = (0.15, 0.2, 0.9)

    shares = [share_exponential(time, start=0.25, increase=2.0, step=0.1) for time in times]

    assert shares == [0.5, 1.0, 1.0]


def test_exponential_of_very_many_steps_does_not_overflow() -> None:
    assert share_exponential(0.999, start=1e-3, increase=1.9, step=1e-6) == 1.0


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 0.3), (1, 0.3), (2, 0.5), (4, 0.7), (7, 0.9), (8, 1.0), (19, 1.0)]
)
def test_baby_steps_begin_with_their_first_step(epoch: int, expected: float) -> None:
    share = share_baby_steps(epoch / 20, start=0.1, increase=0.2, step=0.1)

    assert share == pytest.approx(expected, rel=1e-12)


def test_one_step_is_all_from_its_step_on() -> None:
    times = (0.0, 0.2999, 0.3, 0.9)

    shares = [share_one_step(time, start=0.4, step=0.3) for time in times]

    assert shares == [0.4, 0.4, 1.0, 1.0]


def test_one_step_of_all_epochs_never_comes() -> None:
    assert share_one_step(0.99, start=0.4, step=1.0) == 0.4


@pytest.mark.parametrize("epochs", [10, 20, 30, 50, 70, 100])
def test_every_whole_step_counts_whatever_floating_point_makes_of_it(epochs: int) -> None:
    # 0.3 / 0.1 is 2.9999999999999996, and 0.7 / 0.1 is 6.999999999999999.
    each = epochs // 10
    steps = [epoch // each for epoch in range(epochs)]
    times = [epoch / epochs for epoch in range(epochs)]

    baby = [share_baby_steps(time, start=0.01, increase=0.05, step=0.1) for time in times]
    power = [share_exponential(time, start=0.01, increase=1.5, step=0.1) for time in times]
    once = [share_one_step(time, start=0.5, step=0.3) for time in times]

    assert baby == pytest.approx([0.01 + 0.05 * (step + 1) for step in steps])
    assert power == pytest.approx([0.01 * 1.5**step for step in steps])
    assert once == [0.5 if step < 3 else 1.0 for step in steps]


STEPPING = {
    "exponential": partial(share_exponential, increase=1.9),
    "baby steps": partial(share_baby_steps, increase=0.2),
    "one step": share_one_step,
}


@pytest.mark.parametrize("name", GROWING.keys())
@given(st.floats(1e-3, 1), st.floats(1e-3, 1), st.lists(st.floats(0, 1), min_size=2))
def test_a_growing_share_never_falls_nor_leaves_its_bounds(
    name: str, start: float, grow: float, times: list[float]
) -> None:
    shares = [GROWING[name](time, start=start, grow=grow) for time in sorted(times)]

    assert all(start - 1e-12 <= share <= 1.0 for share in shares)
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(shares))


@pytest.mark.parametrize("name", STEPPING.keys())
@given(st.floats(1e-3, 1), st.floats(1e-3, 1), st.lists(st.floats(0, 1), min_size=2))
def test_a_stepping_share_never_falls_nor_leaves_its_bounds(
    name: str, start: float, step: float, times: list[float]
) -> None:
    shares = [STEPPING[name](time, start=start, step=step) for time in sorted(times)]

    assert all(start <= share <= 1.0 for share in shares)
    assert all(later >= earlier for earlier, later in pairwise(shares))


@pytest.mark.parametrize("time", [0.0, 0.3, 0.99])
def test_a_start_of_all_is_all_throughout(time: float) -> None:
    growing = [share(time, start=1.0, grow=0.5) for share in GROWING.values()]
    stepping = [share(time, start=1.0, step=0.5) for share in STEPPING.values()]

    assert growing + stepping == [1.0] * 7
