"""What an experiment has left in its store, for reports."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.evaluation.evaluate import result_folder
from orchestrator.experiment import Experiment
from orchestrator.store import Store
from orchestrator.sweep.findings import findings_of
from orchestrator.sweep.study import SweepSummary, load_study, study_path, summarise


def stored_result(experiment: Experiment) -> dict[str, Any] | None:
    """The last evaluation's ``evaluation.json``, or None."""
    store = Store(experiment.store)
    name = f"{result_folder(experiment)}/evaluation.json"
    if not store.exists(name):
        return None
    result: dict[str, Any] = json.loads(store.read_bytes(name))
    return result


def stored_pictures(experiment: Experiment) -> dict[str, bytes]:
    """The pictures that the last evaluation drew while it ran, by file name."""
    store = Store(experiment.store)
    names = [one for one in store.list(result_folder(experiment)) if one.endswith(".png")]
    return {name.rpartition("/")[2]: store.read_bytes(name) for name in names}


def stored_sweep(experiment: Experiment) -> dict[str, Any] | None:
    """Where the experiment's sweep stands and what it has found, or None.

    Reads the study, so the sweep may be running.
    """
    store = Store(experiment.store)
    if experiment.search is None or not study_path(experiment, store).is_file():
        return None
    study = load_study(experiment, store, name=experiment.name)
    search = experiment.search
    summary = summarise(study, metric=search.metric, planned=search.trials)
    return sweep_facts(summary) | {"findings": findings_of(study).facts()}


def sweep_facts(summary: SweepSummary) -> dict[str, Any]:
    """A summary as the report shows it."""
    best = None
    if summary.best_value is not None:
        best = {
            "number": summary.best_number,
            "value": summary.best_value,
            "overrides": dict(summary.best_overrides),
        }
    states = {
        "complete": summary.complete,
        "failed": summary.failed,
        "running": summary.running,
    }
    return {
        "experiment": summary.name,
        "metric": summary.metric,
        "trials": summary.planned,
        "states": {name: count for name, count in states.items() if count},
        "best": best,
    }
