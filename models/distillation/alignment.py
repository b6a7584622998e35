"""Bringing the teacher's sequence to the student's places in time."""

from __future__ import annotations

import torch
from torch import Tensor


def align_tokens(
    teacher_frames: Tensor,
    teacher_lengths: Tensor,
    positions: Tensor,
    *,
    teacher_extents: Tensor | None = None,
) -> Tensor:
    """Read the teacher's frames at the student's places in time, by linear interpolation.

    Frame ``j`` stands for the centre of its stretch, ``(j + 0.5) / extent`` of the utterance;
    places before the first centre or after the last take the first or last frame.

    Args:
        teacher_frames: (batch, teacher tokens, dim); padding is never read.
        teacher_lengths: (batch,) int, real tokens of the teacher, at least 1.
        positions: (batch, student tokens), 0 the start of the utterance and 1 its end
            (``Output.positions``).
        teacher_extents: (batch,) float, the utterance's length in teacher tokens, fractional where
            the last one reaches past its end (a patch of 4 frames over 281 frames: 70.25); default
            ``teacher_lengths``.

    Returns:
        (batch, student tokens, dim), of the teacher's dtype.
    """
    extents = teacher_lengths if teacher_extents is None else teacher_extents
    places = positions * extents[:, None] - 0.5
    last = (teacher_lengths - 1)[:, None]
    places = torch.minimum(places.clamp_min(0.0), last.to(places.dtype))
    left = places.long()
    right = torch.minimum(left + 1, last)
    share = (places - left)[..., None].to(teacher_frames.dtype)
    dim = teacher_frames.shape[-1]
    before = teacher_frames.gather(1, left[..., None].expand(-1, -1, dim))
    after = teacher_frames.gather(1, right[..., None].expand(-1, -1, dim))
    return torch.lerp(before, after, share)
