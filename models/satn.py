"""Self-attention over a temporal convolutional network, after SATN.

Zhao, Wang, Bao, Zhang, Cummins, Sun, Wang, Tao and Schuller 2021, "Self-attention transfer networks
for speech emotion recognition" (Virtual Reality & Intelligent Hardware 3(1):43-54): log-Mel
spectra with deltas and delta-deltas, a TCN for their course, self-attention for what is far apart,
and attention learned on speech recognition. How many layers of which width, and how segments are
pooled, is not public: all that is inferred.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.masked import level_over_time
from models.outputs import Heads, Output, length_mask
from models.pooling import AttentivePooling
from models.tcn import TemporalConvNet
from models.transformer import Transformer
from models.windows import window_starts


@dataclass(frozen=True, slots=True)
class Encoded:
    """A padded batch of utterances as tokens over time."""

    tokens: Tensor
    """(batch, tokens, dim), after the last self-attention layer."""
    token_lengths: Tensor
    """(batch,) int64: real tokens of each utterance; the rest of ``tokens`` is padding."""
    positions: Tensor
    """(batch, tokens) float32, where in its utterance each token is centred; see ``Output``."""
    attention: tuple[Heads, ...]
    """Of each self-attention layer, in order."""


class SatnEncoder(nn.Module):
    """A temporal convolutional network, then self-attention among its tokens.

    The student and the speech recogniser it may learn attention from share it. The convolutions
    tell the order of time, so attention needs no positions. Attention always looks to both sides,
    with a causal network too: ``causal`` is about the convolutions alone.

    Args:
        bins: Mel bins of the input.
        channels: planes stacked along the input's width (static, deltas, delta-deltas).
        stride: frames from token to token.
        dim: width of a token, a multiple of ``heads``.
        levels: residual blocks of the convolutional network.
        kernel: taps of their convolutions, odd unless ``causal``.
        causal: convolutions hear no later frame.
        depth: self-attention layers, 1 or more.
        heads: attention heads.
        mlp_dim: hidden width of the feed-forward layers.
        dropout: share dropped in the convolutional network and in the transformer.
        instance_norm: level each feature over the utterance (or segment) first, see
            ``models.masked.level_over_time``; a causal network then hears that much of the future.

    Raises:
        ValueError: ``heads`` does not divide ``dim``, ``depth`` is less than 1, or ``kernel`` is
            even though not ``causal``.
    """

    def __init__(
        self,
        *,
        bins: int,
        channels: int,
        stride: int,
        dim: int,
        levels: int,
        kernel: int,
        causal: bool,
        depth: int,
        heads: int,
        mlp_dim: int,
        dropout: float,
        instance_norm: bool = False,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"heads {heads} does not divide dim {dim}")
        if depth < 1:
            raise ValueError(f"depth is {depth}; self-attention needs one layer or more")
        self.bins = bins
        self.channels = channels
        self.dim = dim
        self.stride = stride
        self.instance_norm = instance_norm
        self.sizes: dict[str, int] = {
            "bins": bins,
            "channels": channels,
            "stride": stride,
            "dim": dim,
            "levels": levels,
            "kernel": kernel,
            "causal": causal,
            "depth": depth,
            "heads": heads,
            "mlp_dim": mlp_dim,
        }
        """All that two encoders must have in common for weights to mean the same in both."""
        self.tcn = TemporalConvNet(
            bins * channels,
            dim=dim,
            levels=levels,
            kernel=kernel,
            stride=stride,
            causal=causal,
            dropout=dropout,
        )
        self.transformer = Transformer(
            dim,
            depth=depth,
            heads=heads,
            head_dim=dim // heads,
            mlp_dim=mlp_dim,
            dropout=dropout,
        )

    def forward(self, frames: Tensor, lengths: Tensor) -> Encoded:
        """Encode a padded batch.

        Args:
            frames: (batch, frames, bins * channels), planes one after the other along the width.
            lengths: (batch,) int, real frames of each utterance, at least 1.
        """
        if self.instance_norm:
            frames = level_over_time(frames, lengths)
        tokens, token_lengths = self.tcn(frames, lengths)
        size = tokens.shape[1]
        tokens, attention = self.transformer.listened(tokens, length_mask(token_lengths, size))
        centres = torch.arange(size, device=frames.device) * self.stride + 0.5
        return Encoded(tokens, token_lengths, centres / lengths[:, None], attention)


def begin_as(student: SatnEncoder, source: SatnEncoder) -> None:
    """Give ``student`` the weights of ``source``, an encoder of the same sizes.

    Raises:
        ValueError: they differ in a size, or in what the weights mean (``causal``, ``heads``); the
            message lists in which.
    """
    differences = [
        f"{name} is {student.sizes[name]} here and {value} there"
        for name, value in source.sizes.items()
        if student.sizes[name] != value
    ]
    if differences:
        raise ValueError(
            "a student that begins with a source's weights needs its sizes, but "
            + ", ".join(differences)
        )
    student.load_state_dict(source.state_dict())


class Satn(nn.Module):
    """The student: the encoder, attentive pooling and a linear head.

    An utterance longer than ``segment`` is read in the fewest segments that cover it, evenly
    spaced, each as if it were alone, and its posterior is the mean or the maximum over theirs,
    made to sum to one. Chen et al. 2018 (IEEE Signal Processing Letters 25(10), 3-D ACRNN) pool
    the posteriors of 3-second segments by their maximum; that SATN does is inferred.

    If every utterance of the batch fits in one segment (so in training, where they are cropped to
    it), ``Output.tokens`` and ``Output.attention`` are the encoder's and the logits the head's. If
    not, then for the whole batch the tokens are segments, each its pooled vector, there is no
    attention among them, and the logits are logarithms of posteriors: the same posterior as alone.
    ``Output.pooled`` is the mean over an utterance's segments, whatever ``segment_pooling`` is.

    Args:
        bins, channels, stride, dim, levels, kernel, causal, depth, mlp_dim, instance_norm: the
            encoder's; see `SatnEncoder`.
        classes: emotions.
        heads: attention heads, and heads of the pooling.
        segment: frames of a segment; None reads every utterance whole.
        segment_pooling: how an utterance's posterior follows from those of its segments.
        dropout: share dropped in the encoder and before the head.

    Raises:
        ValueError: as `SatnEncoder`; ``segment`` is less than 1; or ``segment_pooling`` is neither
            mean nor max.
    """

    def __init__(
        self,
        *,
        bins: int,
        channels: int,
        classes: int,
        stride: int,
        dim: int,
        levels: int,
        kernel: int,
        causal: bool,
        depth: int,
        heads: int,
        mlp_dim: int,
        dropout: float,
        segment: int | None,
        segment_pooling: Literal["mean", "max"],
        instance_norm: bool = False,
    ) -> None:
        super().__init__()
        if segment is not None and segment < 1:
            raise ValueError(f"segment is {segment} frames; it needs one or more, or none at all")
        if segment_pooling not in ("mean", "max"):
            raise ValueError(f"segment_pooling is {segment_pooling!r}; take 'mean' or 'max'")
        self.bins = bins
        self.channels = channels
        self.classes = classes
        self.dim = dim
        self.segment = segment
        self.segment_pooling = segment_pooling
        self.encoder = SatnEncoder(
            bins=bins,
            channels=channels,
            stride=stride,
            dim=dim,
            levels=levels,
            kernel=kernel,
            causal=causal,
            depth=depth,
            heads=heads,
            mlp_dim=mlp_dim,
            dropout=dropout,
            instance_norm=instance_norm,
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
        if self.segment is None:
            return self._whole(frames, lengths)
        starts, counts = window_starts(lengths, window=self.segment)
        if starts.shape[1] == 1:
            return self._whole(frames, lengths)
        present = length_mask(counts, starts.shape[1])
        rows, places = present.nonzero(as_tuple=True)
        begins = starts[rows, places]
        inside = begins[:, None] + torch.arange(self.segment, device=frames.device)
        read = self._whole(
            frames[rows[:, None], inside.clamp_max(frames.shape[1] - 1)],
            (lengths[rows] - begins).clamp_max(self.segment),
        )
        # Segments lie flat, utterance after utterance: one is found by counting to it.
        found = (present.flatten().cumsum(0) - 1).view_as(present)
        absent = ~present[..., None]
        vectors = read.pooled[found].masked_fill(absent, 0.0)
        posteriors = read.logits.log_softmax(-1)[found].masked_fill(absent, -torch.inf)
        # Either is normalised below.
        pool = torch.amax if self.segment_pooling == "max" else torch.logsumexp
        posterior = pool(posteriors, 1)
        centres = starts + lengths.clamp_max(self.segment)[:, None] / 2
        return Output(
            logits=posterior.log_softmax(-1),
            pooled=vectors.sum(1) / counts[:, None],
            tokens=vectors,
            token_lengths=counts,
            positions=centres / lengths[:, None],
        )

    def _whole(self, frames: Tensor, lengths: Tensor) -> Output:
        """Classify utterances, or segments, of which each is heard in one go."""
        encoded = self.encoder(frames, lengths)
        mask = length_mask(encoded.token_lengths, encoded.tokens.shape[1])
        pooled = self.pooling(encoded.tokens, mask)
        return Output(
            logits=self.head(self.dropout(pooled)),
            pooled=pooled,
            tokens=encoded.tokens,
            token_lengths=encoded.token_lengths,
            positions=encoded.positions,
            attention=encoded.attention,
        )
