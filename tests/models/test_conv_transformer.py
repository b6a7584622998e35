from __future__ import annotations

from typing import Any

import pytest
import torch

from models.conv_transformer import ConvTransformer
from models.macs import count_parameters, multiply_accumulates
from tests.models.networks import assert_padding_never_matters, conv_transformer


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"channels": 2, "bins": 6},
        {"widths": (6,)},
        {"depth": 0},
        {"bins": 12, "widths": (8, 8)},
    ],
)
def test_padding_never_changes_an_output(changes: dict[str, Any]) -> None:
    torch.manual_seed(0)

    assert_padding_never_matters(conv_transformer(**changes), width=12)


def test_a_token_stands_on_every_fourth_frame() -> None:
    output = conv_transformer()(torch.randn(2, 9, 12), torch.tensor([9, 8]))

    assert output.tokens.shape == (2, 3, 16)
    assert output.token_lengths.tolist() == [3, 2]
    # Frames 0, 4 and 8, each centred half a frame after it begins.
    torch.testing.assert_close(torch.tensor([0.5, 4.5, 8.5]) / 9, output.positions[0])


def test_order_of_frames_matters() -> None:
    torch.manual_seed(0)
    net, frames = conv_transformer(), torch.randn(1, 40, 12)
    lengths = torch.tensor([40])

    difference = net(frames, lengths).logits - net(frames.flip(1), lengths).logits

    assert difference.abs().max() > 1e-3


def test_recipe_sized_student_is_within_its_budget() -> None:
    student = ConvTransformer(
        bins=64, classes=7, widths=(16, 48, 96), dim=96, depth=2, heads=4, mlp_dim=192
    )

    assert count_parameters(student) < 1_000_000
    assert multiply_accumulates(student, frames=280, width=64) < 25_000_000


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="heads 3 does not divide dim 16"):
        conv_transformer(heads=3)


def test_no_convolution_block_is_refused() -> None:
    with pytest.raises(ValueError, match="widths is empty"):
        conv_transformer(widths=())
