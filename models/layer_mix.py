"""A learned mix of an encoder's layers and a linear head: all that a fold fits to a frozen one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.outputs import length_mask
from models.pooling import AttentivePooling


@dataclass(frozen=True, slots=True)
class MixOutput:
    """What the heads return; named as in ``models.outputs.Output``."""

    logits: Tensor
    """(batch, classes), unnormalised."""
    pooled: Tensor
    """(batch, width): the mixed vector that the head reads."""


def mean_and_deviation(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (ddof 0) over the first axis, in double precision.

    The deviation of what does not vary is 1.
    """
    double = vectors.double()
    deviation = double.std(dim=0, correction=0)
    return double.mean(dim=0), torch.where(deviation > 1e-6, deviation, 1.0)


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
        mean, deviation = mean_and_deviation(pooled)
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

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


class FrameMixHead(LayerMixHead):
    """The same over frames, where the encoder's output changes with training or its frames have
    learned weights.

    ``mean`` and ``statistics`` pool each layer over time, and the vectors are mixed as
    ``LayerMixHead`` mixes them. ``attentive`` mixes frames (``mix_frames``) and pools the mixture
    by learned weights of time, which begin equal: the mean.

    Args:
        layers: hidden states to mix.
        width: of the encoder.
        classes: emotions.
        pooling: over time; ``dim`` is twice ``width`` under ``statistics``.
    """

    def __init__(
        self,
        *,
        layers: int,
        width: int,
        classes: int,
        pooling: Literal["mean", "statistics", "attentive"],
    ) -> None:
        super().__init__(
            layers=layers, width=2 * width if pooling == "statistics" else width, classes=classes
        )
        self.statistics = pooling == "statistics"
        self.attention: AttentivePooling | None = None
        if pooling == "attentive":
            self.attention = AttentivePooling(width, heads=1)
            nn.init.zeros_(self.attention.score.weight)

    def vectors(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Pool each layer without learned weights: what ``fit_statistics`` takes.

        Args:
            frames: (batch, frames, layers, encoder width).
            lengths: (batch,) int, real frames.

        Returns:
            (batch, layers, width), or twice the width with the population's standard deviation.
        """
        real = length_mask(lengths, frames.shape[1])[:, :, None, None]
        count = lengths[:, None, None].to(frames)
        mean = frames.masked_fill(~real, 0.0).sum(1) / count
        if not self.statistics:
            return mean
        centred = (frames - mean[:, None]).masked_fill(~real, 0.0)
        # the root's slope is infinite at zero, where an utterance of one frame is
        deviation = (centred.square().sum(1) / count).clamp_min(1e-12).sqrt()
        return torch.cat([mean, deviation], dim=-1)

    def mixed(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed frames (batch, frames, encoder width), which a student may match, and lengths."""
        return self.mix_frames(frames), lengths

    def forward(self, frames: Tensor, lengths: Tensor) -> MixOutput:  # type: ignore[override]
        """Classify ``frames`` (batch, frames, layers, width), of which ``lengths`` are real."""
        if self.attention is None:
            return super().forward(self.vectors(frames, lengths))
        mixed, lengths = self.mixed(frames, lengths)
        pooled = self.attention(mixed, length_mask(lengths, mixed.shape[1]))
        return MixOutput(logits=self.head(pooled), pooled=pooled)
