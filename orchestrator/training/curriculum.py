"""The data curriculum: which training utterances are easy, and how many of them an epoch draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.distillation import pacing
from models.distillation.difficulty import cross_entropies, easiest
from orchestrator.experiment.curriculum import (
    BabySteps,
    DataCurriculum,
    ExponentialPacing,
    GeometricPacing,
    LinearPacing,
    OneStep,
    Pacing,
    RootPacing,
)
from orchestrator.training.data import Data
from orchestrator.training.judges import predict_logits
from orchestrator.training.ranks import ALONE, Ranks


def share_at(section: Pacing, time: float) -> float:
    """The share of easiest utterances that an epoch draws from.

    Args:
        section: which function, with its parameters.
        time: share of the stage's epochs that are done, from 0.
    """
    match section:
        case LinearPacing():
            return pacing.share_linear(time, start=section.start, grow=section.grow_share)
        case RootPacing():
            return pacing.share_root(
                time, start=section.start, grow=section.grow_share, power=section.power
            )
        case GeometricPacing():
            return pacing.share_geometric(time, start=section.start, grow=section.grow_share)
        case ExponentialPacing():
            return pacing.share_exponential(
                time, start=section.start, increase=section.increase, step=section.step_share
            )
        case BabySteps():
            return pacing.share_baby_steps(
                time, start=section.start, increase=section.increase, step=section.step_share
            )
        case OneStep():
            return pacing.share_one_step(time, start=section.start, step=section.step_share)


@dataclass(frozen=True)
class Curriculum:
    """Chooses the rows that an epoch draws from.

    Every epoch has as many updates as without a curriculum: easy utterances are drawn oftener.
    """

    section: DataCurriculum
    labels: NDArray[np.int64]
    """Of the training utterances, ``(utterances,)``."""
    difficulty: Callable[[nn.Module], NDArray[np.float64]]
    """From the network as it is to the difficulty of the training utterances, low being easy."""

    def __call__(self, time: float, network: nn.Module) -> Tensor:
        """Rows ``(n,)``, sorted; ``time`` is the share of the stage's epochs that are done."""
        difficulty = self.difficulty(network)
        if self.section.order == "hard-first":
            difficulty = -difficulty
        rows = easiest(
            difficulty,
            self.labels,
            share=share_at(self.section.pacing, time),
            balanced=self.section.balanced,
        )
        return torch.from_numpy(rows)


def own_loss(
    data: Data, labels: NDArray[np.int64], *, ranks: Ranks = ALONE
) -> Callable[[nn.Module], NDArray[np.float64]]:
    """Difficulty by the student's own cross-entropy as it is now (self-paced).

    Args:
        data: the training utterances, not augmented.
        labels: theirs, ``(utterances,)``.
        ranks: workers that share the work; they have to draw from the same utterances, and so each
            is given the same numbers, also where their processors round differently.
    """
    return partial(_own_loss, data, labels, ranks)


def _own_loss(
    data: Data, labels: NDArray[np.int64], ranks: Ranks, network: nn.Module
) -> NDArray[np.float64]:
    return cross_entropies(predict_logits(network, data, ranks=ranks).numpy(), labels)


def always(difficulty: NDArray[np.float64]) -> Callable[[nn.Module], NDArray[np.float64]]:
    """A difficulty that was found beforehand."""

    def known(network: nn.Module) -> NDArray[np.float64]:
        return difficulty

    return known
