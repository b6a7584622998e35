"""Meta-learning beside the student: what the held speakers teach about how to teach."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from models.distillation.batches import cycled
from models.distillation.bounded import BoundedValues
from models.distillation.meta import (
    HeldLoss,
    Tensors,
    TrainLoss,
    exact_gradient,
    finite_difference_gradient,
)
from models.distillation.objectives import cross_entropy
from models.outputs import Output
from orchestrator.errors import TrainingError
from orchestrator.experiment.recipe import Bilevel, FixedTemperature, LearningToTeach
from orchestrator.training.data import Batch, Data
from orchestrator.training.optimiser import load_optimiser, optimiser_tensors, under
from orchestrator.training.ranks import ALONE, Ranks
from orchestrator.training.stage import Companion
from orchestrator.training.state import derived_seed
from orchestrator.training.student_loss import (
    STUDENT_TEMPERATURE,
    TEACHER_TEMPERATURE,
    StudentLoss,
    weight_of,
)
from orchestrator.training.task import Utterances
from orchestrator.training.teacher import Teacher
from orchestrator.training.whole_batch import Gathered


class HeldSpeech:
    """Utterances of the held speakers, a batch at a time, and the outer loss on them.

    The outer loss is cross-entropy, weighed by class as in training, not smoothed (inferred).

    Args:
        data: the held utterances, not augmented.
        utterances: the same, with their labels.
        loss: of the student.
    """

    def __init__(self, data: Data, utterances: Utterances, loss: StudentLoss) -> None:
        self.data = data
        self.task = loss.task
        self.labels = torch.tensor(utterances.labels, device=loss.task.device)
        self.class_weights = loss.class_weights
        self.size = min(loss.task.recipe.training.batch_size, len(data))

    def batch(self, turn: int) -> Batch:
        """The batch of the ``turn``-th meta-update: all held utterances are gone through in turn.

        It depends on the turn alone, so that a fit that goes on from a checkpoint draws the same.
        """
        first = turn * self.size
        rounds = range(first // len(self.data), (first + self.size - 1) // len(self.data) + 1)
        shuffled = []
        for number in rounds:
            seed = derived_seed("held", self.task.seed, self.task.fold, number)
            generator = torch.Generator().manual_seed(seed)
            shuffled.append(cycled(torch.arange(len(self.data)), len(self.data), generator))
        skipped = first - rounds.start * len(self.data)
        return self.data.batch(torch.cat(shuffled)[skipped : skipped + self.size])

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The outer loss, one value an utterance."""
        return cross_entropy(
            output.logits, self.labels[batch.rows], class_weights=self.class_weights
        )


