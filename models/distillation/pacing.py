"""Which share of the training utterances, easiest first, an epoch draws from.

``time`` is the share of the stage's epochs that are done before the epoch, from 0 to below 1;
``grow`` and ``step`` are shares of the epochs too. All shares lie between ``start`` and 1.
"""

from __future__ import annotations

import math


def share_linear(time: float, *, start: float, grow: float) -> float:
    """Grows by the same amount each epoch, from ``start`` at 0 to 1 at ``grow``.

    >>> share_linear(0.25, start=0.5, grow=0.5)
    0.75
    """
    return share_root(time, start=start, grow=grow, power=1.0)


def share_root(time: float, *, start: float, grow: float, power: float) -> float:
    """Its power grows evenly, from ``start`` at 0 to 1 at ``grow``: fast at first, then slower.

    Args:
        time: share of the epochs done.
        start: first share.
        grow: share of the epochs after which all are drawn.
        power: at least 1; 1 is linear, 2 the square root, 3 the cube root.
    """
    least = start**power
    share: float = (least + (1.0 - least) * _progress(time, grow)) ** (1.0 / power)
    # a large power of the first share is lost to rounding
    return min(max(share, start), 1.0)


def share_geometric(time: float, *, start: float, grow: float) -> float:
    """Its logarithm grows evenly, from ``start`` at 0 to 1 at ``grow``: slow at first, then faster.

    >>> share_geometric(0.25, start=0.25, grow=0.5)
    0.5
    """
    return float(start ** (1.0 - _progress(time, grow)))


def share_exponential(time: float, *, start: float, increase: float, step: float) -> float:
    """Multiplied by ``increase`` after each ``step`` (Hacohen & Weinshall 2019, fixed exponential).

    >>> [share_exponential(time, start=0.25, increase=2.0, step=0.1) for time in (0.05, 0.1, 0.3)]
    [0.25, 0.5, 1.0]
    """
    steps = _steps(time, step)
    # compared first, since a power of many steps overflows
    if steps * math.log(increase) >= -math.log(start):
        return 1.0
    return min(start * increase**steps, 1.0)


def share_baby_steps(time: float, *, start: float, increase: float, step: float) -> float:
    """``increase`` is added after each ``step``, and once at time 0.

    >>> [share_baby_steps(time, start=0.25, increase=0.25, step=0.5) for time in (0.0, 0.5)]
    [0.5, 0.75]
    """
    return min(start + increase * (_steps(time, step) + 1), 1.0)


def share_one_step(time: float, *, start: float, step: float) -> float:
    """``start`` until ``step`` and 1 from there on (Hacohen & Weinshall 2019, single step)."""
    return start if _steps(time, step) == 0 else 1.0


def _progress(time: float, grow: float) -> float:
    return min(time / grow, 1.0)


def _steps(time: float, step: float) -> int:
    """Whole steps in a time; one that is missed by rounding counts (0.3 / 0.1 is below 3)."""
    return math.floor(time / step + 1e-9)
