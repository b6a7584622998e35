"""What a sweep promises where there is nothing to learn, and what its selections then deliver.

Run from a checkout::

    python -m benchmarks.optimism
    EMODB_ROOT=/data/emodb python -m benchmarks.optimism --csv optimism.csv --json optimism.json

Emotions are permuted over the utterances of a corpus (EmoDB, or else the built-in one), so that no
student can do better than chance on anybody it has not heard. Each permutation is a replica: a
small random search is run and scored on validation, and then test scores are taken of its best
trial (``same-corpus``), of each fold's best trial (``per-fold``), and of the best trials of
searches inside each fold (``nested``). What the best validation score promises beyond chance is
optimism; a selection that carries no debt delivers chance. It all goes through the functions that
a sweep and an evaluation are made of, one fold run after another in one process. A row is added to
the CSV file as each replica ends, and the same command again goes on from there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.replicas import Outcome, Replica, add_row, field_of, line, read_rows, table
from orchestrator.errors import InputError, UnderstudyError
from orchestrator.evaluation.metrics import scores
from orchestrator.evaluation.sealed import Scored, evaluation_jobs, unseal
from orchestrator.experiment import Experiment
from orchestrator.experiment.changes import searched_recipe
from orchestrator.preparation import PlannedFold, Prepared, plan_folds, prepare
from orchestrator.store import Store
from orchestrator.sweep.belonging import belongs_to
from orchestrator.sweep.choosing import with_choices, with_trial
from orchestrator.sweep.nested import inner_planned, nested_of
from orchestrator.sweep.scoring import aggregate
from orchestrator.sweep.search_run import Tasks, tasks_by_place
from orchestrator.sweep.space import SearchSpace
from orchestrator.sweep.space_checks import checked_space
from orchestrator.sweep.study import BELONGS_TO, OVERRIDES, best_trial
from orchestrator.training.fold_run import predict, run_fold
from orchestrator.training.task import Silent

SYNTHETIC = {"kind": "synthetic", "sessions": 5, "utterances_per_emotion": 10}
EXPERIMENT: dict[str, Any] = {
    "name": "optimism",
    "protocol": {"kind": "speaker-folds", "folds": 5, "validation_speakers": 2},
    "features": {"kind": "log-mel", "bins": 16, "hop_seconds": 0.04, "window_seconds": 0.04},
    "recipe": {
        "student": {
            "kind": "vertical-vit",
            "dim": 8,
            "depth": 1,
            "heads": 1,
            "head_dim": 8,
            "mlp_dim": 16,
            "patch_frames": 8,
        },
        "training": {"epochs": 4, "batch_size": 32},
    },
    "search": {
        "parameters": {
            "recipe.training.lr": {"low": 1.0e-3, "high": 5.0e-2, "log": True},
            "recipe.training.label_smoothing": [0.0, 0.1],
            "recipe.student.dim": [4, 8, 16],
        },
        "sampler": "random",
    },
    "evaluate": {"seeds": [0], "systems": ["student-alone"]},
}


def measure(
    experiment: Experiment, store: Store, *, seeds: Sequence[int], file: Path | None = None
) -> Outcome:
    """Run the replicas.

    Args:
        experiment: without a teacher; ``evaluate.selection`` does not count.
        store: gets features and students.
        seeds: of the permutations, one a replica.
        file: a CSV file of rows that an earlier call has made, which are not made again; it gets
            the others as they end.

    Raises:
        InputError: the rows of the file are of another corpus or of other searches.
    """
    (whole,) = prepare(experiment, store)
    space = checked_space(experiment)
    assert experiment.search is not None
    trials, inner = experiment.search.trials, experiment.evaluate.inner_search.inner_folds
    done = {} if file is None else read_rows(file, [whole.corpus.name, trials, inner])
    for seed in seeds:
        if seed not in done:
            found = _replica(experiment, permuted(whole, seed), store, space, seed=seed)
            done[seed] = found
            print(f"replica {seed}: {line(found)}", file=sys.stderr, flush=True)
            if file is not None:
                add_row(file, found)
    replicas = [done[seed] for seed in seeds]
    return Outcome(
        corpus=whole.corpus.name,
        classes=len(whole.corpus.emotions),
        trials=trials,
        folds=len(_planned(experiment, whole)),
        replicas=tuple(replicas),
    )


def permuted(prepared: Prepared, seed: int) -> Prepared:
    """The corpus with its emotions permuted over all utterances; features stay as they are."""
    table = prepared.corpus.table
    order = np.random.default_rng(seed).permutation(len(table))
    shuffled = table.assign(emotion=table["emotion"].to_numpy()[order])
    return dataclasses.replace(
        prepared, corpus=dataclasses.replace(prepared.corpus, table=shuffled)
    )


def _replica(
    experiment: Experiment, prepared: Prepared, store: Store, space: SearchSpace, *, seed: int
) -> Replica:
    began = time.perf_counter()
    search = experiment.search
    assert search is not None
    planned = _planned(experiment, prepared)
    study = searched(experiment, prepared, space, tasks_by_place(planned), store)
    inner = inner_planned(experiment, [prepared])
    studies = {
        place: searched(experiment, prepared, space, tasks_by_place(folds), store)
        for place, folds in inner.items()
    }
    by_fold = with_choices(experiment, study, name=experiment.name)
    chosen = {
        "same-corpus": with_trial(experiment, study, name=experiment.name),
        "per-fold": by_fold,
        "nested": nested_of(experiment, studies),
    }
    tested = {
        field_of(name): statistics.fmean(test_scores(one, planned, store).values())
        for name, one in chosen.items()
    }
    best = best_trial(study)
    assert best is not None
    assert by_fold.selected is not None
    return Replica(
        seed=seed,
        corpus=prepared.corpus.name,
        trials=search.trials,
        inner_folds=experiment.evaluate.inner_search.inner_folds,
        best_validation=best.values[0],
        **tested,
        chosen=len({choice.trial for choice in by_fold.selected.choices.values()}),
        fold_runs=search.trials * (len(planned) + sum(map(len, inner.values()))),
        seconds=time.perf_counter() - began,
    )


def searched(
    experiment: Experiment, prepared: Prepared, space: SearchSpace, tasks: Tasks, store: Store
) -> optuna.Study:
    """A search without Ray and without pruning: every trial runs every fold.

    Args:
        experiment: with the search.
        prepared: its corpus.
        space: of the search.
        tasks: by ``corpus/fold``, one a seed.
        store: gets the students.
    """
    search = experiment.search
    assert search is not None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    study.set_user_attr(BELONGS_TO, belongs_to(experiment, (prepared,)))
    for number in range(search.trials):
        study.sampler = space.sampler(number)
        trial = study.ask()
        overrides = space.suggest(trial)
        recipe = searched_recipe(experiment, overrides)
        folds = {
            place: statistics.fmean(
                getattr(
                    run_fold(task.with_recipe(recipe), store=store, reporter=Silent()).validation,
                    search.metric,
                )
                for task in seeds
            )
            for place, seeds in tasks.items()
        }
        trial.set_user_attr(OVERRIDES, json.dumps(overrides))
        trial.set_user_attr("folds", folds)
        study.tell(trial, aggregate(folds, kind=search.aggregate, others=()))
    return study


def test_scores(
    experiment: Experiment, planned: list[PlannedFold], store: Store
) -> dict[str, float]:
    """Macro recall on test of each fold's student, by ``corpus/fold``; students are reused."""
    places = {entry.place: entry for entry in planned}
    found = {}
    for job in evaluation_jobs(experiment, planned):
        outcome = run_fold(job.task, store=store, reporter=Silent(), role=job.role)
        logits = predict(job.task, job.sealed, store=store, trained=outcome.artifact)
        scored = Scored(
            job=job,
            logits=np.load(logits.path / "logits.npy"),
            epoch=outcome.epoch,
            parameters=outcome.parameters,
            reused=outcome.reused,
        )
        place = f"{job.task.corpus}/{job.task.fold}"
        unsealed = unseal(scored, places[place])
        found[place] = scores(unsealed.labels, unsealed.predictions, job.task.classes).macro_recall
    return found


