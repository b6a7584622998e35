"""The training loop: stages of epochs over batches already in memory, one network, any worker."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.errors import TrainingError
from orchestrator.experiment.training import Fitting
from orchestrator.training.checkpoint import Checkpoint, Progress, Saved
from orchestrator.training.data import Data
from orchestrator.training.judges import Judge
from orchestrator.training.means import EXTRA, Means
from orchestrator.training.optimiser import (
    load_optimiser,
    new_optimiser,
    optimiser_tensors,
    set_rate,
)
from orchestrator.training.order import Order, extra_batches
from orchestrator.training.ranks import Ranks
from orchestrator.training.stage import Companion, Speech, Stage
from orchestrator.training.state import rng_states, set_rng_states
from orchestrator.training.task import Reporter
from orchestrator.training.weights import kept_state, update_average

log = logging.getLogger(__name__)


@dataclass
class Fitted:
    """A fitted network's best weights, and how it got there."""

    state: dict[str, Tensor]
    epoch: int
    """The kept epoch, counted from 1 over all stages."""
    validation_logits: np.ndarray
    """What the kept weights say of the validation utterances, see ``Judged.logits``."""
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    network: nn.Module,
    *,
    data: Data,
    ids: Sequence[str],
    labels: Sequence[int] = (),
    judge: Judge,
    stages: Sequence[Stage],
    settings: Fitting,
    seed: int,
    ranks: Ranks,
    reporter: Reporter,
    beside: nn.Module | None = None,
    checkpoint: Checkpoint | None = None,
    key: str = "recipe.training",
) -> Fitted:
    """Train ``network`` (and ``beside``, which is thrown away after) and keep the chosen epoch.

    Losses are means over the global batch and gradients are summed over workers, so any number of
    workers takes the same steps, up to the rounding of sums.

    Args:
        network: may say ``rate_factors()``, from prefixes of its parameters' names to factors on
            the learning rate, and ``frozen_prefixes()``, those of what is not worth keeping.
        labels: of the training utterances; needed by class-balanced batches only.
        judge: scores the network after every epoch, which decides what epoch is kept.
        checkpoint: where to go on from, and to leave the state in now and then; default: nowhere.
        key: of the settings in the experiment file, for messages.

    Raises:
        TrainingError: a loss is not finite; names the step, the objective and the utterances. Or
            that of validation; names the epoch.
    """
    return _Fit(
        network,
        train=Speech(data, ids),
        order=Order(settings, data.lengths, labels=labels, seed=seed),
        judge=judge,
        settings=settings,
        ranks=ranks,
        reporter=reporter,
        beside=beside,
        checkpoint=checkpoint,
        key=key,
    ).run(stages)


def learning_rate(step: int, *, updates: int, settings: Fitting) -> float:
    """Linear warm-up over ``warmup_share`` of the updates, then a cosine to zero."""
    warmup = settings.warmup_share * updates
    if step < warmup:
        return settings.lr * (step + 1) / (warmup + 1)
    share = (step - warmup) / max(1.0, updates - warmup)
    return settings.lr * 0.5 * (1.0 + math.cos(math.pi * share))


