"""The vertical-patch vision transformer of Kim & Lee 2024 (arXiv 2403.17327), lengths masked."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.masked import MaskedInstanceNorm
from models.outputs import Output, length_mask
from models.transformer import Transformer

STEM_WIDTHS = (16, 32, 64, 32, 16)
"""Planes between the six convolutions of the stem (Kim & Lee's released model)."""


class ConvStem(nn.Module):
    """Six 3x3 convolutions, each with instance norm and GELU, that keep the image's size.

    The widths are ``channels``-16-32-64-32-16-``channels``. Padding is zero before each
    convolution and takes no part in the norms, so it never reaches a real pixel.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (channels, *STEM_WIDTHS, channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(entering, leaving, kernel_size=3, padding=1)
            for entering, leaving in zip(widths, widths[1:], strict=False)
        )
        self.norms = nn.ModuleList(MaskedInstanceNorm() for _ in self.convs)

    def forward(self, planes: Tensor, mask: Tensor) -> Tensor:
        """Map ``planes`` (batch, channels, frames, bins), zero outside ``mask``, to the same."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            # The norm leaves padding at zero, and GELU keeps it there for the next convolution.
            planes = F.gelu(norm(conv(planes), mask))
        return planes


def coordinates(lengths: Tensor, *, frames: int, bins: int) -> Tensor:
    """Time and frequency of each pixel, from -1 to 1 along each axis by that axis' own length.

    The released CoordConv code divides each axis by the other's length and is right for square
    images only; here ``i / (n - 1) * 2 - 1`` is taken along each axis, in time over the
    utterance's real length. An axis of one place is at -1.

    Args:
        lengths: (batch,) int, real frames of each utterance.
        frames: padded frames of the batch.
        bins: Mel bins.

    Returns:
        (batch, 2, frames, bins) float32: the plane of time, then the plane of frequency; zero at
        padded frames.
    """
    device = lengths.device
    last = (lengths - 1).clamp_min(1)[:, None]
    time = torch.arange(frames, device=device) / last * 2 - 1
    height = torch.linspace(-1, 1, bins, device=device)
    real = length_mask(lengths, frames)
    batch = len(lengths)
    planes = torch.stack(
        (
            time[:, :, None].expand(batch, frames, bins),
            height.expand(batch, frames, bins),
        ),
        dim=1,
    )
    return planes * real[:, None, :, None]


class VerticalVit(nn.Module):
    """Vision transformer over patches of a log-Mel spectrogram, read off a CLS token.

    Patch embedding is LayerNorm, Linear, LayerNorm; blocks are pre-norm with GELU; there is no
    positional encoding but ``coordinates``, so without it and without ``conv_stem`` the network
    does not see the order of patches: with ``patch_frames`` 1 its logits stay the same under any
    permutation of frames. ``Output.tokens`` has one token a column of patches, the mean of its rows
    where ``patch_bins`` makes several.

    Args:
        bins: Mel bins of the input.
        classes: emotions.
        dim: width of a token.
        depth: transformer blocks.
        heads: attention heads.
        head_dim: width of a head.
        mlp_dim: hidden width of the feed-forward layers.
        channels: planes stacked along the input's width (static, deltas, delta-deltas); default 1.
        patch_frames: width of a patch in frames; the last patch is filled with zeros; default 1.
        patch_bins: height of a patch in bins; default all of them, the paper's vertical patch.
        conv_stem: put ``ConvStem`` first (the paper's teacher); default no.
        coordinates: add two planes of coordinates after the stem (the teacher's image coordinate
            encoding); default no.
        dropout: share dropped in the transformer; default 0.

    Raises:
        ValueError: ``patch_bins`` does not divide ``bins``.
    """

    def __init__(
        self,
        *,
        bins: int,
        classes: int,
        dim: int,
        depth: int,
        heads: int,
        head_dim: int,
        mlp_dim: int,
        channels: int = 1,
        patch_frames: int = 1,
        patch_bins: int | None = None,
        conv_stem: bool = False,
        coordinates: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch_bins = bins if patch_bins is None else patch_bins
        if bins % self.patch_bins:
            raise ValueError(f"patch_bins {self.patch_bins} does not divide bins {bins}")
        self.bins = bins
        self.channels = channels
        self.classes = classes
        self.dim = dim
        self.patch_frames = patch_frames
        self.rows = bins // self.patch_bins
        self.coordinates = coordinates
        self.stem = ConvStem(channels) if conv_stem else None
        pixels = (channels + 2 * coordinates) * patch_frames * self.patch_bins
        self.embed = nn.Sequential(
            nn.LayerNorm(pixels), nn.Linear(pixels, dim), nn.LayerNorm(dim), nn.Dropout(dropout)
        )
        self.cls = nn.Parameter(torch.randn(dim))
        self.transformer = Transformer(
            dim, depth=depth, heads=heads, head_dim=head_dim, mlp_dim=mlp_dim, dropout=dropout
        )
        self.head = nn.Linear(dim, classes)

    def forward(self, frames: Tensor, lengths: Tensor) -> Output:
        """Classify a padded batch.

        Args:
            frames: (batch, frames, bins * channels), planes one after the other along the width.
            lengths: (batch,) int, real frames of each utterance, at least 1.
        """
        patches = self.embed(self._patches(frames, lengths))
        batch, count, _ = patches.shape
        tokens = torch.cat((self.cls.to(patches.dtype).expand(batch, 1, -1), patches), dim=1)
        columns = (lengths + self.patch_frames - 1) // self.patch_frames
        encoded = self.transformer(tokens, length_mask(columns * self.rows + 1, count + 1))
        pooled, tokens = encoded[:, 0], encoded[:, 1:]
        if self.rows > 1:
            tokens = tokens.reshape(batch, -1, self.rows, self.dim).mean(dim=2)
        centres = (torch.arange(tokens.shape[1], device=frames.device) + 0.5) * self.patch_frames
        return Output(
            logits=self.head(pooled),
            pooled=pooled,
            tokens=tokens,
            token_lengths=columns,
            positions=centres / lengths[:, None],
        )

    def _patches(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Cut the batch into patches (batch, tokens, pixels of a patch)."""
        batch, size, _ = frames.shape
        real = length_mask(lengths, size)
        frames = frames.masked_fill(~real[..., None], 0.0)
        planes = frames.reshape(batch, size, self.channels, self.bins).transpose(1, 2)
        if self.stem is not None:
            planes = self.stem(planes, real)
        if self.coordinates:
            places = coordinates(lengths, frames=size, bins=self.bins)
            planes = torch.cat((planes, places.to(planes.dtype)), dim=1)
        rest = -size % self.patch_frames
        if rest:
            planes = F.pad(planes, (0, 0, 0, rest))
        cut = (batch, planes.shape[1], -1, self.patch_frames, self.rows, self.patch_bins)
        planes = planes.reshape(cut)
        # (batch, planes, columns, frames, rows, bins) -> (batch, columns, rows, pixels): a view,
        # not a copy, for one plane and the vertical patch.
        return planes.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
