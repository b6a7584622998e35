"""What a trial's fold runs went through, in one: their curves and their confusions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orchestrator.training.fold_run import FoldOutcome
from orchestrator.training.task import FoldTask


@dataclass
class Course:
    """Of the fold runs of a trial so far."""

    histories: list[Sequence[Mapping[str, float]]] = field(default_factory=list)
    confusions: dict[str, np.ndarray] = field(default_factory=dict)
    """Of each corpus, ``(classes, classes)`` counts on the validation of its folds."""
    emotions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Of each corpus."""

    def add(self, task: FoldTask, outcome: FoldOutcome) -> None:
        """One more fold run has ended."""
        corpus, counts = task.corpus, outcome.validation.confusion
        self.histories.append(outcome.history)
        self.emotions[corpus] = task.emotions
        self.confusions[corpus] = self.confusions.get(corpus, np.zeros_like(counts)) + counts

    def told(self) -> str:
        """As JSON text: ``curves``, see :func:`mean_curves`, and by corpus ``confusions``, each
        with its ``emotions`` and ``counts``.
        """
        confusions = {
            corpus: {"emotions": self.emotions[corpus], "counts": counts.tolist()}
            for corpus, counts in self.confusions.items()
        }
        return json.dumps({"curves": mean_curves(self.histories), "confusions": confusions})


def mean_curves(histories: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """The mean over fold runs of everything that was measured, epoch by epoch.

    As far as the shortest goes: a mean over those that trained on would be of other folds.

    >>> mean_curves([[{"loss": 2.0}, {"loss": 1.0}], [{"loss": 4.0}]])
    [{'loss': 3.0}]
    """
    return [
        {
            name: float(np.mean([row[name] for row in rows]))
            for name in rows[0]
            if all(name in row for row in rows)
        }
        for rows in zip(*histories, strict=False)
    ]


def read_course(told: str) -> dict[str, Any]:
    """What :meth:`Course.told` made; nothing of a trial that ran no fold."""
    found: dict[str, Any] = json.loads(told) if told else {"curves": [], "confusions": {}}
    return found
