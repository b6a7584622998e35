"""The ways in which ``benchmarks.orchestration`` has its fold runs done, and what each leaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.without_sweep import FoldRun, Job
from orchestrator.errors import UnderstudyError
from orchestrator.experiment import load_experiment
from orchestrator.preparation import plan_folds, prepare
from orchestrator.store import Store
from orchestrator.tracking.journal import read_segment
from orchestrator.tracking.tree import RunTree
from orchestrator.training.fold_run import run_fold
from orchestrator.training.task import Silent

RATE = "recipe.training.lr"
RATES = (5.0e-4, 8.0e-4, 1.2e-3, 1.8e-3, 2.7e-3, 4.0e-3)
"""What the trials differ in."""

EXPERIMENT: dict[str, Any] = {
    "name": "orchestration",
    "corpora": [{"kind": "synthetic", "sessions": 4, "utterances_per_emotion": 6}],
    "protocol": {"kind": "leave-one-session-out"},
    "features": {"kind": "log-mel", "bins": 32, "window_seconds": 0.04, "hop_seconds": 0.02},
    "recipe": {
        "teacher": {
            "kind": "vertical-vit",
            "dim": 8,
            "depth": 1,
            "heads": 1,
            "head_dim": 8,
            "mlp_dim": 8,
            "patch_frames": 16,
        },
        "student": {
            "kind": "conv-transformer",
            "channels": [4, 8],
            "dim": 8,
            "depth": 1,
            "heads": 1,
            "mlp_dim": 8,
        },
        "objectives": {"cross_entropy": 1.0, "distillation": 0.0, "feature_map": 0.0},
        "training": {"epochs": 20, "batch_size": 16},
    },
    "search": {"parameters": {RATE: list(RATES)}, "sampler": "grid", "trials": len(RATES)},
}

SHORT, LONG, TURNS = 2, 8, 2
"""Epochs of the fold runs that are timed to find how many make a second; the shortest of so many
turns, since others only ever make it longer."""


@dataclass(frozen=True)
class Measured:
    """One way, once."""

    way: str
    fold_runs: int
    start: float
    """Seconds until the first fold run began."""
    span: float
    """Seconds from there to the end of the last."""
    end: float
    """Seconds after that."""
    inside: float
    """Seconds in fold runs, summed."""

    @property
    def whole(self) -> float:
        """Wall seconds of the whole command."""
        return self.start + self.span + self.end


@dataclass(frozen=True)
class Outcome:
    """What a way leaves, to be compared."""

    measured: Measured
    scores: Mapping[tuple[int, str], float]
    """By trial and fold."""
    students: Mapping[str, str]
    """By key of the store, the manifest with the digests of their files."""


@dataclass(frozen=True)
class Bench:
    """The work, and where its ways do it."""

    folder: Path
    slots: int
    epochs: int

    def prepared(self, way: str, *, trials: int = len(RATES)) -> Job:
        """A store with the features alone, and a job on it."""
        room = self.folder / way
        shutil.rmtree(room, ignore_errors=True)
        (room / "notes").mkdir(parents=True)
        template = self.folder / "features"
        if template.exists():
            shutil.copytree(template, room / "store")
        told = EXPERIMENT | {
            "resources": {"concurrent": self.slots, "trial": {"cpus": 1, "memory_gib": 0.5}},
            "store": str(room / "store"),
            "tracking": {"uri": f"sqlite:///{room}/runs.db"},
        }
        told["recipe"] = told["recipe"] | {
            "training": told["recipe"]["training"] | {"epochs": self.epochs}
        }
        file = room / "orchestration.yaml"
        file.write_text(json.dumps(told))
        if not template.exists():
            experiment = load_experiment(str(file))
            prepare(experiment, Store(experiment.store))
            shutil.copytree(room / "store", template)
        job = Job(
            file=str(file),
            recipes=tuple({RATE: rate} for rate in RATES[:trials]),
            slots=self.slots,
            notes=str(room / "notes"),
        )
        job.write(room / "job.json")
        return job

    def bare(self) -> Outcome:
        """Loops in bare processes, which begin together."""
        job = self.prepared("bare")
        began = time.time()
        path = str(self.folder / "bare" / "job.json")
        command = [sys.executable, "-m", "benchmarks.without_sweep", "loop", path]
        started = [
            subprocess.Popen(
                [*command, str(slot)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for slot in range(self.slots)
        ]
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in started:
            process.wait()
        _refuse_failed("bare", [process.returncode for process in started])
        return _outcome("bare", job, _noted(job), began=began)

    def documented(self, *, trials: int) -> Outcome:
        """Tune functions that start trainers."""
        job = self.prepared("documented", trials=trials)
        began = time.time()
        path = str(self.folder / "documented" / "job.json")
        command = [sys.executable, "-m", "benchmarks.without_sweep", "documented", path]
        _run("documented", command)
        return _outcome("documented", job, _noted(job), began=began)

    def understudy(self) -> Outcome:
        """The sweep as a user starts it."""
        job = self.prepared("understudy")
        began = time.time()
        _run("understudy", [sys.executable, "-m", "orchestrator.cli", "sweep", job.file])
        return _outcome("understudy", job, journalled(job), began=began)


def _run(way: str, command: Sequence[str]) -> None:
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnderstudyError(f"{way}: {(done.stderr or done.stdout)[-2000:]}")


def _refuse_failed(way: str, codes: Sequence[int]) -> None:
    if any(codes):
        raise UnderstudyError(f"{way}: a process ended with {max(codes)}, see above")


def _noted(job: Job) -> list[FoldRun]:
    return [FoldRun(**json.loads(path.read_text())) for path in Path(job.notes).glob("*.json")]


def journalled(job: Job) -> list[FoldRun]:
    """The fold runs of a sweep, as its journals tell them."""
    store = Store(load_experiment(job.file).store)
    prefix = RunTree(store, EXPERIMENT["name"], "sweep").prefix
    runs: dict[str, list[dict[str, Any]]] = {}
    for name in store.list(prefix):
        for event in read_segment(store.read_bytes(name)):
            runs.setdefault(event["key"], []).append(event)
    found = []
    for events in runs.values():
        start, end = events[0], events[-1]
        if start["tags"]["understudy.kind"] != "fold run":
            continue
        rate = float(runs[start["parent"]][0]["params"][RATE])
        scores = [
            event["values"]["chosen/validation_macro_recall"]
            for event in events
            if event["event"] == "metrics" and "chosen/epoch" in event["values"]
        ]
        began, ended = start["time"] / 1000, end["time"] / 1000
        trial = [recipe[RATE] for recipe in job.recipes].index(rate)
        found.append(FoldRun(trial, start["params"]["fold"], began, ended, scores[-1]))
    return found


def _outcome(way: str, job: Job, runs: Sequence[FoldRun], *, began: float) -> Outcome:
    over = time.time()
    first, last = min(run.began for run in runs), max(run.ended for run in runs)
    students = Path(load_experiment(job.file).store) / "artifacts" / "student"
    manifests = students.glob("*/*/manifest.json")
    return Outcome(
        Measured(
            way=way,
            fold_runs=len(runs),
            start=first - began,
            span=last - first,
            end=over - last,
            inside=sum(run.ended - run.began for run in runs),
        ),
        scores={(run.trial, run.fold): run.score for run in runs},
        students={path.parent.name: path.read_text() for path in manifests},
    )


def refuse_unequal(floor: Outcome, other: Outcome, *, trials: int = len(RATES)) -> None:
    """Scores, keys and bytes of the first ``trials`` recipes have to be those of the floor.

    Raises:
        UnderstudyError: they are not.
    """
    way = other.measured.way
    expected = {place: score for place, score in floor.scores.items() if place[0] < trials}
    if dict(other.scores) != expected:
        raise UnderstudyError(f"{way}: other scores than bare: {other.scores} and {expected}")
    strange = [key for key, text in other.students.items() if floor.students.get(key) != text]
    if strange or len(other.students) != len(expected):
        raise UnderstudyError(
            f"{way}: {len(other.students)} students, {len(strange)} of them other bytes than bare"
        )


def calibrated(folder: Path, *, seconds: float) -> int:
    """How many epochs a fold run of about so many seconds has here."""
    job = Bench(folder, slots=1, epochs=1).prepared("calibration")
    experiment = load_experiment(job.file)
    store = Store(experiment.store)
    prepared = prepare(experiment, store)
    task = plan_folds(experiment, prepared, protocol=experiment.protocol, seeds=(0,))[0].task

    def timed(epochs: int, rate: float) -> float:
        changes = {"epochs": epochs, "lr": rate}
        training = task.recipe.training.model_copy(update=changes)
        recipe = task.recipe.model_copy(update={"training": training})
        began = time.perf_counter()
        run_fold(task.with_recipe(recipe), store=store, reporter=Silent())
        return time.perf_counter() - began

    timed(1, 0.1)  # what a process does once
    rates = [1e-3 * (1 + turn) for turn in range(TURNS)]
    short, long = (min(timed(epochs, rate) for rate in rates) for epochs in (SHORT, LONG))
    each = max(1e-4, (long - short) / (LONG - SHORT))
    return max(1, round(SHORT + (seconds - short) / each))
