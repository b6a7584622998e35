"""What the fold run's loop costs beside its arithmetic.

Run from a checkout, on a machine that does nothing else::

    python -m benchmarks.training
    python -m benchmarks.training --json > training.json

For each shipped student, at its shipped size and batch size, a fold run is trained on generated
utterances with lengths like EmoDB's: from labels and the logits of a teacher, clipped, averaged and
judged on validation as its file says, every epoch written to a tracking journal, and a checkpoint
left every six seconds (by default every five minutes). Beside every epoch, in the same
process, the bare loop takes the same steps on the very same batches, already made and in memory:
forward pass, cross-entropy, backward pass, clipping, AdamW, the average of the weights, as torch
gives them; and one forward pass over validation, which is asked of both. To gather batches, to
distil, to look for what is not finite, to log, to judge and to leave checkpoints is the fold run's
alone.

``ratio`` is utterances a second of the fold run by those of the bare loop, the median over pairs of
epochs. ``ratio_augmented`` is the same where the fold run augments its batches as its file says,
which is arithmetic that the bare loop is spared.

On a machine with a GPU: ``--device cuda``, and with it ``--at-once 4`` for as many fold runs that
share it, each in a process of its own.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.generated import generated_fold, shipped_experiment
from orchestrator.errors import InputError, UnderstudyError
from orchestrator.experiment.recipe import Recipe
from orchestrator.experiment.training import Augment
from orchestrator.features import PackedFrames
from orchestrator.store import Store
from orchestrator.tracking.tree import RunTree
from orchestrator.training.data import Batch, scoring_batches
from orchestrator.training.fold_run import run_fold
from orchestrator.training.inputs import FrameSource
from orchestrator.training.knowledge import knowledge_artifact
from orchestrator.training.order import Order
from orchestrator.training.precision import Precision
from orchestrator.training.ranks import Ranks
from orchestrator.training.state import derived_seed, fold_run_state
from orchestrator.training.student import fit_student, new_student, student_inputs
from orchestrator.training.task import FoldTask, Reporter, Silent

STUDENTS = {
    "vertical-vit": "emodb-kim2024",
    "inverted-transformer": "emodb-zhao2025",
    "satn": "emodb-satn2021",
}
"""Which shipped file has each student's size."""

CHECKPOINT_MINUTES = 0.1
"""Fifty times as often as by default."""
TEACHER = {"kind": "vertical-vit", "dim": 32, "depth": 1, "heads": 2, "head_dim": 16, "mlp_dim": 32}


@dataclass(frozen=True)
class Row:
    """The figures of one student."""

    student: str
    ratio: float
    """Utterances a second of the fold run by those of the bare loop."""
    lowest: float
    highest: float
    ratio_augmented: float
    """The same where the fold run augments its batches."""
    utterances_per_second: float
    milliseconds: float
    """Of an update of the fold run."""
    precision: str
    compiled: bool
    deterministic: bool
    device: str
    at_once: int


