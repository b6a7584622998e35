"""Dealing rows into batches, so that few rows get as many updates as many do."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cycled(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw ``count`` of ``rows`` by going through one fresh shuffle after another.

    Each row comes ``count / len(rows)`` times, rounded down or up.

    Args:
        rows: (n,) int, at least one.
        count: draws; may be more or fewer than there are rows.
        generator: what the shuffles are drawn with.

    Returns:
        (count,) of the rows.

    Raises:
        ValueError: there are no rows.
    """
    if len(rows) == 0:
        raise ValueError("rows is empty; give at least one to draw from")
    shuffles = range(math.ceil(count / len(rows)))
    drawn = [rows[torch.randperm(len(rows), generator=generator)] for _ in shuffles]
    return torch.cat([rows[:0], *drawn])[:count]


def class_balanced(
    rows: Tensor, labels: Tensor, *, size: int, batches: int, generator: torch.Generator
) -> list[Tensor]:
    """Batches with as equal numbers of the classes as can be.

    Within a batch, the numbers of any two classes that occur among ``rows`` differ by at most one,
    and over all batches too: the places that are left over go round the classes, in a shuffled
    order, and with fewer places than classes they take turns. Each class's rows come as in
    ``cycled``, so those of a small class come oftener. The order within a batch is shuffled.

    Args:
        rows: (n,) int, the rows to draw from, at least one.
        labels: (utterances,) int, of all utterances of the data: ``labels[rows]`` are the rows'.
        size: rows of every batch, at least 1.
        batches: how many.
        generator: what all is drawn with.

    Returns:
        ``batches`` tensors (size,) of the rows.

    Raises:
        ValueError: there are no rows.
    """
    if len(rows) == 0:
        raise ValueError("rows is empty; give at least one to draw from")
    found = sorted(set(labels[rows].tolist()))
    classes = [found[at] for at in torch.randperm(len(found), generator=generator).tolist()]
    # all places of all batches are dealt out in one round after another
    seats = (torch.arange(batches * size) % len(classes)).view(batches, size)
    dealt = torch.empty(batches, size, dtype=rows.dtype)
    for seat, label in enumerate(classes):
        taken = seats == seat
        dealt[taken] = cycled(rows[labels[rows] == label], int(taken.sum()), generator)
    return [batch[torch.randperm(size, generator=generator)] for batch in dealt]
