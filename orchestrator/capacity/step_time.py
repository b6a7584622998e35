"""How long an update of a student takes on this machine, measured before anyone starts a sweep."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch

from orchestrator.experiment.experiment import Resources
from orchestrator.training.networks import build_network
from orchestrator.training.precision import Precision
from orchestrator.training.task import FoldTask

WARM_UPS, TIMED = 2, 5


class StudentClock:
    """Times one update of each kind of student on each corpus, once.

    Attributes:
        unmeasured: why it measures nothing on this machine; empty if it does.
    """

    def __init__(self, resources: Resources, seconds: Mapping[str, float]) -> None:
        self.seconds = seconds
        self.unmeasured = ""
        if resources.trial.gpus and not torch.cuda.is_available():
            self.unmeasured = "fold runs ask for a GPU, and this machine has none"
        elif resources.trial.cpus > (here := os.cpu_count() or 1):
            asked = resources.trial.cpus
            self.unmeasured = f"fold runs ask for {asked} CPUs, and this machine has {here}"
        elif resources.student_workers > 1:
            self.unmeasured = (
                "students are trained by several workers, which one process cannot stand for"
            )
        self._measured: dict[str, float] = {}

    def of(self, tasks: Iterable[FoldTask]) -> float | None:
        """Seconds of the students of ``tasks``, one after another; None if nothing is measured."""
        if self.unmeasured:
            return None
        return sum(updates_of(task) * self._step(task) for task in tasks)

    def _step(self, task: FoldTask) -> float:
        recipe = task.recipe
        settings = recipe.training
        how = (settings.batch_size, settings.micro_batch, settings.precision)
        what = (task.corpus, recipe.student, how, recipe.student_augment)
        if (key := repr(what)) not in self._measured:
            self._measured[key] = step_seconds(task, seconds=self.seconds[task.corpus])
        return self._measured[key]


def updates_of(task: FoldTask) -> int:
    """Updates of the student in a fold run, over all stages."""
    recipe = task.recipe
    settings = recipe.training
    epochs = settings.epochs + recipe.matching_epochs + recipe.unlabelled_epochs
    per_epoch = math.ceil(len(task.train.ids) / settings.batch_size)
    return epochs * (settings.updates_per_epoch or per_epoch)


def step_seconds(task: FoldTask, *, seconds: float, budget: float = 2.0) -> float:
    """Time of one update with cross-entropy alone: forward, backward, AdamW, with the fold run's
    threads, micro-batches and precision.

    The median of five after two to warm up, or of as many as fit into the budget, but one at least.

    Args:
        task: its student, features, batch size and threads; of its utterances none.
        seconds: length of every (synthetic) utterance; it is cut as the recipe crops.
        budget: seconds that measuring may take, unless one update takes longer.
    """
    recipe = task.recipe
    crop = recipe.student_augment.crop_seconds
    heard = seconds if crop is None else min(crop, seconds)
    frames = max(1, round(heard / task.features.hop_seconds))
    size = recipe.training.batch_size
    micro = recipe.training.micro_batch or size
    with _as_a_fold_run(task.threads):
        network = build_network(recipe.student, features=task.features, classes=task.classes)
        network.to(task.device).train()
        optimiser = torch.optim.AdamW(network.parameters())
        width = task.features.bins * task.features.channels
        batch = torch.randn(size, frames, width, device=task.device)
        lengths = torch.full((size,), frames, device=task.device)
        labels = torch.arange(size, device=task.device) % task.classes
        precision = Precision(recipe.training.precision, device=task.device)
        times: list[float] = []
        began = time.perf_counter()
        while len(times) < WARM_UPS + TIMED:
            start = time.perf_counter()
            optimiser.zero_grad(set_to_none=True)
            for place in range(0, size, micro):
                part = slice(place, place + micro)
                with precision.autocast():
                    logits = network(batch[part], lengths[part]).logits
                losses = torch.nn.functional.cross_entropy(
                    logits.float(), labels[part], reduction="sum"
                )
                precision.backward(losses / size)
            precision.step(optimiser)
            if task.device != "cpu":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
            if time.perf_counter() - began > budget:
                break
    return statistics.median(times[WARM_UPS:] or times[-1:])


@contextmanager
def _as_a_fold_run(threads: int) -> Iterator[None]:
    """With so many threads, leaving threads and random numbers as they were."""
    before = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