def _planned(experiment: Experiment, prepared: Prepared) -> list[PlannedFold]:
    settings, protocol = experiment.evaluate, experiment.protocol
    with warnings.catch_warnings():
        # that some validation lacks an emotion, or a gender
        warnings.simplefilter("ignore")
        return plan_folds(
            experiment, [prepared], protocol=protocol, seeds=settings.seeds, only=settings.folds
        )


def experiment_of(
    environment: Mapping[str, str], *, trials: int, inner_folds: int, store: str
) -> Experiment:
    """The experiment on EmoDB, if the environment says where it lies, else on the built-in corpus.

    Args:
        environment: may have ``EMODB_ROOT``.
        trials: of the sweep and of each inner search.
        inner_folds: of each inner search.
        store: a folder.
    """
    root = environment.get("EMODB_ROOT")
    return Experiment.model_validate(
        {
            **EXPERIMENT,
            "corpora": [{"kind": "emodb", "root": root} if root else SYNTHETIC],
            "search": {**EXPERIMENT["search"], "trials": trials},
            "evaluate": {
                **EXPERIMENT["evaluate"],
                "selection": "nested",
                "nested": {"inner_folds": inner_folds, "trials": trials},
            },
            "store": store,
        }
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit codes are those of ``understudy``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.optimism", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--replicas", type=int, default=20, help="permutations; default 20")
    parser.add_argument("--trials", type=int, default=8, help="of each search; default 8")
    parser.add_argument("--inner-folds", type=int, default=2, help="of each fold; default 2")
    parser.add_argument("--csv", help="a file that gets a row a replica, and is continued")
    parser.add_argument("--json", help="a file to write the figures into")
    given = parser.parse_args(arguments)
    try:
        if given.replicas < 1:
            raise InputError(f"--replicas {given.replicas}: give at least 1")
        with tempfile.TemporaryDirectory() as scratch:
            experiment = experiment_of(
                os.environ, trials=given.trials, inner_folds=given.inner_folds, store=scratch
            )
            file = Path(given.csv) if given.csv else None
            outcome = measure(experiment, Store(scratch), seeds=range(given.replicas), file=file)
    except UnderstudyError as error:
        print(f"optimism: {error}", file=sys.stderr)
        return error.exit_code
    print(table(outcome), end="")
    if given.json:
        Path(given.json).write_text(json.dumps(outcome.facts(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
