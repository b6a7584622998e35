from __future__ import annotations

import torch

from models.macs import count_parameters, multiply_accumulates
from models.vertical_vit import VerticalVit
from tests.models.networks import vit


def test_frozen_numbers_are_not_counted() -> None:
    layer = torch.nn.Linear(3, 2)
    layer.bias.requires_grad_(False)

    assert count_parameters(layer) == 6


def test_paper_student_by_hand() -> None:
    net = VerticalVit(bins=128, classes=7, dim=256, depth=3, heads=5, head_dim=64, mlp_dim=256)
    tokens = 129
    block = tokens * (256 * 960 + 320 * 256 + 2 * 256 * 256) + 2 * tokens * tokens * 320

    expected = 128 * 128 * 256 + 3 * block + 256 * 7
    assert multiply_accumulates(net, frames=128, width=128) == expected


def test_counting_keeps_the_mode() -> None:
    net = vit(dropout=0.5).train()

    multiply_accumulates(net, frames=8, width=12)

    assert net.training
