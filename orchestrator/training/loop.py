"""The training loop: stages of epochs over batches already in memory, one network, any worker."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.canonical import JSON
from orchestrator.errors import TrainingError
from orchestrator.experiment.training import Fitting
from orchestrator.training.checkpoint import Checkpoint, Progress, Saved
from orchestrator.training.data import Data
from orchestrator.training.finite import Place
from orchestrator.training.judges import Judge
from orchestrator.training.means import Means
from orchestrator.training.optimiser import load_optimiser, optimiser_tensors
from orchestrator.training.order import Order, extra_batches
from orchestrator.training.ranks import Ranks
from orchestrator.training.schedules import learning_rate
from orchestrator.training.stage import Companion, Speech, Stage
from orchestrator.training.state import derived_seed, rng_states, set_rng_states
from orchestrator.training.task import Reporter
from orchestrator.training.updates import Updates
from orchestrator.training.weights import kept_state

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
    facts: dict[str, JSON] = field(default_factory=dict)
    """What is to be known of how it came about, see ``Progress.facts``."""


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
        self.updates = Updates(network, beside=beside, settings=settings, ranks=ranks, key=key)
        self.train = train
        self.order = order
        self.judge = judge
        self.settings = settings
        self.ranks = ranks
        self.reporter = reporter
        self.checkpoint = checkpoint
        self.progress = Progress()
        self._left_out = False
        """Whether a checkpoint could not be written."""
        self.kept: Fitted | None = None

    def run(self, stages: Sequence[Stage]) -> Fitted:
        """All stages, from where a checkpoint left off."""
        saved = None if self.checkpoint is None else self.checkpoint.read(self.ranks)
        if self.checkpoint is not None and saved is not None:
            if self._fits(saved):
                self._load(saved, stages)
            else:
                log.warning(
                    "the checkpoint in %s is of another network; training begins anew",
                    self.checkpoint.folder,
                )
        self.progress.go_on_with(self.ranks.world)
        for index, stage in enumerate(stages):
            if index < self.progress.stage:
                continue
            if not self.progress.stage_epochs:
                self.updates.begin()
            for number in range(self.progress.stage_epochs, stage.epochs):
                self._epoch(stage, number)
                self.progress.stage_epochs = number + 1
                ended = number + 1 == stage.epochs or self._out_of_patience(stage)
                if ended:
                    self.progress.stage, self.progress.stage_epochs = index + 1, 0
                self._leave_state(stages)
                if ended:
                    break
        assert self.kept is not None, "the last stage chooses"
        self.kept.history = self.progress.history
        self.kept.facts = self.progress.facts()
        return self.kept

    def _epoch(self, stage: Stage, number: int) -> None:
        """Train for an epoch, score it, and keep its weights if they are the best so far."""
        progress = self.progress
        progress.epoch += 1
        if self.ranks.world > 1:
            # from the epoch alone, so that any number of workers can go on from a checkpoint
            seed = derived_seed("dropout", self.order.seed, progress.epoch, self.ranks.rank)
            torch.manual_seed(seed)
        for companion in stage.companions:
            companion.before_epoch(number)
        rows = stage.choose(number / stage.epochs, self.network) if stage.choose else None
        updates = self.order.updates
        means = Means(self.ranks)
        rate = 0.0
        for done, (batch, beside) in enumerate(self._draws(stage, rows)):
            step = number * updates + done
            rate = learning_rate(step, updates=stage.epochs * updates, settings=self.settings)
            self.updates.step(
                stage,
                batch,
                beside,
                train=self.train,
                place=Place(stage.name, progress.epoch, step),
                rate=rate,
                done=progress.updates,
                means=means,
            )
            progress.updates += 1
        progress.micro, said = self.updates.micro, self.updates.notes
        progress.notes += [note for note in said if note not in progress.notes]
        self.updates.refuse_what_was_not_looked_at()
        row = means.row()
        for companion in stage.companions:
            row |= companion.logged()
        if rows is not None:
            row["curriculum/share"] = len(rows) / len(self.train.data)
        average = self.updates.average
        scored = self.network if average is None else average
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

    def _out_of_patience(self, stage: Stage) -> bool:
        patience = self.settings.patience
        if patience is None or not stage.chooses or self.kept is None:
            return False
        return self.progress.epoch - self.kept.epoch >= patience

    def _leave_state(self, stages: Sequence[Stage]) -> None:
        """A checkpoint, if it is time for one; all workers have the same to leave."""
        checkpoint, epoch = self.checkpoint, self.progress.epoch
        if checkpoint is None or self.ranks.rank or not checkpoint.due(epoch):
            return
        if not checkpoint.write(self._saved(stages)) and not self._left_out:
            self._left_out = True
            self.progress.notes.append(
                f"the store took no checkpoint after epoch {epoch}; free some space or make it "
                "writable"
            )

    def _saved(self, stages: Sequence[Stage]) -> Saved:
        """Everything that the next epoch depends on."""
        average = self.updates.average
        parts = {
            "network": kept_state(self.network),
            "beside": {} if self.beside is None else self.beside.state_dict(),
            "average": {} if average is None else kept_state(average),
            "optimiser": optimiser_tensors(self.updates.optimiser),
            "scaler": self.updates.precision.state(),
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
        average = self.updates.average
        mine = {"network": self.network, "beside": self.beside, "average": average}
        return all(
            {name: value.shape for name, value in saved.parts.get(part, {}).items()}
            == ({} if own is None else {n: v.shape for n, v in kept_state(own).items()})
            for part, own in mine.items()
        )

    def _load(self, saved: Saved, stages: Sequence[Stage]) -> None:
        self.progress = saved.progress
        self.updates.micro = self.ranks.at_once or saved.progress.micro or self.updates.micro
        # what is frozen is not saved: it is as it was made
        self.network.load_state_dict(saved.parts["network"], strict=False)
        if self.beside is not None:
            self.beside.load_state_dict(saved.parts["beside"])
        if self.updates.average is not None:
            self.updates.average.load_state_dict(saved.parts["average"], strict=False)
        load_optimiser(self.updates.optimiser, saved.parts["optimiser"])
        self.updates.precision.load(saved.parts.get("scaler", {}))
        for place, companion in enumerate(_companions(stages)):
            companion.load(saved.parts.get(f"companion{place}", {}))
        if "kept" in saved.parts:
            self.kept = Fitted(
                state=saved.parts["kept"],
                epoch=self.progress.kept_epoch,
                validation_logits=saved.parts["kept_logits"]["validation"].numpy(),
            )
        set_rng_states(saved.parts["rng"])


def _companions(stages: Sequence[Stage]) -> list[Companion]:
    return [companion for stage in stages for companion in stage.companions]
