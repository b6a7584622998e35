"""What an experiment has left in its store, for reports."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import optuna

from orchestrator.errors import ExperimentError
from orchestrator.evaluation.evaluate import result_folder
from orchestrator.evaluation.statistics import Interval, t_interval
from orchestrator.experiment import Experiment
from orchestrator.store import Store
from orchestrator.sweep.findings import findings_of
from orchestrator.sweep.space_checks import checked_space
from orchestrator.sweep.storage import study_address, study_names
from orchestrator.sweep.study import carried_of, inner_folds_of, load_study, study_exists
from orchestrator.sweep.summary import ENDED, SweepSummary, summarise


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

    Returns:
        Of the sweep, as :func:`sweep_facts` has it, and ``findings`` as in
        :meth:`orchestrator.sweep.findings.Findings.facts`; and ``inner``, the same without findings
        for each search inside a fold of the evaluation, with that ``fold`` (``corpus/fold``). Where
        there are only such searches, ``experiment`` and ``metric`` beside them.
    """
    search, store = experiment.search, Store(experiment.store)
    if search is None:
        return None
    inner = []
    for place in inner_folds_of(study_names(study_address(experiment, store)), experiment.name):
        study = load_study(experiment, store, name=experiment.name, inner=place)
        trials = experiment.evaluate.inner_search.trials
        inner.append({"fold": place, **_study_facts(study, experiment, planned=trials)})
    facts: dict[str, Any] = {"experiment": experiment.name, "metric": search.metric}
    if study_exists(experiment, store):
        study = load_study(experiment, store, name=experiment.name)
        facts = _study_facts(study, experiment, planned=_asked_for(experiment))
        facts["findings"] = findings_of(study).facts()
    elif not inner:
        return None
    return facts | ({"inner": inner} if inner else {})


def _asked_for(experiment: Experiment) -> int:
    """How many trials there are to be; a grid has no more than its points."""
    search = experiment.search
    assert search is not None
    size = None
    if search.sampler == "grid":
        with contextlib.suppress(ExperimentError):  # the study can be read all the same
            size = checked_space(experiment).size
    return search.trials if size is None else min(search.trials, size)


def _study_facts(study: optuna.Study, experiment: Experiment, *, planned: int) -> dict[str, Any]:
    assert experiment.search is not None
    summary = summarise(study, metric=experiment.search.metric, planned=planned)
    facts = sweep_facts(summary, name=experiment.name)
    drawn = {trial.number: trial.params for trial in study.get_trials(deepcopy=False)}
    for row in facts["rows"]:
        row["drawn"] = drawn[row["number"]]
    return facts | {"carried": len(carried_of(study))}


def sweep_facts(summary: SweepSummary, *, name: str) -> dict[str, Any]:
    """A summary as the report shows it, as JSON-able values.

    Args:
        summary: of a study.
        name: of the experiment.

    Returns:
        ``experiment``, ``study``, ``metric``; ``trials``, how many are asked for; ``states``, how
        many are in each; ``best``, None or its ``number``, ``value``, ``overrides`` by dotted key
        and ``interval`` over folds (None, or ``mean``, ``low``, ``high`` as fractions and
        ``folds``); with several objectives ``front``, its trials in the same form, with the
        ``values`` of all objectives by name in the place of ``value``; ``fold_runs`` (``done`` and
        ``saved`` by pruning); ``seconds`` in which trials ran; ``rows``, every trial; what its
        study says of the search: ``objectives``, ``sampler``, ``pruner``, ``aggregate``,
        ``constraints`` and ``protocols``, their strings.
    """
    search = summary.search
    objectives = [summary.metric, *search.get("minimise", ())]
    rows = [dict(row) for row in summary.trials]
    best = None
    if summary.best_number is not None:
        best = {
            "number": summary.best_number,
            "value": summary.best_value,
            "overrides": dict(summary.best_overrides),
            "interval": _interval(summary.best_interval),
        }
    states = {state: getattr(summary, state) for state in (*ENDED, "running")}
    return {
        "experiment": name,
        "study": summary.name,
        "metric": summary.metric,
        "trials": summary.planned,
        "states": {state: count for state, count in states.items() if count},
        "best": best,
        "front": [_on_front(row, objectives) for row in rows if row["number"] in summary.front],
        "fold_runs": {"done": summary.fold_runs, "saved": summary.fold_runs_saved},
        "seconds": summary.seconds,
        "rows": rows,
        "objectives": objectives,
        "sampler": search.get("sampler", ""),
        "pruner": dict(search.get("pruner", {})),
        "aggregate": search.get("aggregate", "mean"),
        "constraints": dict(search.get("constraints", {})),
        "protocols": list(summary.protocols),
    }


def _on_front(row: Mapping[str, Any], objectives: list[str]) -> dict[str, Any]:
    folds = list(row["folds"].values())
    return {
        "number": row["number"],
        "values": dict(zip(objectives, row["values"], strict=True)),
        "overrides": row["overrides"],
        "interval": _interval(t_interval(folds)) if folds else None,
    }


def _interval(found: Interval | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"mean": found.mean, "low": found.low, "high": found.high, "folds": found.n}
