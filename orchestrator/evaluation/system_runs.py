"""The runs of an evaluation: above each system's fold runs one of the system, above those the top.

A system's run has the means over folds with their intervals, so that MLflow's own table compares
systems without a look at their fold runs.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.bundle.files import bundle_files
from orchestrator.evaluation.metrics import METRICS, scores
from orchestrator.evaluation.plots import plot
from orchestrator.evaluation.report import markdown
from orchestrator.evaluation.result import ablation_changes
from orchestrator.evaluation.run_pictures import confusion_picture, curves_picture
from orchestrator.evaluation.run_tables import classes_csv, confusion_csv, speakers_csv
from orchestrator.evaluation.sealed import Scored, Unsealed
from orchestrator.evaluation.statistics import told_interval
from orchestrator.experiment import Experiment
from orchestrator.experiment.loading import resolved
from orchestrator.preparation import Prepared
from orchestrator.run_origin import tell_origin
from orchestrator.store import Store
from orchestrator.sweep.fold_students import model_facts
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.tree import RunTree

ALIAS = "evaluated"
"""What the registry calls the newest version that an evaluation has put there."""


def start_runs(
    tree: RunTree,
    experiment: Experiment,
    prepared: Sequence[Prepared],
    *,
    systems: set[str],
    tags: Mapping[str, str],
) -> Journal:
    """Begin the top run of an evaluation, and one below it for each system.

    Args:
        tree: of the command.
        experiment: what is evaluated.
        prepared: the corpora.
        systems: what is measured of it.
        tags: of all its runs, as :func:`orchestrator.run_origin.origin_tags` makes them.
    """
    tags = {**tags, "understudy.selection": experiment.evaluate.selection}
    top = tree.journal()
    variant = f" ({experiment.variant})" if experiment.variant else ""
    whole = resolved(experiment)
    top.start(
        name=f"evaluation {experiment.name}{variant}",
        parent=None,
        params={"recipe": whole["recipe"], "features": whole["features"]},
        tags={**tags, "understudy.kind": "evaluation"},
    )
    tell_origin(top, experiment, prepared)
    changes = ablation_changes(experiment)
    for system in sorted(systems):
        tree.journal(system).start(
            name=system,
            parent=tree.key(),
            params=changes.get(system),
            tags={**tags, "understudy.kind": "system"},
        )
    return top


def tell_test(tree: RunTree, scored: Scored, unsealed: Unsealed) -> None:
    """End a fold run with its scores on test."""
    task = scored.job.task
    found = scores(unsealed.labels, unsealed.predictions, task.classes)
    journal = tree.journal(*scored.job.place)
    journal.metrics(
        {f"test/{name}": getattr(found, name) for name in METRICS} | {"test/n": float(found.n)},
        step=scored.epoch,
    )
    journal.artifact("test/confusion.csv", confusion_csv(found.confusion, task.emotions))
    # the others would wait with it for the store; end_runs does
    journal.end("FINISHED", wait=False)


def end_runs(
    tree: RunTree,
    top: Journal,
    done: Sequence[tuple[Scored, Unsealed]],
    result: Mapping[str, Any],
) -> None:
    """End the runs of the systems and the top run, with means and intervals over folds."""
    for scored, _ in done:
        tree.journal(*scored.job.place).flush()
    for system in result["systems"]:
        journal = tree.journal(system)
        for entry in result["summary"]:
            if entry["system"] == system:
                found = _over_folds(entry, result["rows"])
                journal.metrics(found, step=0)
                top.metrics({f"{system}/{name}": value for name, value in found.items()}, step=0)
        journal.end("FINISHED")
    top.end("FINISHED")


def _over_folds(entry: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of a corpus and system: the mean of each metric over folds, and Student's t interval."""
    corpus, system = entry["corpus"], entry["system"]
    by_fold: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["corpus"] == corpus and row["system"] == system:
            by_fold.setdefault(row["fold"], []).append(row)
    found: dict[str, float] = {}
    for metric in METRICS:
        values = [float(np.mean([row[metric] for row in seeds])) for seeds in by_fold.values()]
        found |= told_interval(f"{corpus}/test/{metric}", values)
    found |= {
        f"{corpus}/{cost}": float(entry[cost])
        for cost in ("parameters", "macs")
        if entry[cost] is not None
    }
    return found