class Bare:
    """The same network and steps with nothing around them, an epoch at a time."""

    def __init__(self, task: FoldTask, store: Store) -> None:
        settings = task.recipe.training
        source = FrameSource(task, PackedFrames.open(store, task.frames), task.train)
        self.data = source.data(task.train, augment=task.recipe.student_augment)
        validation = source.data(task.validation)
        self.scored = [validation.batch(rows) for rows in scoring_batches(validation.lengths)]
        seed = derived_seed("student", task.seed, task.fold)
        self.order = Order(settings, self.data.lengths, labels=task.train.labels, seed=seed)
        self.network = new_student(task, store)
        self.forward = (
            torch.compile(self.network, dynamic=True) if settings.compile else self.network
        )
        self.precision = Precision(settings.precision, device=task.device)
        self.labels = torch.tensor(task.train.labels, device=task.device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.device = task.device

    def batches(self, epoch: int) -> list[Batch]:
        """Those that the fold run learns from in ``epoch``."""
        return [self.data.batch(rows, epoch=epoch) for rows in self.order.batches(epoch)]

    def seconds(self, batches: Sequence[Batch]) -> float:
        """Time of an epoch."""
        began = self._now()
        self.network.train()
        for batch in batches:
            self.optimiser.zero_grad(set_to_none=True)
            with self.precision.autocast():
                logits = self.forward(*batch.inputs).logits
                loss = nn.functional.cross_entropy(logits, self.labels[batch.rows])
            self.precision.backward(loss)
            self.precision.unscale(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.precision.step(self.optimiser)
            self._average()
        self.network.eval()
        with torch.no_grad():
            for batch in self.scored:
                self.network(*batch.inputs)
        return self._now() - began

    @torch.no_grad()
    def _average(self) -> None:
        pairs = zip(self.average.parameters(), self.network.parameters(), strict=True)
        for mean, value in pairs:
            mean.lerp_(value, 0.02)

    def _now(self) -> float:
        if self.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()


class Paired:
    """A reporter that times the fold run's epochs, and after each a bare one of its batches."""

    def __init__(self, inner: Reporter, bare: Bare) -> None:
        self.inner = inner
        self.bare = bare
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self._began = 0.0

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Epoch ``step`` has ended."""
        self.inner.metrics(values, step=step)
        ended = self.bare._now()
        if self._began:
            self.ours.append(ended - self._began)
        batches = self.bare.batches(step)
        generators = torch.get_rng_state()
        bare = self.bare.seconds(batches)
        torch.set_rng_state(generators)
        if self._began:
            self.theirs.append(bare)
        # the first epoch of both warms up
        self._began = self.bare._now()

    def ratios(self) -> list[float]:
        """Of each pair of epochs."""
        return [bare / ours for ours, bare in zip(self.ours, self.theirs, strict=True)]


def measured(
    student: str, *, epochs: int, train: int, task_options: Mapping[str, Any], overrides: list[str]
) -> Row:
    """Train one student of its shipped size beside the bare loop."""
    file = shipped_experiment(STUDENTS[student], overrides=overrides)
    changes = {"epochs": epochs + 1, "updates_per_epoch": None}
    training = file.recipe.training.model_copy(update=changes)
    pairs: dict[bool, Paired] = {}
    for augmented in (False, True):
        augment = training.augment if augmented else Augment()
        recipe = Recipe.model_validate(
            {
                "teacher": TEACHER | {"training": {"epochs": 1, "batch_size": 64}},
                "student": file.recipe.student.model_dump(),
                "objectives": {"cross_entropy": 1.0, "distillation": 1.0},
                "training": training.model_copy(update={"augment": augment}).model_dump(),
            }
        )
        with tempfile.TemporaryDirectory() as folder:
            store = Store(folder)
            task = generated_fold(
                recipe,
                file.features,
                store=store,
                train=train,
                validation=max(1, train // 4),
                checkpoint_minutes=CHECKPOINT_MINUTES,
                **task_options,
            )
            pairs[augmented] = _paired(task, store)
    ratios = pairs[False].ratios()
    seconds = statistics.median(pairs[False].ours)
    return Row(
        student=student,
        ratio=round(statistics.median(ratios), 4),
        lowest=round(min(ratios), 4),
        highest=round(max(ratios), 4),
        ratio_augmented=round(statistics.median(pairs[True].ratios()), 4),
        utterances_per_second=round(train / seconds, 1),
        milliseconds=round(1000 * seconds / -(-train // training.batch_size), 2),
        precision=training.precision,
        compiled=training.compile,
        deterministic=task.deterministic,
        device=task.device,
        at_once=1,
    )


def _paired(task: FoldTask, store: Store) -> Paired:
    run_fold(task, store=store, reporter=Silent(), role="teacher")
    journal = RunTree(store, "benchmark", "evaluation").journal("fold")
    journal.start("fold")
    with fold_run_state(
        seed=task.seed,
        threads=task.threads,
        deterministic=task.deterministic,
        gpus=task.gpus,
    ):
        knowledge = knowledge_artifact(task, store, reporter=Silent())
        inputs = student_inputs(task, knowledge.key)
        paired = Paired(journal, Bare(task, store))
        checkpoint = task.checkpoint(store, "student", inputs)
        fitted = Path(store.uri) / "fitted"
        fitted.mkdir()
        fit_student(task, store, checkpoint, None, fitted, paired, Ranks())
    return paired


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| student | computes | utterances/s | ms an update | of the bare loop | "
        "lowest to highest | augmented |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        how = f"{row.precision}{', compiled' if row.compiled else ''}"
        how += "" if row.deterministic else ", not deterministic"
        how += f" on {row.device}" + (f", {row.at_once} at once" if row.at_once > 1 else "")
        lines.append(
            f"| {row.student} | {how} | {row.utterances_per_second:.0f} | {row.milliseconds:.2f} | "
            f"{row.ratio:.3f} | {row.lowest:.3f} to {row.highest:.3f} | {row.ratio_augmented:.3f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit codes are those of ``understudy``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--student", action="append", choices=sorted(STUDENTS), help="default: all")
    parser.add_argument("--epochs", type=int, default=12, help="pairs of epochs; default 12")
    parser.add_argument("--train", type=int, default=320, help="utterances; default 320")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of a fold run; default 1")
    parser.add_argument("--precision", choices=("float32", "bf16", "fp16"), default="float32")
    parser.add_argument("--compile", action="store_true", help="as recipe.training.compile")
    parser.add_argument("--free", action="store_true", help="as resources.deterministic: false")
    parser.add_argument("--at-once", type=int, default=1, help="fold runs, a process each")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args(arguments)
    try:
        rows = _measured(given)
    except UnderstudyError as error:
        print(f"training: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps({"rows": [asdict(row) for row in rows]}) if given.json else table(rows))
    return 0


def _measured(given: argparse.Namespace) -> list[Row]:
    if min(given.epochs, given.train, given.threads, given.at_once) < 1:
        raise InputError("--epochs, --train, --threads and --at-once: give at least 1 of each")
    if given.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: there is no GPU here; leave it out")
    students = given.student or list(STUDENTS)
    if given.at_once > 1:
        return [_shared(given, student) for student in students]
    overrides = [f"recipe.training.precision={given.precision}"]
    overrides += [f"recipe.training.compile={str(given.compile).lower()}"]
    options = {"device": given.device, "threads": given.threads, "deterministic": not given.free}
    return [
        measured(
            student,
            epochs=given.epochs,
            train=given.train,
            task_options=options,
            overrides=overrides,
        )
        for student in students
    ]


def _shared(given: argparse.Namespace, student: str) -> Row:
    """Fold runs that share the machine, a process each: their utterances a second together."""
    command = [sys.executable, "-m", "benchmarks.training", "--json", "--student", student]
    for name in ("epochs", "train", "device", "threads", "precision"):
        command += [f"--{name}", str(getattr(given, name))]
    command += ["--compile"] * given.compile + ["--free"] * given.free
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(given.at_once)
    ]
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise UnderstudyError(f"one of {given.at_once} fold runs of {student} failed, see above")
    rows = [Row(**json.loads(text)["rows"][0]) for text in said]
    return Row(
        **asdict(rows[0])
        | {
            "ratio": statistics.median(row.ratio for row in rows),
            "lowest": min(row.lowest for row in rows),
            "highest": max(row.highest for row in rows),
            "ratio_augmented": statistics.median(row.ratio_augmented for row in rows),
            "utterances_per_second": round(sum(row.utterances_per_second for row in rows), 1),
            "milliseconds": statistics.median(row.milliseconds for row in rows),
            "at_once": given.at_once,
        }
    )


if __name__ == "__main__":
    sys.exit(main())
