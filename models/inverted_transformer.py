"""A student whose tokens are Mel bins: each bin's series over a window of time is one token.

The inverted embedding is that of iTransformer (Liu et al. 2024, "iTransformer: Inverted
Transformers Are Effective for Time Series Forecasting", arXiv 2310.06625, section 3). That the
student of Zhao et al. 2025 (IEEE TAFFC 16(3)) is built on it is inferred from their abstract. What
speech needs beyond forecasting is inferred too: mask, level, identity, pooling and windows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.outputs import Output, length_mask
from models.pooling import AttentivePooling
from models.transformer import Transformer
from models.windows import window_starts

VARIANCE_FLOOR = 1e-5
"""Added to a series' variance, as iTransformer does; a silent series then stays finite."""
IDENTITY_DEVIATION = 0.02
"""Of the first identities: small, so that what a series holds speaks louder than which it is."""


class InvertedEmbedding(nn.Module):
    """One token for each series of a window: its course, and all that the course does not tell.

    A linear map over time meets padding at fixed places, so the mask is told through a map of its
    own. Normalising a series removes its level, a cue of arousal, so mean and log deviation are
    told beside it. Attention ignores order, so each series has a learned identity.

    Args:
        series: how many series a window has.
        window: frames of a window.
        dim: width of a token.
        instance_norm: normalise each series over its real frames.
    """

    def __init__(self, series: int, *, window: int, dim: int, instance_norm: bool) -> None:
        super().__init__()
        self.course = nn.Linear(window, dim)
        self.validity = nn.Linear(window, dim, bias=False)
        self.level = nn.Linear(2, dim) if instance_norm else None
        self.identity = nn.Parameter(torch.randn(series, dim) * IDENTITY_DEVIATION)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Map ``frames`` (windows, window, series) to (windows, series, dim).

        Args:
            frames: what is outside ``mask`` is never read.
            mask: (windows, window) bool, at least one true in each row.
        """
        real = mask[..., None]
        frames = frames.masked_fill(~real, 0.0)
        told = self.validity(mask.to(frames.dtype))[:, None] + self.identity
        if self.level is not None:
            count = real.sum(1, keepdim=True)
            mean = frames.sum(1, keepdim=True) / count
            centred = (frames - mean).masked_fill(~real, 0.0)
            variance = centred.square().sum(1, keepdim=True) / count
            deviation = (variance + VARIANCE_FLOOR).sqrt()
            frames = centred / deviation
            told = told + self.level(torch.cat((mean, deviation.log()), dim=1).transpose(1, 2))
        tokens: Tensor = self.course(frames.transpose(1, 2)) + told
        return tokens


class InvertedTransformer(nn.Module):
    """Attention among Mel bins, each seen over a whole window of time.

    A window's tokens are pooled to one vector; an utterance's is the mean over its windows, and
    ``Output.tokens`` is their sequence. The cost of attention grows with the number of series, not
    with time.

    Args:
        bins: Mel bins of the input.
        classes: emotions.
        window: frames of a window; a shorter utterance is padded to it, a longer one is read in
            the fewest windows that cover it.
        dim: width of a token, a multiple of ``heads``.
        depth: transformer blocks.
        heads: attention heads, and heads of the pooling.
        mlp_dim: hidden width of the feed-forward layers.
        channels: planes stacked along the input's width (static, deltas, delta-deltas); default 1.
        instance_norm: normalise each series of a window over its real frames and tell the token
            its mean and log deviation; default yes.
        dropout: share dropped of the embedded tokens, in the transformer and before the head;
            default 0.

    Raises:
        ValueError: ``heads`` does not divide ``dim``, or ``window`` is less than 1.
    """

    def __init__(
        self,
        *,
        bins: int,
        classes: int,
        window: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        channels: int = 1,
        instance_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"heads {heads} does not divide dim {dim}")
        if window < 1:
            raise ValueError(f"window is {window} frames; it needs one or more")
        self.bins = bins
        self.channels = channels
        self.classes = classes
        self.window = window
        self.dim = dim
        self.embed = InvertedEmbedding(
            bins * channels, window=window, dim=dim, instance_norm=instance_norm
        )
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
        starts, counts = window_starts(lengths, window=self.window)
        present = length_mask(counts, starts.shape[1])
        if starts.shape[1] == 1:
            # Everything fits: pad, or (a negative pad) cut what is padding anyway.
            vectors = self._read(
                F.pad(frames, (0, 0, 0, self.window - frames.shape[1])),
                length_mask(lengths, self.window),
            )[:, None]
            pooled = vectors[:, 0]
        else:
            rows, places = present.nonzero(as_tuple=True)
            inside = starts[rows, places, None] + torch.arange(self.window, device=frames.device)
            real = inside < lengths[rows, None]
            read = self._read(frames[rows[:, None], inside.clamp_max(frames.shape[1] - 1)], real)
            # Windows lie flat, utterance after utterance: a token is found by counting to it.
            found = (present.flatten().cumsum(0) - 1).view_as(present)
            vectors = read[found].masked_fill(~present[..., None], 0.0)
            pooled = vectors.sum(1) / counts[:, None]
        centres = starts + lengths.clamp_max(self.window)[:, None] / 2
        return Output(
            logits=self.head(self.dropout(pooled)),
            pooled=pooled,
            tokens=vectors,
            token_lengths=counts,
            positions=centres / lengths[:, None],
        )

    def _read(self, windows: Tensor, real: Tensor) -> Tensor:
        """Make ``windows`` (windows, window, series) vectors (windows, dim)."""
        tokens = self.dropout(self.embed(windows, real))
        every = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        vectors: Tensor = self.pooling(self.transformer(tokens, every), every)
        return vectors
