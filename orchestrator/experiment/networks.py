"""Networks that are trained from scratch: ``recipe.student``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

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


class SatnNetwork(Section):
    """Dilated convolutions over time, then self-attention: SATN's student and its recogniser.

    That Zhao et al. 2021 put self-attention on a temporal convolutional network is known; all sizes
    are inferred.
    """

    stride: Count = 2
    """Frames from one step of the network to the next."""
    dim: Count = 96
    levels: Count = 5
    """Residual blocks, whose convolutions are dilated 1, 2, 4, ... times."""
    kernel: Annotated[int, Field(ge=2)] = 3
    causal: bool = False
    """Convolutions hear the past only; self-attention hears everything all the same."""
    depth: Count = 1
    """Self-attention layers."""
    heads: Count = 4
    mlp_dim: Count = 192
    dropout: Share = 0.1
    instance_norm: bool = False
    """Bring each feature to mean 0 and deviation 1 over the utterance (or segment) itself, beside
    the training-set z-score: microphone and distance go, and how loud it is goes with them."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads {self.heads} does not divide dim {self.dim}")
        if not self.causal and self.kernel % 2 == 0:
            raise ValueError(
                f"kernel {self.kernel} is even, so it has no middle; use an odd one, or causal: "
                "true"
            )
        return self


class Satn(SatnNetwork):
    """The self-attention transfer network of Zhao et al. 2021."""

    kind: Literal["satn"]
    segment_seconds: Positive | None = 3.0
    """Longer utterances are read in segments of this length, and in training cut to a random one;
    null: whole utterances."""
    segment_pooling: Literal["mean", "max"] = "mean"
    """From the segments' posteriors to the utterance's."""


StudentNet = Annotated[
    VerticalVit | ConvTransformer | InvertedTransformer | Satn, Field(discriminator="kind")
]
