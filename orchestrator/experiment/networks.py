"""Networks that are trained from scratch: ``recipe.student``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.experiment.numbers import Count, Positive, Share
from orchestrator.experiment.section import Section


class VerticalVit(Section):
    """The vertical-patch vision transformer of Kim & Lee 2024; the defaults are their student."""

    kind: Literal["vertical-vit"]
    dim: Count = 256
    depth: Count = 3
    heads: Count = 5
    head_dim: Count = 64
    mlp_dim: Count = 256
    patch_frames: Count = 1
    """Width of a patch in frames."""
    patch_bins: Count | None = None
    """Height of a patch in Mel bins; default: all of them, the vertical patch."""
    conv_stem: bool = False
    """Six 3x3 convolutions with instance norm before the patches (the paper's teacher)."""
    coordinates: bool = False
    """Concatenate the two coordinates of each pixel before the patches (the paper's teacher)."""
    dropout: Share = 0.0


class ConvTransformer(Section):
    """A small log-Mel student: strided 2-D convolutions, a transformer, attentive pooling."""

    kind: Literal["conv-transformer"]
    channels: Annotated[tuple[Count, ...], Field(min_length=1)] = (32, 64, 96)
    """Widths of the convolution blocks; each halves the Mel axis, the first two halve time."""
    dim: Count = 144
    depth: Annotated[int, Field(ge=0)] = 2
    heads: Count = 4
    mlp_dim: Count = 288
    dropout: Share = 0.0

    @model_validator(mode="after")
    def _heads_share(self) -> ConvTransformer:
        if self.dim % self.heads:
            raise ValueError(f"heads {self.heads} does not divide dim {self.dim}")
        return self


class InvertedTransformer(Section):
    """A student whose tokens are Mel bins: each bin's whole time series becomes one token.

    The inverted embedding is iTransformer's; that Zhao et al. 2025 use it is inferred from their
    abstract.
    """

    kind: Literal["inverted-transformer"]
    window_seconds: Positive = 3.0
    """What one series covers. Shorter utterances are padded and marked, longer ones are read in
    windows; in training each is cut to a random stretch of this length."""
    dim: Count = 128
    depth: Annotated[int, Field(ge=0)] = 3
    heads: Count = 4
    mlp_dim: Count = 256
    instance_norm: bool = True
    """Normalise each series over its real frames, telling its token the mean and deviation."""
    dropout: Share = 0.0

    @model_validator(mode="after")
    def _heads_share(self) -> InvertedTransformer:
        if self.dim % self.heads:
            raise ValueError(f"heads {self.heads} does not divide dim {self.dim}")
        return self


StudentNet = Annotated[
    VerticalVit | ConvTransformer | InvertedTransformer, Field(discriminator="kind")
]