class MetaLearner(Companion, ABC):
    """Updates something by its meta-gradient, every so many updates of the student.

    The virtual step is plain gradient descent on the student's parameters alone: what is trained
    beside the student (projections, a curriculum's temperature) stays where it is during it,
    speech that is mixed in without labels is not heard in it (both inferred), and nothing is
    dropped out.

    Several workers share the utterances of both batches and add up their gradients: of the inner
    loss, of the outer loss and of what is learned. So the meta-gradient is that of the whole
    batches, not a mean of those of parts, each worker does its part of the work, and what is
    learned stays the same on all of them. With one worker there is nothing to add.

    Args:
        learned: what is learned, updated in place by Adam.
        loss: of the student.
        held: speech of the outer loss.
        lr: of Adam.
        inner_lr: of the virtual step.
        interval: updates of the student between two of these.
        exact: the gradient through the virtual step, or by finite differences.
        ranks: workers that share each batch.
    """

    def __init__(
        self,
        learned: Mapping[str, nn.Parameter],
        *,
        loss: StudentLoss,
        held: HeldSpeech,
        lr: float,
        inner_lr: float,
        interval: int,
        exact: bool = True,
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        self.learned = dict(learned)
        self.student_loss = loss
        self.held = held
        self.inner_lr = inner_lr
        self.interval = interval
        self.gradient = exact_gradient if exact else finite_difference_gradient
        self.adam = torch.optim.Adam(self.learned.values(), lr=lr)
        self.turns = 0
        self._outer: list[float] = []

    @abstractmethod
    def inner_terms(self, output: Output, batch: Batch, learned: Tensors) -> Mapping[str, Tensor]:
        """The terms of the student's loss on a batch, with what is learned in its place.

        One value an utterance.
        """

    def before_epoch(self, epoch: int) -> None:
        """Begin another mean of the outer loss."""
        self._outer = []

    def before_update(
        self, network: nn.Module, batch: Callable[[], Batch], *, update: int, epoch: int
    ) -> None:
        """Meta-update on the batch that the student is about to learn from."""
        if update % self.interval:
            return
        heard, held = _Shared(batch(), self.ranks), _Shared(self.held.batch(self.turns), self.ranks)
        self.turns += 1

        def inner(params: Tensors, learned: Tensors) -> Tensor:
            output = functional_call(network, params, heard.part.inputs)
            terms = self.inner_terms(output, heard.part, learned)
            return sum((heard.mean(term) for term in terms.values()), start=torch.zeros(()))

        def outer(params: Tensors) -> Tensor:
            output = functional_call(network, params, held.part.inputs)
            return held.mean(self.held.loss(output, held.part))

        network.eval()
        self._learn(dict(network.named_parameters()), inner, outer)
        network.train()

    def _learn(self, params: Tensors, inner: TrainLoss, outer: HeldLoss) -> None:
        gradients, value = self.gradient(
            inner,
            outer,
            params,
            dict(self.learned),
            rate=self.inner_lr,
            add=self.ranks.sum_tensors,
        )
        if not all(bool(part.isfinite().all()) for part in (value, *gradients.values())):
            raise TrainingError(
                f"the outer loss on the held speakers is {float(value)} after a virtual step, or "
                "its gradient is not finite; lower recipe.meta.inner_lr or recipe.meta.lr"
            )
        for name, parameter in self.learned.items():
            parameter.grad = gradients[name]
        self.adam.step()
        self._outer.append(float(value))

    def logged(self) -> Mapping[str, float]:
        """The mean outer loss of the epoch."""
        if not self._outer:
            return {}
        return {"meta/held_cross_entropy": sum(self._outer) / len(self._outer)}

    def state(self) -> dict[str, Tensor]:
        """What is learned, Adam's state and the number of turns."""
        return {
            **{f"learned.{name}": p.detach() for name, p in self.learned.items()},
            **{f"adam.{name}": value for name, value in optimiser_tensors(self.adam).items()},
            "turns": torch.tensor(self.turns),
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state` gave."""
        with torch.no_grad():
            for name, parameter in self.learned.items():
                parameter.copy_(state[f"learned.{name}"])
        load_optimiser(self.adam, under("adam.", state))
        self.turns = int(state["turns"])


class _Shared:
    """A batch that workers share.

    Args:
        batch: all of it.
        ranks: the workers.
    """

    def __init__(self, batch: Batch, ranks: Ranks) -> None:
        self.size = len(batch.rows)
        places = ranks.share(torch.arange(self.size))
        self.own = len(places)
        """Utterances of this worker's part."""
        self.part = batch if ranks.world == 1 else _at(batch, places, ranks)
        """What this worker hears."""

    def mean(self, losses: Tensor) -> Tensor:
        """What losses of the part add to the mean over the batch."""
        return losses[: self.own].sum() / self.size


def _at(batch: Batch, places: Tensor, ranks: Ranks) -> Batch:
    """The utterances at ``places``; of none the first stands in, so that all have work to share."""
    chosen = places if len(places) else torch.zeros(1, dtype=torch.long)
    start, span = batch.window.start[chosen], batch.window.span[chosen]
    return Batch(
        batch.rows[chosen],
        tuple(part[chosen.to(part.device)] for part in batch.inputs),
        replace(batch.window, start=start, span=span),
        Gathered(batch.rows, places, ranks=ranks),
    )


class BilevelLearner(MetaLearner):
    """Learns temperatures and weights of the loss (after Liu et al. 2022, equations inferred)."""

    def __init__(
        self, section: Bilevel, *, loss: StudentLoss, held: HeldSpeech, ranks: Ranks = ALONE
    ) -> None:
        self.values = bounded_values(section, loss)
        self.values.to(loss.task.device)
        super().__init__(
            {"raw": self.values.raw},
            loss=loss,
            held=held,
            lr=section.lr,
            inner_lr=section.inner_lr,
            interval=section.interval,
            exact=section.gradient == "exact",
            ranks=ranks,
        )
        loss.learned = self.values.values()

    def inner_terms(self, output: Output, batch: Batch, learned: Tensors) -> Mapping[str, Tensor]:
        """All objectives, with other weights and temperatures."""
        return self.student_loss.terms(output, batch, values=self.values.from_raw(learned["raw"]))

    def before_update(
        self, network: nn.Module, batch: Callable[[], Batch], *, update: int, epoch: int
    ) -> None:
        """Meta-update; the student's loss has the new values from now on."""
        super().before_update(network, batch, update=update, epoch=epoch)
        self.student_loss.learned = self.values.values()

    def logged(self) -> Mapping[str, float]:
        """The learned values beside the outer loss."""
        return {**super().logged(), **self.values.values()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state` gave."""
        super().load(state)
        self.student_loss.learned = self.values.values()


def bounded_values(section: Bilevel, loss: StudentLoss) -> BoundedValues:
    """What ``section`` lets be learned, at the recipe's values and within its bounds."""
    recipe = loss.task.recipe
    initial: dict[str, float] = {}
    bounds: dict[str, tuple[float, float]] = {}
    if "temperatures" in section.learn:
        assert isinstance(recipe.temperature, FixedTemperature)
        for name in (STUDENT_TEMPERATURE, TEACHER_TEMPERATURE):
            initial[name] = recipe.temperature.value
            bounds[name] = section.temperature_bounds
    if "weights" in section.learn:
        for objective in recipe.learned_weights:
            weight = getattr(recipe.objectives, objective)
            initial[weight_of(objective)] = weight
            bounds[weight_of(objective)] = (
                weight / section.weight_factor,
                weight * section.weight_factor,
            )
    return BoundedValues(initial, bounds)


class TeacherLearner(MetaLearner):
    """Updates the teacher by how well a step of the student with its logits does (MetaDistil).

    The student hears the updated teacher at once. Feature maps, and what is said of unlabelled
    speech, stay those of the teacher as it was fitted (inferred).
    """

    def __init__(
        self,
        section: LearningToTeach,
        *,
        teacher: Teacher,
        train: Utterances,
        loss: StudentLoss,
        held: HeldSpeech,
        ranks: Ranks = ALONE,
    ) -> None:
        self.teacher = teacher.network.eval()
        self.data = teacher.data(train)
        super().__init__(
            # of an encoder as much as was fine-tuned
            {name: p for name, p in self.teacher.named_parameters() if p.requires_grad},
            loss=loss,
            held=held,
            lr=section.lr,
            inner_lr=section.inner_lr,
            interval=section.interval,
            ranks=ranks,
        )
        loss.live_teacher = self.logits

    def inner_terms(self, output: Output, batch: Batch, learned: Tensors) -> Mapping[str, Tensor]:
        """All objectives, with the logits of another teacher."""
        heard = self.data.batch(batch.rows)
        said = functional_call(self.teacher, learned, heard.inputs).logits
        return self.student_loss.terms(output, batch, values={}, teacher_logits=said)

    @torch.no_grad()
    def logits(self, batch: Batch) -> Tensor:
        """What the teacher says now of the utterances of a batch, ``(batch, classes)``."""
        said: Tensor = self.teacher(*self.data.batch(batch.rows).inputs).logits
        return said
