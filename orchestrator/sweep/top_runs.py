"""The runs above those of trials, as MLflow will show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.experiment import Experiment
from orchestrator.experiment.search import Search
from orchestrator.sweep.outcome import SweepOutcome
from orchestrator.sweep.search_run import SearchRun
from orchestrator.tracking.tree import RunTree


def start_runs(
    tree: RunTree, experiment: Experiment, runs: Sequence[SearchRun], *, root: str
) -> Any:
    """Begin the top run of a command, and one below it for each search inside a fold."""
    search = experiment.search
    assert search is not None
    top = tree.journal()
    shared = {
        "space": search.space or "",
        "metric": search.metric,
        "sampler": search.sampler,
        "pruner": search.pruner.kind,
    }
    top.start(
        name=f"{root} {experiment.name}",
        parent=None,
        params=shared,
        tags={
            "understudy.kind": root,
            "understudy.protocol": "; ".join(run.protocol for run in runs),
        },
    )
    for run in runs:
        if run.name:
            tree.journal(run.name).start(
                name=f"search inside {run.name}",
                parent=tree.key(),
                params=shared,
                tags={"understudy.kind": "sweep", "understudy.protocol": run.protocol},
            )
    return top


def end_runs(
    tree: RunTree,
    top: Any,
    runs: Sequence[SearchRun],
    outcomes: Sequence[SweepOutcome],
    search: Search,
) -> None:
    """End them, with what their trials came to."""
    ends = []
    for run, outcome in zip(runs, outcomes, strict=True):
        summary = outcome.summary
        journal = tree.journal(run.name) if run.name else top
        counts = {
            f"trials/{state}": float(getattr(summary, state))
            for state in ("complete", "pruned", "infeasible", "failed")
        }
        best = summary.best_value
        kind = search.aggregate
        what = f"validation_{search.metric}" if kind == "mean" else kind
        leads = {} if best is None else {f"best/{what}": best}
        if summary.ended:
            journal.metrics(counts | leads, step=summary.ended)
        ends.append(_end(outcome))
        if run.name:
            journal.end(ends[-1][0], reason=ends[-1][1])
    worst = next((end for end in ends if end[0] == "KILLED"), None) or max(
        ends, key=lambda end: end[0] == "FAILED"
    )
    top.end(worst[0], reason=worst[1])


def _end(outcome: SweepOutcome) -> tuple[Any, str]:
    if not outcome.finished:
        return "KILLED", "interrupted; the same command goes on from here"
    if not outcome.summary.complete:
        return "FAILED", "no trial is complete"
    return "FINISHED", ""
