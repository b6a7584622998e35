"""Who says after every epoch how good a network is, on validation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.errors import TrainingError
from orchestrator.evaluation.metrics import scores
from orchestrator.experiment.training import Training
from orchestrator.training.data import Data, scoring_batches
from orchestrator.training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Judged:
    """A network after an epoch."""

    row: Mapping[str, float]
    """Values to log, by names such as ``validation/macro_recall``."""
    cost: float
    """What the kept epoch has least of."""
    logits: np.ndarray
    """What the network says of the validation utterances, as it is kept."""


class Judge(ABC):
    """Scores a network on validation."""

    name: str
    """Of the cost, for messages."""
    last: bool
    """Keep the last epoch, whatever the cost."""

    @abstractmethod
    def __call__(self, network: nn.Module) -> Judged:
        """Score ``network`` as it is."""


class EmotionJudge(Judge):
    """Cross-entropy, or macro recall, of the emotions.

    Args:
        validation: utterances, in the order of ``labels``.
        labels: their emotions.
        settings: say which of the two decides.
        ranks: workers that share the scoring, each of which gets the same numbers.
    """

    def __init__(
        self,
        validation: Data,
        labels: Sequence[int],
        *,
        settings: Training,
        ranks: Ranks = ALONE,
    ) -> None:
        self.validation = validation
        self.ranks = ranks
        self.labels = torch.tensor(list(labels))
        self.by_recall = settings.epoch_choice == "validation-macro-recall"
        self.name = "cross_entropy"
        self.last = settings.epoch_choice == "last"

    def __call__(self, network: nn.Module) -> Judged:
        """Logits ``(utterances, classes)`` and their scores."""
        logits = predict_logits(network, self.validation, ranks=self.ranks)
        loss = float(nn.functional.cross_entropy(logits, self.labels))
        found = scores(self.labels.numpy(), logits.argmax(1).numpy(), classes=logits.shape[1])
        row = {
            "validation/cross_entropy": loss,
            "validation/macro_recall": found.macro_recall,
            "validation/accuracy": found.accuracy,
        }
        # a loss that is not finite is never hidden by a recall
        judged = -found.macro_recall if self.by_recall and np.isfinite(loss) else loss
        return Judged(row, judged, logits.numpy())


@torch.no_grad()
def predict_logits(network: nn.Module, data: Data, *, ranks: Ranks = ALONE) -> Tensor:
    """Logits ``(utterances, classes)`` on the CPU, in the order of ``data``.

    Args:
        network: scored in evaluation mode.
        data: what it hears; at least one utterance.
        ranks: each hears some of the batches and learns of the others; all have to ask. The numbers
            are those of one worker, to the bit.

    Raises:
        TrainingError: there is no utterance.
    """
    if not len(data):
        raise TrainingError("there is nothing to score: the set of utterances is empty")
    network.eval()
    batches = scoring_batches(data.lengths)
    mine = batches[ranks.rank :: ranks.world]
    out: Tensor | None = None
    for rows in mine:
        logits = network(*data.batch(rows).inputs).logits.float().cpu()
        if out is None:
            out = torch.zeros(len(data), logits.shape[1], dtype=torch.float32)
        # at once: small tensors kept between large ones would pin the memory those leave
        out[rows] = logits
    # the first rank always has a batch, the others may have none to know the classes by
    classes = torch.tensor([out.shape[1] if out is not None and ranks.rank == 0 else 0])
    classes = ranks.sum_values(classes)
    if out is None:
        out = torch.zeros(len(data), int(classes), dtype=torch.float32)
    return ranks.sum_values(out)
