"""The student's loss: every objective of the recipe, on labelled speech or without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.distillation.contrastive import ProjectionHead, supervised_contrastive
from models.distillation.objectives import (
    FeatureProjection,
    align_tokens,
    cross_entropy,
    distillation,
    feature_map_l1,
    inverse_frequency,
)
from models.distillation.temperatures import (
    GlobalTemperature,
    InstanceTemperature,
    reversal_factor,
)
from models.outputs import Output, length_mask
from orchestrator.experiment.recipe import CurriculumTemperature, FixedTemperature
from orchestrator.training.data import Batch
from orchestrator.training.knowledge import Knowledge
from orchestrator.training.optimiser import load_optimiser, optimiser_tensors, under
from orchestrator.training.ranks import ALONE, Ranks
from orchestrator.training.source_attention import SourceAttention, transfer_loss
from orchestrator.training.stage import Companion
from orchestrator.training.targets import training_targets
from orchestrator.training.task import FoldTask

STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = "temperature/student", "temperature/teacher"


def weight_of(objective: str) -> str:
    """The name under which an objective's weight is learned and logged."""
    return f"weight/{objective}"


class Helpers(nn.Module):
    """What is trained beside the student and thrown away after."""

    def __init__(self, task: FoldTask, *, student_dim: int, knowledge: Knowledge | None) -> None:
        super().__init__()
        recipe = task.recipe
        self.projection: FeatureProjection | None = None
        """From the student's width to the teacher's, where features are matched and they differ."""
        self.contrast: ProjectionHead | None = None
        if knowledge is not None and recipe.objectives.feature_map:
            width = knowledge.matched_width
            if student_dim != width:
                self.projection = FeatureProjection(student_dim, width)
        if recipe.objectives.supervised_contrastive:
            self.contrast = ProjectionHead(student_dim, recipe.supervised_contrastive.dim)
        self.to(task.device)


