"""Where the windows of a long utterance lie."""

from __future__ import annotations

import torch
from torch import Tensor


def window_starts(lengths: Tensor, *, window: int) -> tuple[Tensor, Tensor]:
    """Lay the fewest windows over each utterance, evenly spaced from its start to its end.

    An utterance no longer than ``window`` has one, from its start.

    Args:
        lengths: (batch,) int, real frames of each utterance, at least 1.
        window: frames of a window.

    Returns:
        The frame at which each window starts, (batch, most windows) int, past an utterance's last
        window that of the last; and the number of windows of each, (batch,) int.

    >>> [part.tolist() for part in window_starts(torch.tensor([4, 25]), window=10)]
    [[[0, 0, 0], [0, 7, 15]], [1, 3]]
    """
    counts = (lengths + window - 1) // window
    last = (counts - 1)[:, None]
    places = torch.arange(int(counts.max()), device=lengths.device).minimum(last)
    room = (lengths - window).clamp_min(0)[:, None]
    return places * room // last.clamp_min(1), counts
