"""A fold's student at its start with all that teaches it, for tests that take single steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.features import PackedFrames
from orchestrator.store import Store
from orchestrator.training.data import Batch, Data
from orchestrator.training.inputs import FrameSource
from orchestrator.training.knowledge import load_knowledge
from orchestrator.training.meta import HeldSpeech
from orchestrator.training.networks import build_network
from orchestrator.training.student_loss import Helpers, StudentLoss
from orchestrator.training.task import FoldTask, Silent

STUDENTS: dict[str, dict[str, Any]] = {
    "vertical-vit": {
        "kind": "vertical-vit",
        "depth": 1,
        "heads": 1,
        "head_dim": 8,
        "mlp_dim": 8,
        "dim": 8,
        "patch_frames": 8,
    },
    "conv-transformer": {
        "kind": "conv-transformer",
        "channels": [8, 8, 8],
        "dim": 8,
        "depth": 1,
        "heads": 2,
        "mlp_dim": 8,
    },
    "inverted-transformer": {
        "kind": "inverted-transformer",
        "window_seconds": 0.5,
        "dim": 8,
        "depth": 1,
        "heads": 2,
        "mlp_dim": 8,
    },
}
"""A small one of each kind."""


@dataclass
class Taught:
    """A student, its loss, and the fold's speech."""

    task: FoldTask
    network: nn.Module
    loss: StudentLoss
    train: Data
    held: HeldSpeech

    @classmethod
    def of(cls, task: FoldTask, store: Store) -> Taught:
        """The student of ``task``, whose teacher is fitted if the store has none."""
        knowledge = load_knowledge(task, store, reporter=Silent())
        torch.manual_seed(0)
        network = build_network(task.recipe.student, features=task.features, classes=task.classes)
        width: Any = network.dim
        helpers = Helpers(task, student_dim=width, knowledge=knowledge)
        source = FrameSource(task, PackedFrames.open(store, task.frames), task.train)
        loss = StudentLoss(task, helpers, knowledge, None)
        assert task.held is not None
        held = HeldSpeech(source.data(task.held), task.held, loss)
        return cls(task, network, loss, source.data(task.train), held)

    def batch(self, *rows: int) -> Batch:
        """Training utterances, as they are."""
        return self.train.batch(torch.tensor(rows))

    def state(self) -> dict[str, Tensor]:
        """A copy of the student's tensors."""
        return {name: value.clone() for name, value in self.network.state_dict().items()}
