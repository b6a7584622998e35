from __future__ import annotations

import torch

from models.distillation.alignment import align_tokens


def frames(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[None, :, None]


def test_reads_between_frames_by_hand() -> None:
    # Four frames stand for 1/8, 3/8, 5/8 and 7/8 of the utterance.
    positions = torch.tensor([[0.0, 0.125, 0.25, 0.5, 0.875, 1.0]])

    aligned = align_tokens(frames(0, 10, 20, 30), torch.tensor([4]), positions)

    assert aligned[0, :, 0].tolist() == [0.0, 0.0, 5.0, 15.0, 30.0, 30.0]


def test_same_rate_reads_the_same_frames() -> None:
    positions = (torch.arange(7) + 0.5)[None] / 7
    teacher = torch.randn(1, 7, 3)

    torch.testing.assert_close(teacher, align_tokens(teacher, torch.tensor([7]), positions))


def test_padding_of_the_teacher_is_never_read() -> None:
    teacher = frames(1, 2, float("nan"))

    aligned = align_tokens(teacher, torch.tensor([2]), torch.tensor([[0.25, 0.5, 1.0, 1.4]]))

    assert aligned[0, :, 0].tolist() == [1.0, 1.5, 2.0, 2.0]


def test_single_frame_stands_for_the_whole_utterance() -> None:
    aligned = align_tokens(frames(3), torch.tensor([1]), torch.tensor([[0.0, 0.5, 1.0]]))

    assert aligned[0, :, 0].tolist() == [3.0, 3.0, 3.0]


def test_extent_places_a_last_patch_that_reaches_past_the_end() -> None:
    # Patches of 4 over 9 frames: three tokens centred on 2/9, 6/9 and 10/9.
    positions = torch.tensor([[2.0, 6.0, 10.0]]) / 9

    aligned = align_tokens(
        frames(1, 2, 3), torch.tensor([3]), positions, teacher_extents=torch.tensor([2.25])
    )

    torch.testing.assert_close(torch.tensor([1.0, 2.0, 3.0]), aligned[0, :, 0])


def test_half_precision_stays_half_precision() -> None:
    aligned = align_tokens(frames(1, 2).half(), torch.tensor([2]), torch.tensor([[0.5]]))

    assert aligned.dtype == torch.float16
    assert aligned.item() == 1.5
