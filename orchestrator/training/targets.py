"""What cross-entropy compares a network's word with: labels, or shares of votes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from orchestrator.canonical import digest
from orchestrator.experiment.recipe import Training
from orchestrator.training.task import Utterances


def training_targets(utterances: Utterances, settings: Training, *, device: str) -> Tensor:
    """Labels ``(utterances,)`` int64, or with ``targets: votes`` shares ``(utterances, classes)``.

    A corpus without any votes gives labels; :mod:`orchestrator.preparation` refuses it before.
    """
    if settings.targets == "votes" and utterances.votes:
        return torch.tensor(utterances.votes, dtype=torch.float32, device=device)
    return torch.tensor(utterances.labels, device=device)


def target_inputs(utterances: Utterances, settings: Training) -> dict[str, Any]:
    """What a store key needs besides the labels: the votes, only where they are learned from."""
    if settings.targets == "majority":
        return {}
    return {"votes": digest([list(shares) for shares in utterances.votes])}
