from __future__ import annotations

import torch

from models.outputs import length_mask


def test_mask_marks_the_real_places_of_each_row() -> None:
    mask = length_mask(torch.tensor([0, 2, 3]), 3)

    assert [[False] * 3, [True, True, False], [True] * 3] == mask.tolist()
