"""Normalisation of what is padded, so that padded frames do not count."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.outputs import length_mask


class MaskedInstanceNorm(nn.Module):
    """Instance normalisation over the real frames of each utterance and all bins.

    Padded frames take no part in mean and variance, and leave as zeros. Without padding it equals
    ``torch.nn.InstanceNorm2d`` (biased variance, ``eps`` 1e-5).

    There is no learned scale or shift, as in Kim & Lee 2024.
    """

    def __init__(self, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, planes: Tensor, mask: Tensor) -> Tensor:
        """Normalise ``planes`` (batch, channels, frames, bins) by ``mask`` (batch, frames) bool."""
        # Statistics in float32 also under autocast: sums over thousands of pixels.
        planes = planes.to(torch.promote_types(planes.dtype, torch.float32))
        real = mask[:, None, :].to(planes.dtype)
        count = real.sum(-1).mul(planes.shape[-1]).clamp_min(1.0)[..., None, None]
        # Bins are summed first, so that the mask touches the small (batch, channels, frames).
        mean = (planes.sum(-1) * real).sum(-1)[..., None, None] / count
        centred = planes - mean
        variance = (centred.square().sum(-1) * real).sum(-1)[..., None, None] / count
        return centred * (torch.rsqrt(variance + self.eps) * real[..., None])


def level_over_time(frames: Tensor, lengths: Tensor, *, floor: float = 1e-3) -> Tensor:
    """Bring each feature of each utterance to mean 0 and deviation 1 over its real frames.

    What stays the same throughout an utterance (microphone, distance, room) goes, and with it how
    loud it was.

    Args:
        frames: (batch, frames, features).
        lengths: (batch,) int, real frames of each utterance, at least 1.
        floor: added to the variance, so that a feature that hardly varies is not blown up.

    Returns:
        (batch, frames, features), padding zero.
    """
    real = length_mask(lengths, frames.shape[1])[..., None]
    # Statistics in float32 also under autocast: sums over hundreds of frames.
    exact = frames.to(torch.promote_types(frames.dtype, torch.float32)).masked_fill(~real, 0.0)
    count = lengths[:, None, None]
    centred = (exact - exact.sum(1, keepdim=True) / count).masked_fill(~real, 0.0)
    variance = centred.square().sum(1, keepdim=True) / count
    return centred * torch.rsqrt(variance + floor)
