from __future__ import annotations

import torch
from torch.nn import functional as F

from models.masked import MaskedInstanceNorm


def test_without_padding_equals_torch_instance_norm() -> None:
    planes = torch.randn(2, 3, 7, 5) * 4 + 2
    mask = torch.ones(2, 7, dtype=torch.bool)

    torch.testing.assert_close(
        F.instance_norm(planes), MaskedInstanceNorm()(planes, mask), rtol=1e-5, atol=1e-5
    )


def test_padded_frames_take_no_part_and_leave_as_zeros() -> None:
    planes = torch.randn(1, 2, 6, 4)
    planes[:, :, 4:] = 1000.0
    mask = torch.tensor([[True] * 4 + [False] * 2])

    normed = MaskedInstanceNorm()(planes, mask)

    torch.testing.assert_close(F.instance_norm(planes[:, :, :4]), normed[:, :, :4])
    assert not normed[:, :, 4:].any()


def test_values_by_hand() -> None:
    planes = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])  # mean 4, variance (9 + 1 + 1 + 9) / 4 = 5

    normed = MaskedInstanceNorm()(planes, torch.ones(1, 2, dtype=torch.bool))

    expected = torch.tensor([[[[-3.0, -1.0], [1.0, 3.0]]]]) / 5**0.5
    torch.testing.assert_close(expected, normed, rtol=1e-5, atol=1e-5)
