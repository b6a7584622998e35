from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.windows import window_starts


def test_windows_by_hand() -> None:
    starts, counts = window_starts(torch.tensor([25, 10, 3, 11, 20]), window=10)

    assert counts.tolist() == [3, 1, 1, 2, 2]
    # 25 frames leave 15 to spread over two steps
    assert starts.tolist() == [[0, 7, 15], [0, 0, 0], [0, 0, 0], [0, 1, 1], [0, 10, 10]]


@pytest.mark.parametrize("window", [1, 2, 7, 30])
def test_windows_cover_every_frame_evenly_and_none_is_too_many(window: int) -> None:
    for length in range(1, 100):
        starts, counts = window_starts(torch.tensor([length]), window=window)
        begins = starts[0, : int(counts)].tolist()
        steps = np.diff(begins)

        covered = {frame for begin in begins for frame in range(begin, begin + window)}
        assert set(range(length)) <= covered
        assert begins[0] == 0
        assert length <= window or begins[-1] + window == length
        assert len(begins) == math.ceil(length / window)
        assert steps.size == 0 or steps.max() - steps.min() <= 1
