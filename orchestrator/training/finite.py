"""Finds the first term of the loss that is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

ON_A_GPU = 16
"""Updates between two looks there, since to look at a number means to wait for it."""

Ids = Callable[[], list[str]]
"""Names the utterances of a batch, or of the part of it that this worker has."""


@dataclass(frozen=True)
class Place:
    """Where training is."""

    stage: str
    epoch: int
    """Over all stages, counted from 1."""
    update: int
    """Of the stage, counted from 0."""


@dataclass
class Watch:
    """Looks at every term of every update, on a GPU now and then at all since the last time."""

    key: str
    """Of the settings in the experiment file, for messages."""
    every: int = 1
    """Updates between two looks."""
    _seen: list[tuple[Place, list[str], Tensor, Ids]] = field(default_factory=list)

    def see(self, sums: Mapping[str, Tensor], *, place: Place, ids: Ids) -> None:
        """Remember the terms of some utterances of a batch, in the order they were computed."""
        if self.every == 1 and math.isfinite(sum(value.item() for value in sums.values())):
            return
        if sums:
            values = torch.stack([value.detach().double() for value in sums.values()])
            self._seen.append((place, list(sums), values, ids))

    def wrong(self, update: int = 0) -> str:
        """What went wrong first, as a paragraph; empty if nothing did or it is no time to look.

        Args:
            update: the one that is under way; default: look now.
        """
        if update % self.every:
            return ""
        seen, self._seen = self._seen, []
        for place, names, values, ids in seen:
            for name, value in zip(names, values.tolist(), strict=True):
                if not math.isfinite(value):
                    return (
                        f"{name} became {value} at update {place.update} of stage {place.stage!r} "
                        f"(epoch {place.epoch}); utterances of the batch: {', '.join(ids())}. "
                        f"Lower {self.key}.lr or {self.key}.gradient_clip, or look at that "
                        "objective's weight and at the augmentation"
                    )
        return ""
