from __future__ import annotations

from typing import Any

import pytest
import torch

from models.macs import count_parameters
from models.vertical_vit import VerticalVit, coordinates
from tests.models.networks import assert_padding_never_matters, vit

PAPER: dict[str, Any] = {
    "bins": 128,
    "classes": 7,
    "dim": 256,
    "heads": 5,
    "head_dim": 64,
    "mlp_dim": 256,
}


def test_student_has_the_paper_models_parameters() -> None:
    # Patch 128: norms 2 * 128 and 2 * 256, linear 128 * 256 + 256, CLS 256; three blocks of norms
    # 4 * 256, qkv 256 * 960, out 320 * 256 + 256, two of 256 * 256 + 256; norm 512, head 1799.
    assert count_parameters(VerticalVit(**PAPER, depth=3)) == 1_417_991


def test_teacher_with_stem_and_coordinates_has_the_paper_models_parameters() -> None:
    teacher = VerticalVit(**PAPER, depth=6, conv_stem=True, coordinates=True)

    assert teacher.stem is not None
    assert count_parameters(teacher.stem) == 46_529
    assert count_parameters(teacher) == 2_912_200


def test_coordinates_by_hand_of_a_non_square_input() -> None:
    planes = coordinates(torch.tensor([5, 3]), frames=5, bins=2)

    assert planes.shape == (2, 2, 5, 2)
    assert planes[0, 0, :, 0].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert planes[0, 0, :, 1].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    # The shorter utterance runs from -1 to 1 as well; its padding is zero in both planes.
    assert planes[1, 0, :, 0].tolist() == [-1.0, 0.0, 1.0, 0.0, 0.0]
    assert planes[0, 1].tolist() == [[-1.0, 1.0]] * 5
    assert planes[1, 1].tolist() == [[-1.0, 1.0]] * 3 + [[0.0, 0.0]] * 2


def test_coordinates_of_a_single_frame() -> None:
    assert coordinates(torch.tensor([1]), frames=1, bins=3).tolist() == [
        [[[-1.0] * 3], [[-1, 0, 1]]]
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"patch_frames": 4},
        {"patch_frames": 3, "patch_bins": 4},
        {"coordinates": True},
        {"conv_stem": True},
        {"conv_stem": True, "coordinates": True, "patch_frames": 4, "channels": 2, "bins": 6},
    ],
)
def test_padding_never_changes_an_output(changes: dict[str, Any]) -> None:
    torch.manual_seed(0)

    assert_padding_never_matters(vit(**changes), width=12)


def test_student_without_positions_does_not_see_the_order_of_frames() -> None:
    torch.manual_seed(0)
    frames, lengths = torch.randn(1, 20, 12), torch.tensor([20])
    shuffled = frames[:, torch.randperm(20)]
    student, placed = vit(), vit(coordinates=True)

    torch.testing.assert_close(
        student(frames, lengths).logits, student(shuffled, lengths).logits, rtol=1e-5, atol=1e-5
    )
    assert (placed(frames, lengths).logits - placed(shuffled, lengths).logits).abs().max() > 1e-3


def test_a_patch_holds_its_frames_of_every_plane() -> None:
    net = vit(channels=2, bins=4, patch_frames=2, patch_bins=2)
    # Frame t holds t * 100 + plane * 10 + bin; width = planes one after the other.
    frames = torch.tensor(
        [[[t * 100.0 + c * 10 + b for c in range(2) for b in range(4)] for t in range(3)]]
    )

    patches = net._patches(frames, torch.tensor([3]))

    # Two columns of two rows; the second column is filled up with zeros.
    assert patches.shape == (1, 4, 8)
    assert patches[0, 0].tolist() == [0, 1, 100, 101, 10, 11, 110, 111]
    assert patches[0, 1].tolist() == [2, 3, 102, 103, 12, 13, 112, 113]
    assert patches[0, 2].tolist() == [200, 201, 0, 0, 210, 211, 0, 0]


def test_tokens_are_one_a_column_with_its_place_in_time() -> None:
    net = vit(patch_frames=4, patch_bins=4)

    output = net(torch.randn(2, 10, 12), torch.tensor([10, 4]))

    assert output.tokens.shape == (2, 3, 16)
    assert output.token_lengths.tolist() == [3, 1]
    # Centres 2, 6 and 10 of 10 frames; 2 of 4 frames.
    torch.testing.assert_close(torch.tensor([0.2, 0.6, 1.0]), output.positions[0])
    assert float(output.positions[1, 0]) == 0.5


def test_pooled_is_what_the_head_reads() -> None:
    net = vit()

    output = net(torch.randn(2, 5, 12), torch.tensor([5, 3]))

    assert output.pooled.shape == (2, net.dim)
    torch.testing.assert_close(net.head(output.pooled), output.logits)


def test_patch_that_does_not_divide_the_bins_is_refused() -> None:
    with pytest.raises(ValueError, match="patch_bins 5 does not divide bins 12"):
        vit(patch_bins=5)
