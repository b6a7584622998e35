"""The training loop: stages of epochs over batches already in memory, one network, any worker."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from models.outputs import Output
from orchestrator.errors import TrainingError
from orchestrator.evaluation.metrics import scores
from orchestrator.experiment.recipe import Training
from orchestrator.training.data import Batch, Data, epoch_batches, scoring_batches
from orchestrator.training.ranks import Ranks
from orchestrator.training.task import Reporter

Losses = Callable[[Output, Batch], Mapping[str, Tensor]]
"""Named terms of the loss, already weighted, one value an example: ``(batch,)`` each."""


@dataclass(frozen=True)
class Stage:
    """Some epochs with the same loss; the learning rate rises and falls once in each."""

    name: str
    epochs: int
    losses: Losses
    chooses: bool = True
    """Whether an epoch of this stage may be the one that is kept."""


@dataclass
class Fitted:
    """A fitted network's best weights, and how it got there."""

    state: dict[str, Tensor]
    epoch: int
    """The kept epoch, counted from 1 over all stages."""
    validation_logits: np.ndarray
    """``(validation, classes)`` of the kept weights."""
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    network: nn.Module,
    *,
    data: Data,
    ids: Sequence[str],
    validation: Data,
    validation_labels: Sequence[int],
    stages: Sequence[Stage],
    settings: Training,
    seed: int,
    ranks: Ranks,
    reporter: Reporter,
    beside: nn.Module | None = None,
) -> Fitted:
    """Train ``network`` (and ``beside``, which is thrown away after) and keep the chosen epoch.

    Losses are means over the global batch and gradients are summed over workers, so any number of
    workers takes the same steps, up to the rounding of sums.

    Raises:
        TrainingError: a loss is not finite; names the step, the objective and the utterances. Or
            that of validation; names the epoch.
    """
    labels = torch.tensor(list(validation_labels))
    average = copy.deepcopy(network).requires_grad_(False) if settings.average_decay else None
    kept: Fitted | None = None
    best = math.inf
    history: list[dict[str, float]] = []
    trail: list[float] = []
    epoch = done = 0
    for stage in stages:
        parameters = [*network.parameters(), *(beside.parameters() if beside else ())]
        optimiser = _optimiser(parameters, settings)
        per_epoch = math.ceil(len(data) / settings.batch_size)
        updates = stage.epochs * per_epoch
        step = 0
        for _ in range(stage.epochs):
            epoch += 1
            network.train()
            totals: dict[str, float] = {}
            for rows in epoch_batches(
                data.lengths, size=settings.batch_size, seed=seed, epoch=epoch
            ):
                rate = learning_rate(step, updates=updates, settings=settings)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                mine = ranks.share(rows)
                terms = _gradients(
                    network, data, mine, len(rows), stage, epoch, ids, step, optimiser
                )
                ranks.sum_gradients(parameters)
                if settings.gradient_clip is not None:
                    nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
                optimiser.step()
                if average is not None:
                    _update_average(average, network, settings.average_decay, updates=done)
                done += 1
                for name, value in terms.items():
                    totals[name] = totals.get(name, 0.0) + value
                step += 1
            row = _reduce(totals, len(data), ranks)
            scored = average if average is not None else network
            logits = predict_logits(scored, validation)
            row |= _validation(logits, labels)
            loss = row["validation/cross_entropy"]
            if not math.isfinite(loss):
                raise TrainingError(
                    f"validation cross_entropy became {loss} after epoch {epoch} "
                    f"(stage {stage.name!r}); lower recipe.training.lr or set "
                    "recipe.training.gradient_clip"
                )
            trail.append(
                -row["validation/macro_recall"]
                if settings.epoch_choice == "validation-macro-recall"
                else row["validation/cross_entropy"]
            )
            history.append(row)
            reporter.metrics({**row, "learning_rate": rate}, step=epoch)
            if not stage.chooses:
                trail.clear()
                continue
            recent = trail[-settings.smoothing_epochs :]
            smoothed = sum(recent) / len(recent)
            if kept is None or smoothed < best or settings.epoch_choice == "last":
                best = smoothed
                kept = Fitted(
                    state={k: v.detach().cpu().clone() for k, v in scored.state_dict().items()},
                    epoch=epoch,
                    validation_logits=logits.numpy(),
                )
    assert kept is not None, "the last stage chooses"
    kept.history = history
    return kept


def learning_rate(step: int, *, updates: int, settings: Training) -> float:
    """Linear warm-up over ``warmup_share`` of the updates, then a cosine to zero."""
    warmup = settings.warmup_share * updates
    if step < warmup:
        return settings.lr * (step + 1) / (warmup + 1)
    share = (step - warmup) / max(1.0, updates - warmup)
    return settings.lr * 0.5 * (1.0 + math.cos(math.pi * share))


@torch.no_grad()
def predict_logits(network: nn.Module, data: Data) -> Tensor:
    """Logits ``(utterances, classes)`` on the CPU, in the order of ``data``."""
    if not len(data):
        raise TrainingError("there is nothing to score: the set of utterances is empty")
    network.eval()
    out: Tensor | None = None
    for rows in scoring_batches(data.lengths):
        logits = network(*data.batch(rows).inputs).logits.float().cpu()
        if out is None:
            out = torch.zeros(len(data), logits.shape[1])
        out[rows] = logits
    assert out is not None
    return out


def _gradients(
    network: nn.Module,
    data: Data,
    rows: Tensor,
    global_batch: int,
    stage: Stage,
    epoch: int,
    ids: Sequence[str],
    step: int,
    optimiser: torch.optim.Optimizer,
) -> dict[str, float]:
    optimiser.zero_grad(set_to_none=True)
    if not len(rows):
        return {}
    batch = data.batch(rows, epoch=epoch)
    terms = stage.losses(network(*batch.inputs), batch)
    sums = {name: value.sum() for name, value in terms.items()}
    found = {name: float(value.detach()) for name, value in sums.items()}
    for name, value in found.items():
        if not math.isfinite(value):
            heard = ", ".join(ids[row] for row in rows.tolist())
            raise TrainingError(
                f"{name} became {value} at update {step} of stage {stage.name!r} (epoch {epoch}); "
                f"utterances of the batch: {heard}. Lower recipe.training.lr or set "
                "recipe.training.gradient_clip"
            )
    torch.autograd.backward(sum(sums.values(), start=torch.zeros(())) / global_batch)
    return found


def _optimiser(parameters: Sequence[nn.Parameter], settings: Training) -> torch.optim.Optimizer:
    # norms, biases and learned tokens are not decayed
    decayed = [p for p in parameters if p.ndim >= 2]
    others = [p for p in parameters if p.ndim < 2]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.lr,
    )


def _reduce(totals: dict[str, float], utterances: int, ranks: Ranks) -> dict[str, float]:
    names = sorted(totals)
    values = ranks.sum_values(torch.tensor([totals[name] for name in names], dtype=torch.float64))
    return {f"train/{n}": v / utterances for n, v in zip(names, values.tolist(), strict=True)}


def _validation(logits: Tensor, labels: Tensor) -> dict[str, float]:
    loss = nn.functional.cross_entropy(logits, labels)
    found = scores(labels.numpy(), logits.argmax(1).numpy(), classes=logits.shape[1])
    return {
        "validation/cross_entropy": float(loss),
        "validation/macro_recall": found.macro_recall,
        "validation/accuracy": found.accuracy,
    }


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float, *, updates: int) -> None:
    # a young average forgets its random start faster
    decay = min(decay, (1 + updates) / (10 + updates))
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(value, 1.0 - decay)
    for kept, buffer in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(buffer)
