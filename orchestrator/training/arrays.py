"""Arrays of unequal length, one an utterance, of which batches are made without holding them all.

On a CPU they stay in their memory maps, and a batch is read from there. On a device they lie whole
if they are given room, and else a batch is read on the host and moved: with the same numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.training.residency import PIECE_BYTES, moved, moves_whole


@dataclass(frozen=True)
class Steps:
    """Places between the items of utterances, ``(batch, places)`` each, on the CPU, rising."""

    low: Tensor
    """The item before the place."""
    high: Tensor
    """The item after it, or the same at the end."""
    share: Tensor
    """How far the place is from ``low`` to ``high``."""


class Arrays(ABC):
    """Arrays ``(items, *shape)``, one an utterance."""

    lengths: Tensor
    """Items of each, ``(utterances,)`` on the CPU."""

    @abstractmethod
    def padded(self, rows: Tensor) -> Tensor:
        """Those of ``rows``, ``(batch, longest, *shape)``, 0 beyond their ends."""

    @abstractmethod
    def between(self, rows: Tensor, steps: Steps) -> Tensor:
        """Values between neighbours, linearly interpolated: ``(batch, places, width)``."""


class MappedArrays(Arrays):
    """Read from memory maps batch by batch, on the CPU.

    Args:
        views: of the utterances, ``(items, *shape)`` each.
        shape: of an item.
        mean: to be subtracted, ``shape``; default: values are as they lie there, in their own type.
        std: to divide by then, ``shape``.
    """

    def __init__(
        self,
        views: Sequence[NDArray[Any]],
        *,
        shape: tuple[int, ...],
        mean: NDArray[np.float32] | None = None,
        std: NDArray[np.float32] | None = None,
    ) -> None:
        self.views = views
        self.shape = shape
        self.lengths = torch.tensor([len(view) for view in views], dtype=torch.long)
        kind = np.float32 if mean is not None or not views else views[0].dtype
        self.dtype: torch.dtype = torch.from_numpy(np.zeros(0, kind)).dtype
        self.normal = None if mean is None or std is None else (mean[None], std[None])
        self._rooms = {"after": torch.empty(0), "heard": torch.empty(0)}

    def padded(self, rows: Tensor) -> Tensor:
        """Those of ``rows``, 0 beyond their ends."""
        lengths = self.lengths[rows].tolist()
        out = torch.empty(len(lengths), max(lengths), *self.shape, dtype=self.dtype)
        array = out.numpy()
        for place, (row, length) in enumerate(zip(rows.tolist(), lengths, strict=True)):
            self.read(self.views[row], array[place, :length])
            array[place, length:] = 0.0
        return out

    def between(self, rows: Tensor, steps: Steps) -> Tensor:
        """Values between neighbours; of an utterance, only what is heard is read."""
        begins, ends = steps.low[:, 0].tolist(), (steps.high[:, -1] + 1).tolist()
        low, high = ((part - steps.low[:, :1]).numpy() for part in (steps.low, steps.high))
        found = torch.empty(*low.shape, *self.shape)
        longest = max(end - begin for begin, end in zip(begins, ends, strict=True))
        heard = self._room("heard", longest * found.shape[2]).view(longest, -1).numpy()
        after = self._room("after", found[0].numel()).view(found[0].shape)
        between = steps.share.any(dim=1).tolist()
        lows, highs = found.numpy(), after.numpy()
        # an utterance at a time stays in the processor's cache
        for place, (row, begin, end) in enumerate(zip(rows.tolist(), begins, ends, strict=True)):
            view, out = self.views[row][begin:end], lows[place]
            if not between[place] and np.array_equal(low[place, : end - begin], _axis(end - begin)):
                # neither stretched nor cut between two items: nothing but the end is repeated
                self.read(view, out[: end - begin])
                out[end - begin :] = out[end - begin - 1]
                continue
            items = heard[: end - begin]
            self.read(view, items)
            # no place is out of bounds; clipping only saves a copy
            items.take(low[place], axis=0, out=out, mode="clip")
            if between[place]:
                items.take(high[place], axis=0, out=highs, mode="clip")
                torch.lerp(found[place], after, steps.share[place, :, None], out=found[place])
        return found

    def read(self, view: NDArray[Any], out: NDArray[Any]) -> None:
        """Put the values of ``view``, normalised if that is wanted, into ``out``."""
        if self.normal is None:
            out[...] = view
            return
        count = len(view)
        if len(self.normal[0]) < count:
            # repeated for each item, since sums over equal shapes take half the time
            mean, std = (part[:1] for part in self.normal)
            repeats = (count, *[1] * len(self.shape))
            self.normal = np.tile(mean, repeats), np.tile(std, repeats)
        mean, std = self.normal
        np.subtract(view, mean[:count], out=out)
        np.divide(out, std[:count], out=out)

    def _room(self, name: str, count: int) -> Tensor:
        """A buffer for ``count`` numbers; kept, since memory that is new is slow."""
        if self._rooms[name].numel() < count:
            self._rooms[name] = torch.empty(count)
        return self._rooms[name][:count]


class ResidentArrays(Arrays):
    """Whole on a device.

    Args:
        mapped: what is to lie there.
        device: that has room for it.
    """

    def __init__(self, mapped: MappedArrays, *, device: str) -> None:
        self.lengths = mapped.lengths
        self.starts = torch.cumsum(self.lengths, 0) - self.lengths
        total = int(self.lengths.sum())
        self.flat = torch.empty(total, *mapped.shape, dtype=mapped.dtype, device=device)
        for rows in _grouped(mapped):
            first = int(self.starts[rows[0]])
            count = int(self.lengths[rows].sum())
            piece = torch.empty(count, *mapped.shape, dtype=mapped.dtype)
            for row in rows:
                begin = int(self.starts[row]) - first
                mapped.read(
                    mapped.views[row], piece.numpy()[begin : begin + len(mapped.views[row])]
                )
            self.flat[first : first + count].copy_(piece)

    def padded(self, rows: Tensor) -> Tensor:
        """Those of ``rows``, 0 beyond their ends."""
        lengths = self.lengths[rows][:, None]
        axis = torch.arange(int(lengths.max()))
        places = self.starts[rows][:, None] + torch.minimum(axis, lengths - 1)
        return _cut(self.flat[moved(places, str(self.flat.device))], axis >= lengths)

    def between(self, rows: Tensor, steps: Steps) -> Tensor:
        """Values between neighbours."""
        return _between(self.flat, self.starts[rows], steps)


class StreamedArrays(Arrays):
    """Read on the host batch by batch, and moved to a device.

    Args:
        mapped: what is read.
        device: where batches go.
    """

    def __init__(self, mapped: MappedArrays, *, device: str) -> None:
        self.mapped = mapped
        self.lengths = mapped.lengths
        self.device = device

    def padded(self, rows: Tensor) -> Tensor:
        """Those of ``rows``, 0 beyond their ends."""
        return moved(self.mapped.padded(rows), self.device)

    def between(self, rows: Tensor, steps: Steps) -> Tensor:
        """Values between neighbours, computed on the device as where the arrays lie there."""
        whole = self.padded(rows)
        return _between(whole.flatten(0, 1), torch.arange(len(rows)) * whole.shape[1], steps)


def arrays_on(mapped: MappedArrays, *, device: str, share: float) -> Arrays:
    """Arrays where their batches are wanted: mapped, whole on the device, or streamed to it.

    Args:
        mapped: the arrays.
        device: of their batches.
        share: of the device's memory, what data may fill.
    """
    if device == "cpu":
        return mapped
    items = int(mapped.lengths.sum())
    size = items * int(np.prod(mapped.shape)) * mapped.dtype.itemsize
    if moves_whole(size, device=device, share=share):
        return ResidentArrays(mapped, device=device)
    return StreamedArrays(mapped, device=device)


def _between(flat: Tensor, starts: Tensor, steps: Steps) -> Tensor:
    device = str(flat.device)
    low, high = (moved(starts[:, None] + part, device) for part in (steps.low, steps.high))
    return torch.lerp(flat[low], flat[high], moved(steps.share, device)[:, :, None])


def _axis(count: int) -> NDArray[np.int64]:
    return np.arange(count, dtype=np.int64)


def _cut(found: Tensor, beyond: Tensor) -> Tensor:
    """``found``, 0 where ``beyond`` ``(batch, longest)`` says so; in place."""
    hidden = moved(beyond, str(found.device))
    return found.masked_fill_(hidden.view(*hidden.shape, *[1] * (found.ndim - 2)), 0.0)


def _grouped(mapped: MappedArrays) -> list[list[int]]:
    """Rows in their order, in groups that are not too large to be read at once."""
    each = int(np.prod(mapped.shape)) * mapped.dtype.itemsize
    groups: list[list[int]] = []
    size = PIECE_BYTES
    for row, length in enumerate(mapped.lengths.tolist()):
        if size + length * each > PIECE_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(row)
        size += length * each
    return groups
