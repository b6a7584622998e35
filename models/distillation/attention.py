"""Attention transfer: the student is to attend as a source does that learned it elsewhere.

One value an utterance, as in ``models.distillation.objectives``.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from models.distillation.attention_alignment import aligned, time_weights
from models.outputs import Heads, Listening, length_mask

__all__ = [
    "Match",
    "aligned",
    "attention_maps",
    "attention_transfer",
    "heard_by_attention",
    "refuse_mismatch",
    "relation_maps",
    "similarity",
    "time_weights",
]

Match = Literal["kl", "l2", "relations", "similarity"]
"""What of the student's attention is compared with the source's: see ``attention_transfer``."""


def attention_maps(listening: Listening) -> Tensor:
    """Who attends to whom: ``softmax(q k^T / sqrt(head_dim))`` over the real tokens.

    Returns:
        (batch, heads, tokens, tokens), at least float32: rows of real tokens sum to one, rows and
        columns of padding are 0.
    """
    heads, lengths = listening.heads, listening.lengths
    return _maps(_scores(heads.queries, heads.keys, lengths), lengths)


def relation_maps(vectors: Tensor, lengths: Tensor, *, relation_heads: int | None = None) -> Tensor:
    """Who resembles whom: ``softmax(x x^T / sqrt(dim))`` over the real tokens.

    Wang et al. 2020 (MiniLM), section 3.2, of the values; Wang et al. 2021 (MiniLMv2), section 3,
    of queries, keys and values, their heads cut anew.

    Args:
        vectors: (batch, heads, tokens, dim).
        lengths: (batch,) int, real tokens, at least 1.
        relation_heads: put the heads side by side and cut them into this many; default: as many
            as there are.

    Returns:
        (batch, relation heads, tokens, tokens), as ``attention_maps``.

    Raises:
        ValueError: ``relation_heads`` does not divide heads x dim.
    """
    vectors = _cut(vectors, relation_heads)
    return _maps(_scores(vectors, vectors, lengths), lengths)


def refuse_mismatch(
    *,
    match: Match,
    student_heads: int,
    student_width: int,
    source_heads: int,
    source_width: int,
    relation_heads: int | None,
) -> None:
    """Raise if a student of these sizes cannot be compared with such a source.

    Args:
        match: as ``attention_transfer``.
        student_heads: attention heads.
        student_width: heads x head_dim.
        source_heads: likewise.
        source_width: likewise.
        relation_heads: as ``attention_transfer``.

    Raises:
        ValueError: ``kl``, or ``relations`` without ``relation_heads``, and unequal numbers of
            heads; or ``relation_heads`` that do not divide both widths.
    """
    if match == "relations" and relation_heads is not None:
        common = math.gcd(student_width, source_width)
        if relation_heads < 1 or common % relation_heads:
            raise ValueError(
                f"relation_heads {relation_heads} does not divide both the source's width "
                f"{source_width} and the student's {student_width} (heads x head_dim); "
                f"use a divisor of {common}"
            )
    elif match in ("kl", "relations") and student_heads != source_heads:
        mend = (
            f"relation_heads (a divisor of {math.gcd(student_width, source_width)}), or match: "
            "l2 or similarity"
            if match == "relations"
            else "match: relations with relation_heads, l2 or similarity"
        )
        raise ValueError(
            f"the source has {source_heads} heads and the student {student_heads}, "
            f"and match: {match} compares head with head; make them equal, or use {mend}"
        )


def attention_transfer(
    student: Listening,
    source: Listening,
    *,
    match: Match,
    values: bool = False,
    relation_heads: int | None = None,
) -> Tensor:
    """How far the student's attention is from the source's.

    Maps of the source are brought to the student's tokens (``time_weights``, ``aligned``); no
    gradient flows into it. Padding has no part on either side.

    - ``kl``: ``KL(source || student)`` of each token's attention, mean over heads and tokens (Wang
      et al. 2020, section 3.1); ``values`` adds the same of the values' relations (section 3.2).
    - ``l2``: squared distance of the maps' squares, averaged over heads and then scaled to norm
      one (Zagoruyko & Komodakis 2017, section 3.1). The sum over the map's entries; the authors'
      code takes the mean, with which a weight would mean less the longer an utterance is.
    - ``relations``: the mean over queries, keys and values of the divergences of their relations
      (Wang et al. 2021, section 3).
    - ``similarity``: which utterances of the batch are alike (Tung & Mori 2019): ``F F^T``, each
      row scaled to norm one, where ``F`` is what attention hears, heads side by side, averaged
      over tokens (that average is inferred: the paper flattens maps of one size). The mean over
      the batch is the paper's squared norm over the squared batch size; an utterance alone gives 0.

    Args:
        student: attention of the student; gradients flow into it.
        source: of the same utterances; its tokens may be spaced otherwise, and the student may
            hear only a part of what it heard.
        match: ``kl`` needs equal numbers of heads, ``l2`` and ``similarity`` nothing.
        values: read by ``kl`` only; default false.
        relation_heads: read by ``relations`` only: heads into which both sides are cut, a divisor
            of both widths; default: as they are, which needs equal numbers of heads.

    Returns:
        (batch,) losses, at least float32.

    Raises:
        ValueError: heads or widths do not allow the comparison, as ``refuse_mismatch``.
    """
    _, mine, _, mine_dim = student.heads.queries.shape
    _, theirs, _, their_dim = source.heads.queries.shape
    refuse_mismatch(
        match=match,
        student_heads=mine,
        student_width=mine * mine_dim,
        source_heads=theirs,
        source_width=theirs * their_dim,
        relation_heads=relation_heads,
    )
    if match == "similarity":
        return similarity(heard_by_attention(student), heard_by_attention(source))
    if match == "l2":
        with torch.no_grad():
            energy = _energy(_at_student(attention_maps(source), student, source))
        return (energy - _energy(attention_maps(student))).square().sum(dim=-1)
    terms = []
    for (left, right), (source_left, source_right) in zip(
        _compared(student.heads, match, values, relation_heads),
        _compared(source.heads, match, values, relation_heads),
        strict=True,
    ):
        with torch.no_grad():
            scores = _scores(source_left, source_right, source.lengths)
            target = _at_student(_maps(scores, source.lengths), student, source)
        terms.append(_divergence(target, _scores(left, right, student.lengths), student.lengths))
    total = torch.stack(terms).sum(dim=0)
    return total / len(terms) if match == "relations" else total


def heard_by_attention(listening: Listening) -> Tensor:
    """What attention hears of each utterance, averaged over its tokens, heads side by side.

    Returns:
        (batch, heads x dim), at least float32.
    """
    lengths = listening.lengths
    values = _without_padding(listening.heads.values, lengths)
    shares = attention_maps(listening).sum(dim=2, keepdim=True) / lengths[:, None, None, None]
    with torch.autocast(values.device.type, enabled=False):
        return (shares @ values).flatten(1)


def similarity(student: Tensor, source: Tensor) -> Tensor:
    """``match: similarity`` of :func:`attention_transfer`, from what is compared.

    Apart, since it alone compares utterances: whoever has a part of a batch needs of the others
    only this.

    Args:
        student: what the student's attention hears, ``heard_by_attention``, ``(batch, width)``;
            gradients flow into it.
        source: the same of the source, ``(batch, other width)``.

    Returns:
        (batch,) losses, at least float32.
    """
    with torch.no_grad():
        likeness = _likeness(source)
    return (likeness - _likeness(student)).square().sum(dim=-1) / len(likeness)


def _compared(
    heads: Heads, match: Match, values: bool, relation_heads: int | None
) -> list[tuple[Tensor, Tensor]]:
    """The pairs of vectors whose maps a divergence compares."""
    if match == "relations":
        parts = (heads.queries, heads.keys, heads.values)
        return [(cut, cut) for cut in (_cut(part, relation_heads) for part in parts)]
    pairs = [(heads.queries, heads.keys)]
    return [*pairs, (heads.values, heads.values)] if values else pairs


def _cut(vectors: Tensor, relation_heads: int | None) -> Tensor:
    if relation_heads is None:
        return vectors
    batch, heads, tokens, dim = vectors.shape
    if relation_heads < 1 or heads * dim % relation_heads:
        raise ValueError(
            f"relation_heads {relation_heads} does not divide the width {heads * dim} "
            f"({heads} heads of {dim})"
        )
    side_by_side = vectors.transpose(1, 2).reshape(batch, tokens, relation_heads, -1)
    return side_by_side.transpose(1, 2)


def _scores(left: Tensor, right: Tensor, lengths: Tensor) -> Tensor:
    """(batch, heads, tokens, tokens): ``left right^T / sqrt(dim)``, minus infinity for padding."""
    left, right = _without_padding(left, lengths), _without_padding(right, lengths)
    # autocast would compare in half precision
    with torch.autocast(left.device.type, enabled=False):
        scores = left @ right.transpose(-1, -2) / math.sqrt(left.shape[-1])
    barred = ~length_mask(lengths, left.shape[2])
    return scores.masked_fill(barred[:, None, None, :], -math.inf)


def _without_padding(vectors: Tensor, lengths: Tensor) -> Tensor:
    """At least float32, padding zeroed: whatever it holds, nothing of it reaches a gradient."""
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    return vectors.masked_fill(~length_mask(lengths, vectors.shape[2])[:, None, :, None], 0.0)


def _maps(scores: Tensor, lengths: Tensor) -> Tensor:
    barred = ~length_mask(lengths, scores.shape[2])
    return scores.softmax(dim=-1).masked_fill(barred[:, None, :, None], 0.0)


def _at_student(maps: Tensor, student: Listening, source: Listening) -> Tensor:
    # the usual case of a source that hears the same batch, a third cheaper without the products
    if torch.equal(student.positions, source.positions) and torch.equal(
        student.lengths, source.lengths
    ):
        return maps
    weights = time_weights(source.positions, source.lengths, student.positions, student.lengths)
    return aligned(maps, weights)


def _divergence(target: Tensor, scores: Tensor, lengths: Tensor) -> Tensor:
    """(batch,): mean over heads and real tokens of ``KL(target || softmax(scores))``."""
    # 0 and not minus infinity where the target is 0 because it is padding: 0 * inf is NaN
    barred = ~length_mask(lengths, scores.shape[2])
    said = scores.log_softmax(dim=-1).masked_fill(barred[:, None, None, :], 0.0)
    rows = (torch.xlogy(target, target) - target * said).sum(dim=(1, 2, 3))
    return rows / (scores.shape[1] * lengths)


def _energy(maps: Tensor) -> Tensor:
    """(batch, tokens x tokens) of norm one: the squared map, averaged over heads."""
    return F.normalize(maps.square().mean(dim=1).flatten(1), dim=-1)


def _likeness(heard: Tensor) -> Tensor:
    """(batch, batch), rows of norm one: which utterances' attention hears alike."""
    with torch.autocast(heard.device.type, enabled=False):
        return F.normalize(heard @ heard.T, dim=-1)
