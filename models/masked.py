"""Building blocks over images (batch, channels, frames, bins) whose padded frames must not count."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MaskedInstanceNorm(nn.Module):
    """Instance normalisation over the real frames of each utterance and all bins.

    Padded frames take no part in mean and variance, and leave as zeros. Without padding it equals
    ``torch.nn.InstanceNorm2d`` (biased variance, ``eps`` 1e-5).

    Args:
        channels: planes of the input.
        affine: learn a scale and a shift for each plane; default no, as in Kim & Lee 2024.
    """

    def __init__(self, channels: int, *, affine: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(channels)) if affine else None
        self.shift = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, planes: Tensor, mask: Tensor) -> Tensor:
        """Normalise ``planes`` (batch, channels, frames, bins) by ``mask`` (batch, frames) bool."""
        # Statistics in float32 also under autocast: sums over thousands of pixels.
        planes = planes.float()
        real = mask[:, None, :].to(planes.dtype)
        count = real.sum(-1).mul(planes.shape[-1]).clamp_min(1.0)[..., None, None]
        # Bins are summed first, so that the mask touches the small (batch, channels, frames).
        mean = (planes.sum(-1) * real).sum(-1)[..., None, None] / count
        centred = planes - mean
        variance = (centred.square().sum(-1) * real).sum(-1)[..., None, None] / count
        factor = torch.rsqrt(variance + self.eps)
        if self.scale is None or self.shift is None:
            return centred * (factor * real[..., None])
        factor = factor * self.scale[:, None, None]
        shift = self.shift[:, None, None] * real[..., None]
        return torch.addcmul(shift, centred, factor * real[..., None])