class _Fit:
    """A fit under way."""

    def __init__(
        self,
        network: nn.Module,
        *,
        train: Speech,
        order: Order,
        judge: Judge,
        settings: Fitting,
        ranks: Ranks,
        reporter: Reporter,
        beside: nn.Module | None,
        checkpoint: Checkpoint | None,
        key: str,
    ) -> None:
        self.network = network
        self.key = key
        self.beside = beside
        self.train = train
        self.order = order
        self.judge = judge
        self.settings = settings
        self.ranks = ranks
        self.reporter = reporter
        self.checkpoint = checkpoint
        averaged = settings.average_decay > 0
        self.average = copy.deepcopy(network).requires_grad_(False) if averaged else None
        self.optimiser = new_optimiser(network, beside, settings)
        both = [*network.parameters(), *(beside.parameters() if beside else ())]
        self.parameters = [parameter for parameter in both if parameter.requires_grad]
        self.progress = Progress()
        self.kept: Fitted | None = None

    def run(self, stages: Sequence[Stage]) -> Fitted:
        """All stages, from where a checkpoint left off."""
        if self.checkpoint is not None and (saved := self.checkpoint.read()) is not None:
            if self._fits(saved):
                self._load(saved, stages)
            else:
                log.warning(
                    "the checkpoint in %s is of another network; training begins anew",
                    self.checkpoint.folder,
                )
        for index, stage in enumerate(stages):
            if index < self.progress.stage:
                continue
            if not self.progress.stage_epochs:
                self.optimiser = new_optimiser(self.network, self.beside, self.settings)
            for number in range(self.progress.stage_epochs, stage.epochs):
                self._epoch(stage, number)
                self.progress.stage_epochs = number + 1
                if number + 1 == stage.epochs:
                    self.progress.stage, self.progress.stage_epochs = index + 1, 0
                if self.checkpoint is not None and self.checkpoint.due():
                    self.checkpoint.write(self._saved(stages))
        assert self.kept is not None, "the last stage chooses"
        self.kept.history = self.progress.history
        return self.kept

    def _epoch(self, stage: Stage, number: int) -> None:
        """Train for an epoch, score it, and keep its weights if they are the best so far."""
        progress = self.progress
        progress.epoch += 1
        for companion in stage.companions:
            companion.before_epoch(number)
        rows = stage.choose(number / stage.epochs, self.network) if stage.choose else None
        updates = self.order.updates
        losses = Means(self.ranks)
        rate = 0.0
        for place, (batch, beside) in enumerate(self._draws(stage, rows)):
            step = number * updates + place
            rate = learning_rate(step, updates=stage.epochs * updates, settings=self.settings)
            set_rate(self.optimiser, rate)
            self._update(stage, batch, beside, step=step, losses=losses)
        row = losses.row()
        for companion in stage.companions:
            row |= companion.logged()
        if rows is not None:
            row["curriculum/share"] = len(rows) / len(self.train.data)
        scored = self.average if self.average is not None else self.network
        judged = self.judge(scored)
        row |= judged.row
        self._weigh(judged.cost, stage)
        progress.history.append(row)
        self.reporter.metrics({**row, "learning_rate": rate}, step=progress.epoch)
        if stage.chooses and self._best_so_far():
            self.kept = Fitted(
                state=kept_state(scored),
                epoch=progress.epoch,
                validation_logits=judged.logits,
            )

    def _draws(self, stage: Stage, rows: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The batches of an epoch, each with the rows of extra speech that go with it."""
        epoch = self.progress.epoch
        if stage.speech is None:
            batches = self.order.batches(epoch, rows=rows)
        else:
            batches = self.order.batches_of(stage.speech.data.lengths, epoch)
        if stage.extra is None:
            return ((batch, None) for batch in batches)
        extra = extra_batches(
            len(stage.extra.speech.data),
            size=stage.extra.size,
            updates=len(batches),
            seed=self.order.seed,
            epoch=epoch,
        )
        return zip(batches, extra, strict=True)

    def _update(
        self, stage: Stage, rows: Tensor, beside: Tensor | None, *, step: int, losses: Means
    ) -> None:
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        parts = [self._loss(stage, rows, step=step, losses=losses)]
        if stage.extra is not None and beside is not None:
            parts.append(self._extra_loss(stage, beside, step=step, losses=losses))
        heard = [part for part in parts if part is not None]
        if heard:
            torch.autograd.backward(sum(heard[1:], start=heard[0]))
        for companion in stage.companions:
            companion.after_backward()
        self.ranks.sum_gradients(self.parameters)
        if self.settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_clip)
        self.optimiser.step()
        if self.average is not None:
            update_average(
                self.average,
                self.network,
                self.settings.average_decay,
                updates=self.progress.updates,
            )
        self.progress.updates += 1

    def _loss(self, stage: Stage, rows: Tensor, *, step: int, losses: Means) -> Tensor | None:
        """What this worker's part of a batch adds to the global mean; None if it has no part."""
        speech = stage.speech or self.train
        losses.labelled += len(rows)
        mine = self.ranks.share(rows)
        if not len(mine):
            return None
        batch = speech.data.batch(mine, epoch=self.progress.epoch)
        for companion in stage.companions:
            companion.before_update(self.network, batch, update=step, epoch=self.progress.epoch)
        terms = stage.losses(self.network(*batch.inputs), batch)
        sums = {name: value.sum() for name, value in terms.items()}
        self._check(sums, stage, step, [speech.ids[row] for row in mine.tolist()])
        losses.add(sums)
        return _total(sums) / len(rows)

    def _extra_loss(self, stage: Stage, rows: Tensor, *, step: int, losses: Means) -> Tensor | None:
        """The same of the speech beside a batch."""
        extra = stage.extra
        losses.extra += len(rows)
        mine = self.ranks.share(rows)
        if extra is None or not len(mine):
            return None
        batch = extra.speech.data.batch(mine, epoch=self.progress.epoch)
        terms = extra.losses(self.network(*batch.inputs), batch)
        sums = {f"{EXTRA}{name}": extra.weight * v.sum() for name, v in terms.items()}
        self._check(sums, stage, step, [extra.speech.ids[row] for row in mine.tolist()])
        losses.add(sums)
        return _total(sums) / len(rows)

    def _check(
        self, sums: Mapping[str, Tensor], stage: Stage, step: int, ids: Iterable[str]
    ) -> None:
        for name, value in sums.items():
            if not math.isfinite(float(value.detach())):
                raise TrainingError(
                    f"{name} became {float(value.detach())} at update {step} of stage "
                    f"{stage.name!r} (epoch {self.progress.epoch}); utterances of the batch: "
                    f"{', '.join(ids)}. Lower {self.key}.lr or set {self.key}.gradient_clip"
                )

    def _weigh(self, cost: float, stage: Stage) -> None:
        """Add the epoch to the trail of validation costs, which begins anew where none counts."""
        if not math.isfinite(cost):
            raise TrainingError(
                f"validation {self.judge.name} became {cost} after epoch {self.progress.epoch} "
                f"(stage {stage.name!r}); lower {self.key}.lr or set {self.key}.gradient_clip"
            )
        self.progress.trail.append(cost)
        if not stage.chooses:
            self.progress.trail.clear()

    def _best_so_far(self) -> bool:
        recent = self.progress.trail[-self.settings.smoothing_epochs :]
        smoothed = sum(recent) / len(recent)
        best = self.kept is None or smoothed < self.progress.best
        if best or self.judge.last:
            self.progress.best = smoothed
            return True
        return False

    def _saved(self, stages: Sequence[Stage]) -> Saved:
        """Everything that the next epoch depends on."""
        parts = {
            "network": kept_state(self.network),
            "beside": {} if self.beside is None else self.beside.state_dict(),
            "average": {} if self.average is None else kept_state(self.average),
            "optimiser": optimiser_tensors(self.optimiser),
            "rng": rng_states(),
        }
        for place, companion in enumerate(_companions(stages)):
            parts[f"companion{place}"] = companion.state()
        if self.kept is not None:
            parts["kept"] = self.kept.state
            logits = torch.from_numpy(self.kept.validation_logits)
            parts["kept_logits"] = {"validation": logits}
            self.progress.kept_epoch = self.kept.epoch
        return Saved(parts, self.progress)

    def _fits(self, saved: Saved) -> bool:
        """Whether a checkpoint holds these networks, not those of another version of the code."""
        mine = {"network": self.network, "beside": self.beside, "average": self.average}
        return all(
            {name: value.shape for name, value in saved.parts.get(part, {}).items()}
            == ({} if own is None else {n: v.shape for n, v in kept_state(own).items()})
            for part, own in mine.items()
        )

    def _load(self, saved: Saved, stages: Sequence[Stage]) -> None:
        self.progress = saved.progress
        # what is frozen is not saved: it is as it was made
        self.network.load_state_dict(saved.parts["network"], strict=False)
        if self.beside is not None:
            self.beside.load_state_dict(saved.parts["beside"])
        if self.average is not None:
            self.average.load_state_dict(saved.parts["average"], strict=False)
        load_optimiser(self.optimiser, saved.parts["optimiser"])
        for place, companion in enumerate(_companions(stages)):
            companion.load(saved.parts.get(f"companion{place}", {}))
        if "kept" in saved.parts:
            self.kept = Fitted(
                state=saved.parts["kept"],
                epoch=self.progress.kept_epoch,
                validation_logits=saved.parts["kept_logits"]["validation"].numpy(),
            )
        set_rng_states(saved.parts["rng"])


def _total(sums: Mapping[str, Tensor]) -> Tensor:
    return sum(sums.values(), start=torch.zeros(()))


def _companions(stages: Sequence[Stage]) -> list[Companion]:
    return [companion for stage in stages for companion in stage.companions]