class TemperatureCurriculum(Companion):
    """A temperature that is trained against the student ever more strongly (CTKD).

    It has its own gradient descent with momentum, as in the authors' code, outside of the student's
    AdamW and clipping, which both undo the size of a gradient.

    Args:
        section: start, span, pace and learning rate.
        classes: of the logits.
        device: where it is trained.
        ranks: workers that share each batch; every one of them takes the step of the whole batch.
    """

    def __init__(
        self,
        section: CurriculumTemperature,
        *,
        classes: int,
        device: str,
        ranks: Ranks = ALONE,
    ) -> None:
        self.section = section
        self.ranks = ranks
        start, span = section.start, section.span
        self.module: GlobalTemperature | InstanceTemperature = (
            InstanceTemperature(classes=classes, start=start, span=span)
            if section.per_instance
            else GlobalTemperature(start=start, span=span)
        )
        self.module.to(device)
        self.sgd = torch.optim.SGD(self.module.parameters(), lr=section.lr, momentum=0.9)
        self.factor = 0.0
        self._seen: dict[int, list[float]] = {}
        """By update, the sum of the temperatures of this worker's utterances, and how many."""

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """The temperature now: a scalar, or ``(batch,)``."""
        temperature: Tensor = self.module(student_logits, teacher_logits, self.factor)
        return temperature

    def before_epoch(self, epoch: int) -> None:
        """Move along the cosine."""
        self.factor = reversal_factor(
            epoch, epochs=self.section.epochs, strength=self.section.strength
        )
        self._seen = {}

    def before_update(
        self, network: nn.Module, batch: Callable[[], Batch], *, update: int, epoch: int
    ) -> None:
        """Forget the last gradient."""
        self.sgd.zero_grad(set_to_none=True)
        self._seen[update] = [0.0, 0.0]

    def begin_again(self, update: int) -> None:
        """Forget what the first attempt left."""
        self.sgd.zero_grad(set_to_none=True)
        self._seen[update] = [0.0, 0.0]

    def after_backward(self) -> None:
        """Step against the student, by the gradient of all workers."""
        self.ranks.sum_gradients(self.module.parameters())
        self.sgd.step()

    def saw(self, temperature: Tensor, utterances: int) -> None:
        """Remember a temperature, or those of so many utterances, if the student learns with it."""
        if not torch.is_grad_enabled():
            # heard to be compared with, and heard again to be learned from
            return
        last = self._seen[max(self._seen)]
        last[0] += float(temperature.detach().mean()) * utterances
        last[1] += utterances

    def logged(self) -> Mapping[str, float]:
        """The mean over the epoch's updates of their utterances' mean temperature, and the factor.

        All workers have to ask, and are told the same.
        """
        if not self._seen:
            return {}
        seen = self.ranks.sum_values(torch.tensor([*self._seen.values()], dtype=torch.float64))
        means = [total / utterances for total, utterances in seen.tolist()]
        mean = sum(means) / len(means)
        return {"temperature/mean": mean, "temperature/reversal": self.factor}

    def state(self) -> dict[str, Tensor]:
        """The temperature's parameters and their momentum."""
        return {
            **{f"module.{name}": value for name, value in self.module.state_dict().items()},
            **{f"sgd.{name}": value for name, value in optimiser_tensors(self.sgd).items()},
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state` gave."""
        self.module.load_state_dict(under("module.", state))
        load_optimiser(self.sgd, under("sgd.", state))


@dataclass
class StudentLoss:
    """Terms of the loss on the fold's training utterances, weighted, one value an utterance."""

    task: FoldTask
    helpers: Helpers
    knowledge: Knowledge | None
    curriculum: TemperatureCurriculum | None
    """Of the temperature."""
    attention: SourceAttention | None = None
    """The source's, over the training utterances."""

    def __post_init__(self) -> None:
        """Move what does not change to the device once."""
        task, training = self.task, self.task.recipe.training
        self.labels = torch.tensor(task.train.labels, device=task.device)
        self.targets = training_targets(task.train, training, device=task.device)
        self.class_weights = (
            inverse_frequency(task.train.counts(task.classes).tolist()).to(task.device)
            if training.class_weights
            else None
        )
        self.learned: Mapping[str, float] = {}
        """Values that meta-learning has put in the place of the recipe's."""
        self.live_teacher: Callable[[Batch], Tensor] | None = None
        """What a teacher that changes with training says of a batch now; default: the knowledge."""
        self._temperature: Tensor | None = None
        """The curriculum's, where it was last used."""

    def all(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Every objective that has a weight."""
        terms = self.terms(output, batch, values=self.learned)
        if self.curriculum is not None and self._temperature is not None:
            self.curriculum.saw(self._temperature, len(batch.rows))
        return terms

    def matching(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Feature maps alone."""
        assert self.knowledge is not None
        weight = self.task.recipe.objectives.feature_map
        return {"feature_map": weight * self.feature_map(output, batch, self.knowledge)}

    def terms(
        self,
        output: Output,
        batch: Batch,
        *,
        values: Mapping[str, Tensor | float],
        teacher_logits: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Every objective that has a weight, some values of the recipe replaced.

        Args:
            values: weights and temperatures by name, such as ``weight/distillation``; those that
                are missing are the recipe's.
            teacher_logits: ``(batch, classes)``, through which gradients flow; default: the
                knowledge's.
        """
        wants = self.task.recipe.objectives
        terms: dict[str, Tensor] = {}
        if wants.cross_entropy:
            terms["cross_entropy"] = wants.cross_entropy * cross_entropy(
                output.logits,
                self.targets[batch.rows],
                class_weights=self.class_weights,
                label_smoothing=self.task.recipe.training.label_smoothing,
            )
        if wants.supervised_contrastive:
            assert self.helpers.contrast is not None
            weight = values.get(weight_of("supervised_contrastive"), wants.supervised_contrastive)
            whole = batch.whole
            losses = supervised_contrastive(
                whole.of(self.helpers.contrast(output.pooled)),
                self.labels[whole.rows],
                temperature=self.task.recipe.supervised_contrastive.temperature,
            )
            terms["supervised_contrastive"] = weight * whole.part(losses)
        return terms | self.taught(
            output,
            batch,
            self.knowledge,
            self.attention,
            values=values,
            teacher_logits=teacher_logits,
        )

    def taught(
        self,
        output: Output,
        batch: Batch,
        knowledge: Knowledge | None,
        attention: SourceAttention | None,
        *,
        values: Mapping[str, Tensor | float],
        teacher_logits: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The objectives that need no label."""
        wants = self.task.recipe.objectives
        terms: dict[str, Tensor] = {}
        if attention is not None:
            weight = values.get(weight_of("attention_transfer"), wants.attention_transfer)
            loss = transfer_loss(self.task, output, batch, attention)
            terms["attention_transfer"] = weight * loss
        if knowledge is None:
            return terms
        if wants.distillation:
            said = teacher_logits
            if said is None:
                live = self.live_teacher if knowledge is self.knowledge else None
                said = knowledge.logits[batch.rows] if live is None else live(batch)
            student, teacher = self.temperatures(output.logits, said, values)
            terms["distillation"] = values.get(
                weight_of("distillation"), wants.distillation
            ) * distillation(
                output.logits,
                said,
                temperature=student,
                teacher_temperature=teacher,
                detach_teacher=teacher_logits is None,
            )
        if wants.feature_map:
            weight = values.get(weight_of("feature_map"), wants.feature_map)
            terms["feature_map"] = weight * self.feature_map(output, batch, knowledge)
        return terms

    def temperatures(
        self, student_logits: Tensor, teacher_logits: Tensor, values: Mapping[str, Tensor | float]
    ) -> tuple[Tensor | float, Tensor | float | None]:
        """The student's temperature and the teacher's, or None where it is the same."""
        section = self.task.recipe.temperature
        if isinstance(section, FixedTemperature):
            student = values.get(STUDENT_TEMPERATURE, section.value)
            return student, values.get(TEACHER_TEMPERATURE)
        assert self.curriculum is not None
        self._temperature = self.curriculum(student_logits, teacher_logits)
        return self._temperature, None

    def feature_map(self, output: Output, batch: Batch, knowledge: Knowledge) -> Tensor:
        """Distance of the student's features to the teacher's, ``(batch,)``."""
        projection = self.helpers.projection
        if knowledge.tokens is None:
            pooled = output.pooled if projection is None else projection(output.pooled)
            return feature_map_l1(pooled, knowledge.pooled[batch.rows])
        frames, lengths = knowledge.tokens.batch(batch.rows)
        # the student heard a window of the utterance; its tokens' places are relative to that
        window = batch.window
        start, span = (part[:, None].to(output.positions) for part in (window.start, window.span))
        target = align_tokens(
            frames,
            lengths.to(frames.device),
            start + span * output.positions,
            teacher_extents=knowledge.tokens.extents[batch.rows].to(frames.device),
        )
        tokens = output.tokens if projection is None else projection(output.tokens)
        mask = length_mask(output.token_lengths, output.tokens.shape[1])
        return feature_map_l1(tokens, target, mask=mask)


@dataclass(frozen=True)
class UnlabelledLoss:
    """The objectives that need no label, on speech that has none."""

    loss: StudentLoss
    knowledge: Knowledge | None
    attention: SourceAttention | None = None

    def __call__(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Terms by objective, ``(batch,)`` each."""
        return self.loss.taught(
            output, batch, self.knowledge, self.attention, values=self.loss.learned
        )
