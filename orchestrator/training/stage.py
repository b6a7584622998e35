"""A stage of training: some epochs with the same loss, and what changes beside the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from models.outputs import Output
from orchestrator.training.data import Batch, Data

Losses = Callable[[Output, Batch], Mapping[str, Tensor]]
"""Named terms of the loss, already weighted, one value an example: ``(batch,)`` each."""

Choose = Callable[[float, nn.Module], Tensor]
"""From the share of the stage's epochs that are done and the network to the rows that the next
epoch draws from."""


class Companion:
    """Something that changes with training beside the network. By itself it does nothing."""

    def before_epoch(self, epoch: int) -> None:
        """Called before epoch ``epoch`` of the stage, counted from 0."""

    def before_update(
        self, network: nn.Module, batch: Callable[[], Batch], *, update: int, epoch: int
    ) -> None:
        """Called before the network's step on a batch, by every worker of the fit.

        Args:
            network: in training mode.
            batch: gives the whole batch, of which the network may hear parts.
            update: updates of the stage so far.
            epoch: over all stages, counted from 1: what draws are seeded with.
        """

    def begin_again(self, update: int) -> None:
        """Called when an update is taken again: what its first attempt left counts no longer."""

    def after_backward(self) -> None:
        """Called when the gradients of an update are there, before the network's step."""

    def logged(self) -> Mapping[str, float]:
        """Named values after an epoch."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint needs to go on bit by bit."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state` gave."""


@dataclass(frozen=True)
class Speech:
    """Utterances of which batches are made, and their names."""

    data: Data
    ids: Sequence[str]


@dataclass(frozen=True)
class Extra:
    """Speech that every update hears beside its batch, with losses of its own."""

    speech: Speech
    losses: Losses
    size: int
    """Utterances in each update."""
    weight: float
    """Of their mean loss."""
    compares: bool = False
    """As of a stage."""


@dataclass(frozen=True)
class Stage:
    """Some epochs with the same loss; the learning rate rises and falls once in each."""

    name: str
    epochs: int
    losses: Losses
    chooses: bool = True
    """Whether an epoch of this stage may be the one that is kept."""
    speech: Speech | None = None
    """What is heard; default: the fold's training utterances."""
    choose: Choose | None = None
    """Which rows an epoch draws from; default: all."""
    extra: Extra | None = None
    companions: Sequence[Companion] = ()
    compares: bool = False
    """Whether a loss of an utterance depends on the others of its batch (``Batch.whole``)."""
