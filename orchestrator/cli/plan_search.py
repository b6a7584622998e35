"""How the command line shows what a sweep would run."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from orchestrator.capacity.resources_plan import ResourcesPlan
from orchestrator.cli.plan_lines import (
    say,
    seeds_told,
    show_folds,
    show_networks,
    show_pruner,
    time_told,
    title,
)
from orchestrator.progress import duration
from orchestrator.sweep.plan import SearchPlan

AGGREGATES = {
    "rank": "the mean of its ranks among the trials in each corpus",
    "z": "the mean of its z-scores among the trials in each corpus",
    "worst": "the mean on the corpus that it does worst on",
}


def show_search(console: Console, search: SearchPlan, resources: ResourcesPlan) -> None:
    """The part of a plan that is about the sweep."""
    title(console, "Sweep")
    folds, seeds = sum(one.folds for one in search.folds), search.folds[0].seeds
    counted = f"{folds} fold{'' if folds == 1 else 's'}"
    say(
        console,
        f"{_trials(search)} x {counted} x {seeds_told(seeds)} = {search.fold_runs} fold runs",
    )
    for line in (*_standing(search), *_budget(search), *_objectives(search)):
        say(console, line)
    show_folds(console, search.folds)
    if search.searched:
        say(console, f"only the folds {', '.join(search.searched)} are searched on")
    _show_space(console, search)
    _show_constraints(console, search)
    show_pruner(console, search.pruner, folds=counted, bounds=_bounds(search))
    show_networks(console, search.networks)
    if search.student_seconds is not None and search.left:
        every = search.left * (search.fold_runs // search.trials)
        each = search.student_seconds / search.fold_runs
        fewest = search.fewest_fold_runs
        text = time_told(each * every, resources, most=every, least=fewest == every)
        if fewest is not None and fewest < every:
            text += (
                f"; with every trial stopped as early as can be, "
                f"{duration(each * fewest)} one after another"
            )
        say(console, text)
    say(console, f"study: {search.storage}")


def _trials(search: SearchPlan) -> str:
    objectives = [f"by {search.metric} on validation", *(f"few {cost}" for cost in search.minimise)]
    told = f"{search.trials} trials ({search.sampler}, {', '.join(objectives)})"
    return told if search.size is None else f"{told}, of {search.size} points of the grid,"


def _standing(search: SearchPlan) -> Iterator[str]:
    """How far it is, and what goes on."""
    standing = search.standing
    if standing.extends:
        count = sum(standing.states.values())
        yield (
            f"goes on with the same {count} trials on more ({'; '.join(standing.extends)}): "
            f"{standing.fold_runs} of their fold runs are done already"
        )
    elif standing.states:
        told = [
            f"{count} {'begun, which go on' if name == 'running' else name}"
            for name, count in standing.states.items()
        ]
        yield f"trials so far: {', '.join(told)}; left: {search.left}"


def _budget(search: SearchPlan) -> Iterator[str]:
    if search.max_hours is not None:
        yield (
            f"no trial begins after {search.max_hours:g} hours (search.max_hours), of which "
            f"{search.standing.hours:.1f} are used; trials that have begun are ended"
        )
    if search.start:
        one = search.start == 1
        yield f"{search.start} starting point{' is' if one else 's are'} tried first"


def _objectives(search: SearchPlan) -> Iterator[str]:
    if search.minimise:
        yield (
            "several objectives: the outcome is the set of trials of which none is better in "
            "everything, and you choose among them"
        )
    if search.aggregate != "mean":
        yield f"a trial's score: {AGGREGATES[search.aggregate]}"


def _show_space(console: Console, search: SearchPlan) -> None:
    say(console, f"space {search.space}:" if search.space else "space, by search.parameters alone:")
    for one in search.parameters:
        drawn = "" if one.share == 1.0 else f" (conditional: in {100 * one.share:.0f} % of draws)"
        whose = (
            ", added by search.parameters"
            if one.name in search.added
            else ", by search.parameters"
            if one.name in search.changed
            else ""
        )
        say(console, f"  {one.name}: {one.range}{whose}{drawn}")
    if search.independent:
        say(
            console,
            f"{search.sampler} draws at random, since it learns only of what every trial has: "
            f"{', '.join(search.independent)}",
        )
    if search.impossible:
        say(
            console,
            f"{100 * search.impossible:.0f} % of random draws make no valid recipe, and such a "
            f"trial fails; the first: {search.reason}",
            style="red",
        )


def _show_constraints(console: Console, search: SearchPlan) -> None:
    if search.within is None:
        return
    asked = " and ".join(
        f"at most {limit:,.0f} {cost} (drawn: {search.within.smallest[cost]:,} to "
        f"{search.within.largest[cost]:,})"
        for cost, limit in search.constraints.items()
    )
    text = f"constraints: {asked}; {100 * search.within.share:.0f} % of random draws"
    rest = ", the other trials are counted and not run" if search.within.share < 1.0 else ""
    say(console, f"{text} are within{rest}")


def _bounds(search: SearchPlan) -> str:
    if search.fewest_fold_runs is None or not search.left:
        return ""
    most = search.left * (search.fold_runs // search.trials)
    return f": at least {search.fewest_fold_runs} and at most {most} fold runs are left"
