"""A small log-Mel student: strided convolutions, a transformer over frames, attentive pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.outputs import Output, length_mask
from models.pooling import AttentivePooling
from models.transformer import Transformer

TIME_BLOCKS = 2
"""Convolution blocks that halve time as well: a token every four frames."""
ORDER_KERNEL = 15
"""Width in tokens of the convolution that tells the transformer about order."""


class ConvBlock(nn.Module):
    """A strided 3x3 convolution, LayerNorm over planes, GELU.

    Past the first block the convolution is separable (each plane by itself, then across planes):
    a ninth of the work at equal widths. LayerNorm looks at one pixel at a time, so no statistics
    are shared between real frames and padding, or between utterances.

    Args:
        entering: planes of the input; 1 to 3 of them are convolved all together.
        leaving: planes of the output.
        stride: of time and of frequency.
    """

    def __init__(self, entering: int, leaving: int, *, stride: tuple[int, int]) -> None:
        super().__init__()
        self.conv: nn.Module
        if entering <= 3:
            self.conv = nn.Conv2d(entering, leaving, 3, stride=stride, padding=1)
        else:
            self.conv = nn.Sequential(
                nn.Conv2d(
                    entering, entering, 3, stride=stride, padding=1, groups=entering, bias=False
                ),
                nn.Conv2d(entering, leaving, 1),
            )
        self.norm = nn.LayerNorm(leaving)

    def forward(self, planes: Tensor, mask: Tensor) -> Tensor:
        """Map ``planes`` (batch, entering, frames, bins) and zero what is outside the new ``mask``.

        The next convolution then sees the same zeros past an utterance's end as it would past the
        border of an unpadded batch.
        """
        # With planes last in memory both moves are views. GELU keeps the zeros.
        heard = self.norm(self.conv(planes).permute(0, 2, 3, 1)).mul_(mask[:, :, None, None])
        return F.gelu(heard).permute(0, 3, 1, 2)


class ConvTransformer(nn.Module):
    """Convolutions that shrink the spectrogram, then a transformer over its frames.

    Each block halves the Mel axis and the first two halve time, so token ``i`` is centred on frame
    ``4 i``. A depthwise convolution over tokens gives the transformer their order (as in
    wav2vec 2.0), so that utterances of any length are met alike.

    Args:
        bins: Mel bins of the input.
        classes: emotions.
        widths: planes after each convolution block, at least one block.
        dim: width of a token, a multiple of ``heads``.
        depth: transformer blocks.
        heads: attention heads, and heads of the pooling.
        mlp_dim: hidden width of the feed-forward layers.
        channels: planes stacked along the input's width (static, deltas, delta-deltas); default 1.
        dropout: share dropped in the transformer and before the head; default 0.

    Raises:
        ValueError: ``heads`` does not divide ``dim``, or ``widths`` is empty.
    """

    def __init__(
        self,
        *,
        bins: int,
        classes: int,
        widths: tuple[int, ...],
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        channels: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"heads {heads} does not divide dim {dim}")
        if not widths:
            raise ValueError("widths is empty; a convolution-transformer needs one block or more")
        self.bins = bins
        self.channels = channels
        self.classes = classes
        self.dim = dim
        self.time_blocks = min(TIME_BLOCKS, len(widths))
        self.blocks = nn.ModuleList(
            ConvBlock(entering, leaving, stride=(2 if block < TIME_BLOCKS else 1, 2))
            for block, (entering, leaving) in enumerate(
                zip((channels, *widths), widths, strict=False)
            )
        )
        height = bins
        for _ in widths:
            height = (height + 1) // 2
        self.project = nn.Sequential(nn.Linear(widths[-1] * height, dim), nn.LayerNorm(dim))
        self.order = nn.Conv1d(dim, dim, ORDER_KERNEL, padding=ORDER_KERNEL // 2, groups=dim)
        self.transformer = Transformer(
            dim,
            depth=depth,
            heads=heads,
            head_dim=dim // heads,
            mlp_dim=mlp_dim,
            dropout=dropout,
        )
        self.pooling = AttentivePooling(dim, heads=heads)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(dim, classes)

    def forward(self, frames: Tensor, lengths: Tensor) -> Output:
        """Classify a padded batch.

        Args:
            frames: (batch, frames, bins * channels), planes one after the other along the width.
            lengths: (batch,) int, real frames of each utterance, at least 1.
        """
        batch, size, _ = frames.shape
        frames = frames.masked_fill(~length_mask(lengths, size)[..., None], 0.0)
        planes = frames.reshape(batch, size, self.channels, self.bins).transpose(1, 2)
        # Planes last in memory: convolutions are faster, and LayerNorm needs no copies.
        planes = planes.contiguous(memory_format=torch.channels_last)
        token_lengths = lengths
        for index, block in enumerate(self.blocks):
            if index < self.time_blocks:
                token_lengths, size = (token_lengths + 1) // 2, (size + 1) // 2
            planes = block(planes, length_mask(token_lengths, size))
        mask = length_mask(token_lengths, size)
        tokens = self.project(planes.permute(0, 2, 3, 1).flatten(2)) * mask[..., None]
        tokens = tokens + F.gelu(self.order(tokens.transpose(1, 2))).transpose(1, 2)
        tokens, attention = self.transformer.listened(tokens, mask)
        pooled = self.pooling(tokens, mask)
        step = 2**self.time_blocks
        centres = torch.arange(size, device=frames.device) * step + 0.5
        return Output(
            logits=self.head(self.dropout(pooled)),
            pooled=pooled,
            tokens=tokens,
            token_lengths=token_lengths,
            positions=centres / lengths[:, None],
            attention=attention,
        )
