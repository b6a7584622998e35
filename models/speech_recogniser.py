"""A speech recogniser over SATN's encoder: the source task that attention is learned on.

Connectionist temporal classification (CTC; Graves et al. 2006, ICML, sections 3 and 4): a label or
a blank for every token, and the probability of a transcript is that of all alignments that come to
it when repeats are merged and then blanks are removed. That SATN's recogniser is trained so is
inferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.outputs import Heads, Listening, length_mask
from models.satn import SatnEncoder

BLANK = 0
"""The output that stands for no label; labels are counted from 1."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """One forward pass of a recogniser over a padded batch of utterances."""

    logits: Tensor
    """(batch, tokens, symbols + 1), unnormalised; output 0 is the blank."""
    token_lengths: Tensor
    """(batch,) int64: real tokens of each utterance; the rest of ``logits`` is padding."""
    positions: Tensor
    """(batch, tokens) float32, where in its utterance each token is centred; see ``Output``."""
    attention: tuple[Heads, ...]
    """Of each self-attention layer, in order."""

    def listening(self, layer: int) -> Listening:
        """Attention layer ``layer``, counted from 1."""
        return Listening(self.attention[layer - 1], self.token_lengths, self.positions)


class SpeechRecogniser(nn.Module):
    """The encoder and a linear head that names a symbol, or none, for every token.

    Args:
        encoder: heard by the head; its ``stride`` sets how many labels a second can hold.
        symbols: how many there are, labelled 1 to ``symbols``; the blank comes beside them.
        dropout: share dropped before the head.
    """

    def __init__(self, encoder: SatnEncoder, *, symbols: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.symbols = symbols
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.dim, symbols + 1)

    def forward(self, frames: Tensor, lengths: Tensor) -> Recognition:
        """Recognise a padded batch.

        Args:
            frames: (batch, frames, bins * channels), planes one after the other along the width.
            lengths: (batch,) int, real frames of each utterance, at least 1.
        """
        encoded = self.encoder(frames, lengths)
        return Recognition(
            logits=self.head(self.dropout(encoded.tokens)),
            token_lengths=encoded.token_lengths,
            positions=encoded.positions,
            attention=encoded.attention,
        )


def ctc_loss(recognition: Recognition, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Each utterance's negative log probability of its transcript, divided by its labels.

    Graves et al. 2006, section 4.1. Divided, long transcripts do not outweigh short ones; an empty
    one is divided by 1.

    Args:
        recognition: of the batch.
        targets: (batch, longest) int64 labels from 1; what is past a transcript's end is not read.
        target_lengths: (batch,) int, labels of each transcript, 0 or more.

    Returns:
        (batch,), never infinite.

    Raises:
        ValueError: an utterance has fewer tokens than its transcript needs (its labels, and a
            blank between any two alike), or a label is not one of the recogniser's.
    """
    real = length_mask(target_lengths, targets.shape[1])
    strange = real & ((targets <= BLANK) | (targets >= recognition.logits.shape[2]))
    if strange.any():
        raise ValueError(
            f"a target has label {int(targets[strange][0])}; labels of this recogniser are 1 to "
            f"{recognition.logits.shape[2] - 1}"
        )
    alike = (real[:, 1:] & (targets[:, 1:] == targets[:, :-1])).sum(1)
    short = recognition.token_lengths < target_lengths + alike
    if short.any():
        row = int(short.nonzero()[0])
        raise ValueError(
            f"utterance {row} of the batch has {int(recognition.token_lengths[row])} tokens for "
            f"{int(target_lengths[row])} labels, {int(alike[row])} of them like the one before, "
            f"and needs {int(target_lengths[row] + alike[row])}; lower the encoder's stride, or "
            "leave the utterance out"
        )
    logits = recognition.logits
    exact = torch.promote_types(logits.dtype, torch.float32)
    # On the CPU, since torch's gradient on a GPU differs from run to run.
    losses = F.ctc_loss(
        logits.log_softmax(-1, dtype=exact).transpose(0, 1).cpu(),
        targets.cpu(),
        recognition.token_lengths.cpu(),
        target_lengths.cpu(),
        blank=BLANK,
        reduction="none",
    )
    return losses.to(logits.device) / target_lengths.clamp_min(1)


def greedy_decode(logits: Tensor, token_lengths: Tensor) -> list[list[int]]:
    """The transcript of the likeliest alignment ("best path", Graves et al. 2006, section 3.2).

    Args:
        logits: (batch, tokens, symbols + 1).
        token_lengths: (batch,) int, real tokens of each utterance.

    Returns:
        Each utterance's labels: repeats merged, then blanks removed.
    """
    paths = logits.argmax(-1).cpu()
    merged = (
        path[:length].unique_consecutive()
        for path, length in zip(paths, token_lengths.tolist(), strict=True)
    )
    return [path[path != BLANK].tolist() for path in merged]


@dataclass(frozen=True, slots=True)
class Edits:
    """What turns a reference into a hypothesis in the fewest steps (Levenshtein)."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def total(self) -> int:
        """How many there are."""
        return self.substitutions + self.deletions + self.insertions


def edit_distance(reference: Sequence[object], hypothesis: Sequence[object]) -> Edits:
    """Count the fewest edits from ``reference`` to ``hypothesis``.

    Of several ways that are equally short, that is taken whose last edit is a substitution, then a
    deletion, then an insertion, and so on towards the start.
    """
    row = [Edits(insertions=count) for count in range(len(hypothesis) + 1)]
    for read, label in enumerate(reference, start=1):
        above, row = row, [Edits(deletions=read)]
        for place, heard in enumerate(hypothesis):
            over, up, left = above[place], above[place + 1], row[place]
            row.append(
                min(
                    Edits(over.substitutions + (label != heard), over.deletions, over.insertions),
                    Edits(up.substitutions, up.deletions + 1, up.insertions),
                    Edits(left.substitutions, left.deletions, left.insertions + 1),
                    key=lambda edits: edits.total,
                )
            )
    return row[-1]
