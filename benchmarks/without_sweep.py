"""The fold runs of a sweep without the sweep: plain loops in bare processes, and Tune's own way.

What ``benchmarks.orchestration`` starts, in processes of their own::

    python -m benchmarks.without_sweep loop JOB SLOT
    python -m benchmarks.without_sweep documented JOB

``loop`` says that it is ready, waits for a line, and takes every ``slots``-th fold run. In
``documented`` a Tune function starts a ``TorchTrainer`` for each fold, as Ray's guide to
hyperparameter tuning with Ray Train says.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.experiment import load_experiment
from orchestrator.experiment.changes import searched_recipe
from orchestrator.preparation import plan_folds, read_corpora
from orchestrator.store import Store
from orchestrator.training.fold_run import run_fold
from orchestrator.training.task import FoldTask, Silent


@dataclass(frozen=True)
class Job:
    """Fold runs to do: every recipe on every fold."""

    file: str
    """The experiment file."""
    recipes: tuple[Mapping[str, Any], ...]
    """Overrides of the experiment, for each trial."""
    slots: int
    """Fold runs at once."""
    notes: str
    """Folder that gets a JSON file of each fold run."""

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: str) -> Job:
        """What :meth:`write` wrote."""
        told = json.loads(Path(path).read_text())
        return cls(**told | {"recipes": tuple(told["recipes"])})


@dataclass(frozen=True)
class FoldRun:
    """What is kept of one fold run."""

    trial: int
    """Place of its recipe in the job."""
    fold: str
    began: float
    """Seconds since 1970."""
    ended: float
    score: float
    """On validation, as a fraction."""


def trial_tasks(job: Job) -> list[list[FoldTask]]:
    """For each recipe of a job, its fold runs in the folds' order."""
    experiment = load_experiment(job.file)
    assert experiment.search is not None
    prepared = read_corpora(experiment, Store(experiment.store))
    planned = plan_folds(
        experiment, prepared, protocol=experiment.protocol, seeds=experiment.search.seeds
    )
    recipes = [searched_recipe(experiment, overrides) for overrides in job.recipes]
    return [[entry.task.with_recipe(recipe) for entry in planned] for recipe in recipes]


def noted_run(task: FoldTask, *, trial: int, store: str, notes: str) -> float:
    """Run a fold, write a note of it, and return its score."""
    began = time.time()
    score = run_fold(task, store=Store(store), reporter=Silent()).validation.macro_recall
    note = FoldRun(trial, task.fold, began, time.time(), score)
    (Path(notes) / f"{trial}-{task.fold}.json").write_text(json.dumps(asdict(note)))
    return score


def loop(job: Job, slot: int) -> None:
    """Every ``job.slots``-th fold run from number ``slot``, one after another."""
    store = load_experiment(job.file).store
    runs = [(number, task) for number, tasks in enumerate(trial_tasks(job)) for task in tasks]
    print("ready", flush=True)
    sys.stdin.readline()
    for number, task in runs[slot :: job.slots]:
        noted_run(task, trial=number, store=store, notes=job.notes)


def documented(job: Job) -> None:
    """A Tune function for each recipe, which starts a ``TorchTrainer`` for each fold."""
    import ray
    from ray import train, tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    store = load_experiment(job.file).store
    # workers and the functions that wait for them count apart, or nobody gets the last CPU
    ray.init(
        address="local",
        num_cpus=job.slots,
        resources={"TRAIN_DRIVER_RESOURCE": 1},
        log_to_driver=False,
        include_dashboard=True,
    )
    tasks = ray.put(trial_tasks(job))
    kept = str(Path(job.notes).parent / "ray-results")

    def worker(config: dict[str, Any]) -> None:
        task = ray.get(config["tasks"][0])[config["trial"]][config["fold"]]
        score = noted_run(task, trial=config["trial"], store=store, notes=job.notes)
        train.report({"score": score})

    def trial(config: dict[str, Any]) -> None:
        own = f"trial_id={tune.get_context().get_trial_id()}"
        for fold in range(len(ray.get(tasks)[config["trial"]])):
            TorchTrainer(
                worker,
                train_loop_config={"tasks": [tasks], "trial": config["trial"], "fold": fold},
                scaling_config=train.ScalingConfig(num_workers=1),
                run_config=train.RunConfig(
                    name=f"train-{own}-fold={fold}",
                    storage_path=kept,
                    # not annotated, and Ray's own two callbacks are of one kind at run time only
                    callbacks=[TuneReportCallback()],  # type: ignore[no-untyped-call, list-item]
                ),
            ).fit()

    tune.Tuner(
        tune.with_resources(trial, {"TRAIN_DRIVER_RESOURCE": 0.01}),
        param_space={"trial": tune.grid_search(list(range(len(job.recipes))))},
        tune_config=tune.TuneConfig(max_concurrent_trials=job.slots),
        run_config=tune.RunConfig(name="tune", storage_path=kept, verbose=0),
    ).fit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Do a part of a job."""
    way, path, *slot = sys.argv[1:] if arguments is None else arguments
    # each process computes on one core, as a trial's does
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if way == "loop":
        loop(Job.read(path), int(slot[0]))
    else:
        documented(Job.read(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
