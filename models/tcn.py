"""The temporal convolutional network of Bai, Kolter and Koltun 2018 (arXiv 1803.01271, section 3).

Residual blocks of dilated convolutions, whose view of time doubles with every block. That SATN's
(Zhao et al. 2021) is this one is inferred from its name; the strided first convolution, the view to
both sides and the masks are ours. Weights begin as torch's convolutions do: the N(0, 0.01) of the
paper's code is written to a weight that weight normalisation recomputes, so it never had an effect,
and taken at its word it leaves the blocks almost silent and slow to learn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.outputs import length_mask


class NormalisedConv(nn.Conv1d):
    """A convolution over time whose weight has its scale apart from its direction.

    Weight normalisation (Salimans and Kingma 2016, arXiv 1602.07868, equation 2): ``weight`` is
    only the direction, and ``scale`` the length that an output's taps have together. Torch's own is
    not used because its second derivatives, which meta-learning follows, take the length of the
    direction for a constant and so are wrong.
    """

    def __init__(self, dim: int, *, kernel: int, dilation: int, padding: int) -> None:
        super().__init__(dim, dim, kernel, dilation=dilation, padding=padding)
        self.scale = nn.Parameter(self._lengths().detach())

    def forward(self, planes: Tensor) -> Tensor:
        """Convolve ``planes`` (batch, dim, tokens)."""
        weight = self.weight * (self.scale / self._lengths())
        return F.conv1d(planes, weight, self.bias, padding=self.padding, dilation=self.dilation)

    def _lengths(self) -> Tensor:
        lengths: Tensor = torch.linalg.vector_norm(self.weight, dim=(1, 2), keepdim=True)
        return lengths


class DilatedConv(nn.Module):
    """A weight-normalised convolution over time that keeps its length, then ReLU and dropout.

    Args:
        dim: planes in and out.
        kernel: taps, odd unless ``causal``.
        dilation: tokens from tap to tap.
        causal: see no token that comes later.
        dropout: share of planes dropped, each over the whole of time.
    """

    def __init__(
        self, dim: int, *, kernel: int, dilation: int, causal: bool, dropout: float
    ) -> None:
        super().__init__()
        reach = (kernel - 1) * dilation
        self.before = reach if causal else 0
        self.conv = NormalisedConv(
            dim, kernel=kernel, dilation=dilation, padding=0 if causal else reach // 2
        )
        # Whole planes, as section 3.4 has it; the paper's code drops single values.
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, planes: Tensor, mask: Tensor) -> Tensor:
        """Map ``planes`` (batch, dim, tokens), zero outside ``mask`` (batch, 1, tokens)."""
        if self.before:
            planes = F.pad(planes, (self.before, 0))
        # ReLU and dropout keep the zeros.
        heard: Tensor = self.dropout(F.relu(self.conv(planes).mul_(mask)))
        return heard


class ResidualBlock(nn.Module):
    """Two dilated convolutions added to what they heard, then ReLU (the paper's figure 1b)."""

    def __init__(
        self, dim: int, *, kernel: int, dilation: int, causal: bool, dropout: float
    ) -> None:
        super().__init__()
        self.first, self.second = (
            DilatedConv(dim, kernel=kernel, dilation=dilation, causal=causal, dropout=dropout)
            for _ in range(2)
        )

    def forward(self, planes: Tensor, mask: Tensor) -> Tensor:
        """Map ``planes`` (batch, dim, tokens), zero outside ``mask`` (batch, 1, tokens)."""
        return F.relu(planes + self.second(self.first(planes, mask), mask))


class TemporalConvNet(nn.Module):
    """A strided convolution, then ``levels`` residual blocks of dilation 1, 2, 4, ...

    Token ``i`` is centred on frame ``stride * i``. The first convolution has ``2 * stride - 1``
    taps: as many to either side as the next token is away, or ``causal``, all of them up to that
    frame. Past an utterance's end everything is zero, as it is past a batch's border, so an
    utterance gives the same tokens alone as beside a longer one.

    Args:
        entering: features of a frame.
        dim: width of a token.
        levels: residual blocks.
        kernel: taps of their convolutions, 2 or more, odd unless ``causal``.
        stride: frames from token to token.
        causal: a token depends on no frame after its own, as in the paper; otherwise on as many
            after it as before it.
        dropout: share of planes dropped after each convolution of a block.

    Raises:
        ValueError: a convolution to both sides of its token would have an even kernel.
    """

    def __init__(
        self,
        entering: int,
        *,
        dim: int,
        levels: int,
        kernel: int,
        stride: int,
        causal: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        if not causal and kernel % 2 == 0:
            raise ValueError(
                f"kernel {kernel} is even and so has no middle; take an odd one, or causal"
            )
        self.stride = stride
        span = 2 * stride - 1
        self.margin = (span - 1, 0) if causal else (stride - 1, stride - 1)
        self.enter = nn.Conv1d(entering, dim, span, stride=stride)
        self.blocks = nn.ModuleList(
            ResidualBlock(dim, kernel=kernel, dilation=2**level, causal=causal, dropout=dropout)
            for level in range(levels)
        )
        tokens = 2 * (kernel - 1) * (2**levels - 1)
        self.receptive_field = span + stride * tokens
        """Frames that a token depends on: up to its own if causal, else around it."""

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Turn a padded batch of frames into tokens.

        Args:
            frames: (batch, frames, entering); what is past an utterance's end is never read.
            lengths: (batch,) int, real frames of each utterance, at least 1.

        Returns:
            (batch, tokens, dim), zero past an utterance's last; and how many are real, (batch,).
        """
        size = frames.shape[1]
        frames = frames.masked_fill(~length_mask(lengths, size)[..., None], 0.0)
        token_lengths = (lengths + self.stride - 1) // self.stride
        tokens = (size + self.stride - 1) // self.stride
        mask = length_mask(token_lengths, tokens)[:, None]
        planes = self.enter(F.pad(frames.transpose(1, 2), self.margin)).mul_(mask)
        for block in self.blocks:
            planes = block(planes, mask)
        return planes.transpose(1, 2), token_lengths
