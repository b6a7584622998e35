"""Arrays of one shape, one an utterance, gathered by batch without holding them all in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.training.residency import SHARE, moved, moves_whole, pieces


class Vectors:
    """Arrays ``shape``, one an utterance: mapped, or whole on a device that has room for them.

    Args:
        values: of the utterances, of any kind of number.
        change: done to what is read, ``(batch, *shape)``, such as standardising it; default:
            nothing.
        device: where batches go.
        share: of the device's memory, what data may fill.

    Attributes:
        shape: ``(utterances, *shape)``.
    """

    def __init__(
        self,
        values: Sequence[NDArray[Any]] | NDArray[Any],
        *,
        change: Callable[[Tensor], Tensor] | None = None,
        device: str = "cpu",
        share: float = SHARE,
    ) -> None:
        # a view of a memory map as a plain array is quicker to take rows of
        self.values = np.asarray(values) if isinstance(values, np.ndarray) else values
        self.shape: tuple[int, ...] = (len(values), *(values[0].shape if len(values) else ()))
        self.change = change
        self.device = device
        self._whole: Tensor | None = None
        each = 4 * int(np.prod(self.shape[1:]))
        if moves_whole(len(values) * each, device=device, share=share):
            whole = torch.empty(self.shape, device=device)
            for piece in pieces(len(values), each=each):
                whole[piece].copy_(self._read(range(len(values))[piece]))
            self._whole = whole

    def __len__(self) -> int:
        """Number of utterances."""
        return self.shape[0]

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Those of ``rows``, ``(batch, *shape)`` float32 on the device."""
        if self._whole is not None:
            return self._whole[rows]
        return moved(self._read(rows.tolist()), self.device)

    def columns(self, which: slice) -> Tensor:
        """Some of the numbers of every utterance, ``(utterances, columns)``, as they are stored."""
        return torch.from_numpy(
            np.stack([value.reshape(-1)[which] for value in self.values]).astype(
                np.float32, copy=False
            )
        )

    def _read(self, rows: Sequence[int]) -> Tensor:
        read = np.stack([self.values[row] for row in rows]).astype(np.float32, copy=False)
        found = torch.from_numpy(read)
        return found if self.change is None else self.change(found)
