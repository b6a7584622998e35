"""A learned mix of a frozen encoder's layers and a linear head: all of it that a fold fits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class MixOutput:
    """What ``LayerMixHead`` returns; named as in ``models.outputs.Output``."""

    logits: Tensor
    """(batch, classes), unnormalised."""
    pooled: Tensor
    """(batch, width): the mixed vector that the head reads."""


class LayerMixHead(nn.Module):
    """Softmax-weighted sum of standardised layers, then one linear layer.

    Each layer's vectors are standardised by the training utterances' mean and standard deviation
    (``fit_statistics``), since layers differ in scale by orders of magnitude; then the weights
    compare layers by what they say, as in SUPERB's downstream probes (Yang et al. 2021).

    Args:
        layers: hidden states to mix.
        width: of the pooled vectors: the encoder's width, or twice it for mean and deviation.
        classes: emotions.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, *, layers: int, width: int, classes: int) -> None:
        super().__init__()
        self.layers = layers
        self.dim = width
        self.classes = classes
        self.mix = nn.Parameter(torch.zeros(layers))
        self.head = nn.Linear(width, classes)
        self.register_buffer("mean", torch.zeros(layers, width))
        self.register_buffer("deviation", torch.ones(layers, width))

    def fit_statistics(self, pooled: Tensor) -> None:
        """Take mean and standard deviation (ddof 0) from the training utterances' vectors.

        A feature that does not vary is only centred.

        Args:
            pooled: (utterances, layers, width), of training utterances and no others.
        """
        vectors = pooled.double()
        deviation = vectors.std(dim=0, correction=0)
        self.mean.copy_(vectors.mean(dim=0))
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def forward(self, pooled: Tensor) -> MixOutput:
        """Classify pooled vectors (batch, layers, width)."""
        weights = self.mix.softmax(dim=0)
        standardised = (pooled - self.mean) / self.deviation
        mixed = torch.einsum("l,blw->bw", weights, standardised)
        return MixOutput(logits=self.head(mixed), pooled=mixed)

    def mix_frames(self, frames: Tensor) -> Tensor:
        """Standardise and mix frames as the pooled vectors are: what the student's tokens match.

        With mean pooling the mean of the mixed frames is the mixed pooled vector. Where the pooled
        vectors hold mean and deviation, frames are standardised by the statistics of the mean.

        Args:
            frames: (..., layers, encoder width).

        Returns:
            (..., encoder width) float32.
        """
        width = frames.shape[-1]
        mean, deviation = self.mean[:, :width], self.deviation[:, :width]
        # (frame - mean) / deviation, mixed, in one pass over frames: they are large.
        factors = self.mix.softmax(dim=0)[:, None] / deviation
        return torch.einsum("lw,...lw->...w", factors, frames.float()) - (factors * mean).sum(0)
