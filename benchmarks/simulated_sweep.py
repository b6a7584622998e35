"""A sweep in which no fold run trains, and what watches how long its parts take."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import TrialState

from benchmarks.memory import resident
from orchestrator.canonical import JSON, digest
from orchestrator.evaluation.metrics import scores
from orchestrator.store import Store
from orchestrator.sweep.searcher import Proposed, StudySearcher
from orchestrator.sweep.watch import Watch
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.tree import RunTree
from orchestrator.training.fold_run import FoldOutcome
from orchestrator.training.state import derived_seed
from orchestrator.training.task import FoldTask

MIB = 2**20
EPOCHS = 3
"""That a fold run reports."""


@dataclass(frozen=True)
class Simulated:
    """Takes the place of a fold run: the same store and journal, and no training.

    Args:
        notes: folder in which each process notes the seconds that the store took.
    """

    notes: str

    def __call__(
        self, task: FoldTask, *, store: Store, journal: Journal, tree: RunTree, parent: str
    ) -> FoldOutcome:
        """Draw predictions that are better or worse by the recipe, and leave what a run leaves."""
        recipe = digest(task.recipe.model_dump(mode="json"))
        draw = np.random.default_rng(derived_seed(recipe, task.fold, task.seed))
        level = np.random.default_rng(derived_seed(recipe)).uniform(0.3, 0.9)
        labels = np.asarray(task.validation.labels)
        right = draw.random(len(labels)) < level
        wrong = (labels + draw.integers(1, task.classes, size=len(labels))) % task.classes
        found = scores(labels, np.where(right, labels, wrong), task.classes)

        def build(folder: Path) -> None:
            (folder / "logits.bin").write_bytes(draw.bytes(1024))

        began = time.perf_counter()
        journal.start(
            name=f"{task.corpus} {task.fold} seed {task.seed}",
            parent=parent,
            params={"corpus": task.corpus, "fold": task.fold, "seed": task.seed},
            tags={"understudy.kind": "fold run"},
        )
        inputs: dict[str, JSON] = {"simulated": recipe, "fold": task.fold, "seed": task.seed}
        artifact = store.obtain("student", inputs, build)
        for epoch in range(EPOCHS):
            journal.metrics({"loss/total": 1.0 / (1 + epoch)}, step=epoch)
        journal.metrics({"chosen/validation_macro_recall": found.macro_recall}, step=EPOCHS)
        journal.flush()
        self._note(time.perf_counter() - began)
        return FoldOutcome(artifact, found, epoch=EPOCHS, parameters=1, seconds=0.0)

    def _note(self, seconds: float) -> None:
        with (Path(self.notes) / str(os.getpid())).open("a") as file:
            file.write(f"{seconds}\n")

    def noted(self) -> list[float]:
        """What all processes noted."""
        files = sorted(Path(self.notes).iterdir())
        return [float(line) for file in files for line in file.read_text().splitlines()]


class TimedWatch(Watch):
    """The usual listener, which times the journals of trials that it writes on the driver."""

    seconds = 0.0

    def began(self, trial: Proposed) -> None:
        """As of a watch."""
        with self._timed():
            super().began(trial)

    def ended(
        self, trial: Proposed, state: TrialState, *, reason: str, values: Sequence[float]
    ) -> None:
        """As of a watch."""
        with self._timed():
            super().ended(trial, state, reason=reason, values=values)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began


class TimedSearcher(StudySearcher):
    """The usual searcher, timed; for as long as it works, Tune's loop and its actor wait."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.proposing: list[float] = []
        """Seconds of each proposal."""
        self.hearing: list[float] = []
        """Of each result, and each end of a trial."""
        self.results = 0

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        """As of a searcher."""
        began = time.perf_counter()
        found = super().suggest(trial_id)
        self.proposing.append(time.perf_counter() - began)
        return found

    def hear(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """As of a searcher."""
        began = time.perf_counter()
        stops = super().hear(trial_id, result)
        self.hearing.append(time.perf_counter() - began)
        self.results += 1
        return stops

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """As of a searcher; a trial's last result comes with its end."""
        began = time.perf_counter()
        super().on_trial_complete(trial_id, result, error)
        self.hearing.append(time.perf_counter() - began)
        self.results += bool(result and result.get("complete"))


@dataclass
class Memory:
    """Memory of this process, mapped files aside, beside how many results there are."""

    searcher: TimedSearcher
    samples: list[tuple[float, int, float]] = field(default_factory=list)
    """Seconds, results, MiB."""

    @contextmanager
    def sampled(self, every: float = 1.0) -> Iterator[None]:
        """Sample until the body ends."""
        over, began = threading.Event(), time.monotonic()

        def sample() -> None:
            while not over.wait(every):
                now = time.monotonic() - began
                self.samples.append((now, self.searcher.results, resident()[0] / MIB))

        thread = threading.Thread(target=sample, name="memory", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def mib(self) -> list[float]:
        """The samples' MiB; what is held now if the sweep was too short for one."""
        return [mib for _, _, mib in self.samples] or [resident()[0] / MIB]

    def slope(self) -> float | None:
        """MiB for each thousand results, over the second half of them; None with too few samples.

        By least squares.
        """
        most = max((results for _, results, _ in self.samples), default=0)
        half = [(results, mib) for _, results, mib in self.samples if results >= most / 2]
        if len({results for results, _ in half}) < 3:
            return None
        results, mib = np.asarray(half, dtype=float).T
        return float(1000 * np.polyfit(results, mib, 1)[0])
