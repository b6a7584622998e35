"""The runs above those of trials, as MLflow will show them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json

from orchestrator.evaluation.statistics import told_interval
from orchestrator.experiment import Experiment
from orchestrator.experiment.search import Search
from orchestrator.preparation import Prepared
from orchestrator.run_origin import tell_origin
from orchestrator.sweep.outcome import SweepOutcome
from orchestrator.sweep.search_run import SearchRun
from orchestrator.sweep.space import SearchSpace
from orchestrator.sweep.space_changes import Fixed
from orchestrator.sweep.summary import SweepSummary
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.tree import RunTree


def start_runs(
    tree: RunTree,
    experiment: Experiment,
    runs: Sequence[SearchRun],
    prepared: Sequence[Prepared],
    *,
    root: str,
    tags: Mapping[str, str],
) -> dict[str, Journal]:
    """Begin the top run of a command, and one below it for each search inside a fold.

    Args:
        tree: of the command.
        experiment: what is searched for.
        runs: its searches.
        prepared: the corpora.
        root: ``sweep`` or ``nested``.
        tags: of all its runs, as :func:`orchestrator.run_origin.origin_tags` makes them.

    Returns:
        Their journals: that of the top run under "", those below it by the names of their searches.
    """
    search = experiment.search
    assert search is not None
    top = tree.journal()
    shared = {
        "space": search.space or "",
        "metric": search.metric,
        "sampler": search.sampler,
        "pruner": search.pruner.kind,
        "trials": search.trials,
    }
    top.start(
        name=f"{root} {experiment.name}",
        parent=None,
        params=shared,
        tags={**tags, "understudy.kind": root},
    )
    tell_origin(top, experiment, prepared)
    for name, text in space_files(runs[0].space).items():
        top.artifact(name, text)
    journals = {"": top}
    for run in runs:
        if run.name:
            journals[run.name] = tree.journal(run.name)
            journals[run.name].start(
                name=f"search inside {run.name}",
                parent=tree.key(),
                params=shared,
                tags={**tags, "understudy.kind": "sweep", "understudy.protocol": run.protocol},
            )
    return journals


def space_files(space: SearchSpace) -> dict[str, bytes]:
    """The search space to read: its function, and what that asks for under the file's changes."""
    asked: dict[str, BaseDistribution | Fixed] = {}
    for draw in space.draws:
        asked = {**draw.asked, **asked}
    told = {
        name: {"fixed": found.value}
        if isinstance(found, Fixed)
        else json.loads(distribution_to_json(found))
        for name, found in sorted(asked.items())
    }
    files = {"search_space.json": (json.dumps(told, indent=1) + "\n").encode()}
    if space.search.space:
        files["search_space.py"] = inspect.getsource(inspect.getmodule(space.function)).encode()  # type: ignore[arg-type]
    return files


def end_runs(
    journals: Mapping[str, Journal],
    runs: Sequence[SearchRun],
    outcomes: Sequence[SweepOutcome],
    search: Search,
) -> None:
    """End them, with what their trials came to."""
    ends = []
    for run, outcome in zip(runs, outcomes, strict=True):
        summary = outcome.summary
        journal = journals[run.name]
        if summary.ended:
            journal.metrics(_came_to(summary, search), step=summary.ended)
        ends.append(_end(outcome))
        if run.name:
            journal.end(ends[-1][0], reason=ends[-1][1])
    worst = next((end for end in ends if end[0] == "KILLED"), None) or max(
        ends, key=lambda end: end[0] == "FAILED"
    )
    journals[""].end(worst[0], reason=worst[1])


def _came_to(summary: SweepSummary, search: Search) -> dict[str, float]:
    """Counts of trials, and the best one's score with its interval over folds."""
    found = {
        f"trials/{state}": float(getattr(summary, state))
        for state in ("complete", "pruned", "infeasible", "failed")
    }
    if summary.best_value is None:
        return found
    mean = search.aggregate == "mean"
    if not mean:
        found[f"best/{search.aggregate}"] = summary.best_value
    best = next(row for row in summary.trials if row["number"] == summary.best_number)
    return found | told_interval(f"best/validation_{search.metric}", list(best["folds"].values()))


def _end(outcome: SweepOutcome) -> tuple[Any, str]:
    if not outcome.finished:
        return "KILLED", "interrupted; the same command goes on from here"
    if not outcome.summary.complete:
        return "FAILED", "no trial is complete"
    return "FINISHED", ""
