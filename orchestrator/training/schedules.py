"""The learning rate over the updates of a stage."""

from __future__ import annotations

import math

from orchestrator.experiment.training import Fitting


def learning_rate(step: int, *, updates: int, settings: Fitting) -> float:
    """The rate of update ``step``, counted from 0, of ``updates``.

    A linear warm-up over ``warmup_share`` of the updates, then to zero along a cosine or a line, or
    as it is (``lr_schedule``).
    """
    warmup = settings.warmup_share * updates
    if step < warmup:
        return settings.lr * (step + 1) / (warmup + 1)
    share = (step - warmup) / max(1.0, updates - warmup)
    if settings.lr_schedule == "cosine":
        return settings.lr * 0.5 * (1.0 + math.cos(math.pi * share))
    return settings.lr * (1.0 - share) if settings.lr_schedule == "linear" else settings.lr