def show_systems(
    tree: RunTree,
    top: Journal,
    experiment: Experiment,
    done: Sequence[tuple[Scored, Unsealed]],
    result: Mapping[str, Any],
    *,
    note: Callable[[str], None],
) -> None:
    """The best student as a model, pictures and tables of each system, and the result's files.

    Nothing in here fails an evaluation that has its result.

    Args:
        tree: of the command.
        top: the journal of its top run.
        experiment: that was evaluated.
        done: its fold runs.
        result: of them.
        note: is told what could not be made.
    """
    try:
        _tell_model(top, experiment, done, result, store=tree.store)
    except Exception as error:
        note(f"the best student could not be registered: {error}")
    try:
        for system in result["systems"]:
            _show_system(tree.journal(system), experiment, system, done, result)
        top.artifact("evaluation.json", (json.dumps(result, indent=1) + "\n").encode())
        top.artifact("report.md", markdown(dict(result), None).encode())
        with tempfile.TemporaryDirectory() as folder:
            for picture in plot(dict(result), folder):
                top.artifact(f"pictures/{picture.name}", picture.read_bytes())
    except Exception as error:
        note(f"pictures for MLflow could not be made: {error}")


def _show_system(
    journal: Journal,
    experiment: Experiment,
    system: str,
    done: Sequence[tuple[Scored, Unsealed]],
    result: Mapping[str, Any],
) -> None:
    own = [scored for scored, _ in done if scored.job.system == system]
    names = {
        f"{one.job.task.corpus} {one.job.task.fold} seed {one.job.task.seed}": one for one in own
    }
    title = f"{experiment.name}, {system}"
    if all(one.history for one in own):
        journal.artifact(
            "curves.png",
            curves_picture(
                {name: one.history for name, one in names.items()},
                title=title,
                chosen={name: one.epoch for name, one in names.items()},
            ),
        )
    for corpus, systems in result["confusion"].items():
        by_seed = [np.asarray(counts) for counts in systems[system].values()]
        confusion, emotions = sum(by_seed), result["emotions"][corpus]
        seeds = "" if len(by_seed) == 1 else f", {len(by_seed)} seeds added up"
        told = f"{title}, test of {corpus}{seeds}"
        journal.artifact(
            f"test/{corpus}-confusion.png", confusion_picture(confusion, emotions, title=told)
        )
        journal.artifact(f"test/{corpus}-classes.csv", classes_csv(confusion, emotions))
        rows = [
            row for row in result["speakers"] if row["corpus"] == corpus and row["system"] == system
        ]
        journal.artifact(f"test/{corpus}-speakers.csv", speakers_csv(rows))


def _tell_model(
    top: Journal,
    experiment: Experiment,
    done: Sequence[tuple[Scored, Unsealed]],
    result: Mapping[str, Any],
    *,
    store: Store,
) -> None:
    """The student that did best on its own validation; test has no say in it (law 1)."""
    students = [one for one, _ in done if one.job.role == "student"]
    wanted = "distilled" if "distilled" in result["systems"] else "student-alone"
    own = sorted(
        (one for one in students if one.job.system == wanted), key=lambda one: str(one.job.place)
    )
    best = max(
        own, key=lambda one: one.validation.macro_recall if one.validation else 0.0, default=None
    )
    if best is None or best.validation is None:
        return
    task = best.job.task
    facts = model_facts(task, best.validation) | {
        "experiment": experiment.name,
        "system": wanted,
        "selection": f"{result['selection']}; of the fold runs the best on its own validation",
        "protocol": result["protocols"][task.corpus],
    }
    top.model(
        experiment.name,
        bundle_files(task, store.get("student", best.trained), facts=facts),
        alias=ALIAS,
        tags={"fold_run": f"{task.corpus} {task.fold} seed {task.seed}", "system": wanted},
    )
