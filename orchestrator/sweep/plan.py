"""What a sweep would run, how far it is, and how few fold runs it may need; nothing is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.capacity.step_time import StudentClock
from orchestrator.experiment import Experiment
from orchestrator.experiment.search import Cost, Search
from orchestrator.planned_folds import FoldsPlan, folds_planned
from orchestrator.preparation import Prepared
from orchestrator.store import Store
from orchestrator.sweep.belonging import belongs_to, changes
from orchestrator.sweep.checking import Within, check_draws, search_folds
from orchestrator.sweep.probing import Parameter
from orchestrator.sweep.savings import fewest_folds, folds_needed, looks
from orchestrator.sweep.space import SearchSpace
from orchestrator.sweep.storage import shown_address, study_address
from orchestrator.sweep.study import BELONGS_TO, find_study, load_study, study_exists
from orchestrator.sweep.summary import ENDED, summarise
from orchestrator.teachers_to_fit import Networks, networks_of_trials


@dataclass(frozen=True)
class PrunerPlan:
    """What the pruner can do on this many folds."""

    kind: str
    options: Mapping[str, Any]
    looks: tuple[int, ...]
    """After how many folds it can stop a trial; empty: never."""
    folds_needed: int | None
    """The least number of folds on which it could; None for ``none``."""

    @classmethod
    def of(cls, search: Search, *, folds: int) -> PrunerPlan:
        """The search's pruner, for trials of so many folds."""
        return cls(
            kind=search.pruner.kind,
            options=search.pruner.model_dump(exclude={"kind"}),
            looks=tuple(looks(search.pruner, folds=folds)),
            folds_needed=folds_needed(search.pruner),
        )


@dataclass(frozen=True)
class StandingPlan:
    """How far the sweep is."""

    states: Mapping[str, int]
    """Trials of the study that are ``complete``, ``pruned``, ``infeasible``, ``failed`` or
    ``running``, where there are any."""
    hours: float
    """That it has taken so far, over all sittings."""
    extends: tuple[str, ...]
    """What the next sitting has more of than the study, a clause each: it is begun anew with the
    parameters of the same trials. Empty if nothing."""
    fold_runs: int
    """That its trials have been scored on."""


@dataclass(frozen=True)
class SearchPlan:
    """What the sweep would run."""

    space: str | None
    parameters: tuple[Parameter, ...]
    changed: tuple[str, ...]
    """Names of those that ``search.parameters`` fixes or narrows."""
    added: tuple[str, ...]
    """Names of those that it adds."""
    independent: tuple[str, ...]
    """Names of those that the sampler draws at random, since it cannot learn of them."""
    impossible: float
    """Share of random draws that make no valid recipe: such a trial fails."""
    reason: str
    """Why the first of them does not."""
    sampler: str
    size: int | None
    """Points of the space, where the sampler goes through all of them."""
    metric: str
    minimise: tuple[str, ...]
    constraints: Mapping[Cost, float]
    within: Within | None
    """Random draws that meet the constraints; None where there are none."""
    aggregate: str
    pruner: PrunerPlan
    start: int
    """Points that are tried first."""
    storage: str
    """Where the study lies, without credentials."""
    trials: int
    """As asked for, or as many as the space has points."""
    max_hours: float | None
    standing: StandingPlan
    ended: int
    """Trials that need nothing more."""
    left: int
    """Trials that do."""
    searched: tuple[str, ...]
    """Folds that ``search.folds`` names; empty: all."""
    folds: tuple[FoldsPlan, ...]
    fold_runs: int
    """Of all trials, if each ran every fold."""
    fewest_fold_runs: int | None
    """Of the trials that are left, if each were stopped as early as the pruner can; None where
    nothing bounds them, since trials beyond a constraint run none."""
    networks: Networks
    student_seconds: float | None
    """Of the students of all trials, one after another, trained by the recipe as written; None
    where an update was not measured."""


def plan_search(
    experiment: Experiment,
    prepared: tuple[Prepared, ...],
    *,
    space: SearchSpace,
    store: Store,
    clock: StudentClock,
) -> SearchPlan:
    """Probe the space, deal the folds, and look at the study.

    Raises:
        ExperimentError: nothing in the space meets the constraints, or the study of this name
            belongs to another recipe, search or corpus.
        ProtocolError: the protocol makes no valid folds, or ``search.folds`` names one that is not
            there.
        StoreError: the study's storage does not answer.
    """
    search = experiment.search
    assert search is not None
    protocol = search.protocol or experiment.protocol
    planned = search_folds(experiment, prepared)
    probe, within = check_draws(experiment, prepared)
    # bare, as a sweep hands them to its trials: a recipe may join the held speakers to the others
    tasks = [entry.task for entry in planned]
    trials = search.trials if space.size is None else min(search.trials, space.size)
    standing = _standing(experiment, prepared, store)
    ended = 0 if standing.extends else sum(standing.states.get(name, 0) for name in ENDED)
    left = max(0, trials - ended)
    folds = len(tasks) // len(search.seeds)
    pruner = PrunerPlan.of(search, folds=folds)
    seconds = clock.of(task.with_recipe(experiment.recipe) for task in tasks)
    draws = len(probe.recipes) + probe.impossible
    return SearchPlan(
        space=search.space,
        parameters=probe.parameters,
        changed=tuple(name for name in space.changes if name not in space.extensions),
        added=tuple(space.extensions),
        independent=space.independent,
        impossible=probe.impossible / draws,
        reason=probe.reason,
        sampler=search.sampler,
        size=space.size,
        metric=search.metric,
        minimise=search.minimise,
        constraints=search.constraints,
        within=within,
        aggregate=search.aggregate,
        pruner=pruner,
        start=len(search.start),
        storage=shown_address(study_address(experiment, store)),
        trials=trials,
        max_hours=search.max_hours,
        standing=standing,
        ended=ended,
        left=left,
        searched=search.folds,
        folds=folds_planned(planned, protocol),
        fold_runs=trials * len(tasks),
        fewest_fold_runs=None
        if within is not None and within.share < 1.0
        else _fewest(search, pruner, folds=folds, left=left, begun=bool(ended)),
        networks=networks_of_trials(tasks, probe.recipes, trials=trials, store=store),
        student_seconds=None if seconds is None else seconds * trials,
    )


def _fewest(search: Search, pruner: PrunerPlan, *, folds: int, left: int, begun: bool) -> int:
    # where some have ended, all the others may be stopped at the first look
    found = (
        left * pruner.looks[0]
        if begun and pruner.looks
        else fewest_folds(search.pruner, folds=folds, trials=left)
    )
    return found * len(search.seeds)


def _standing(experiment: Experiment, prepared: tuple[Prepared, ...], store: Store) -> StandingPlan:
    if not study_exists(experiment, store):
        return StandingPlan(states={}, hours=0.0, extends=(), fold_runs=0)
    assert experiment.search is not None
    same = find_study(experiment, store, prepared)
    latest = same or load_study(experiment, store, name=experiment.name)
    found = summarise(latest, metric=experiment.search.metric, planned=experiment.search.trials)
    states = {name: getattr(found, name) for name in (*ENDED, "running")}
    ours = belongs_to(experiment, prepared)
    more = changes(experiment, theirs=latest.user_attrs.get(BELONGS_TO, ours), ours=ours)
    return StandingPlan(
        states={name: count for name, count in states.items() if count},
        hours=found.seconds / 3600,
        extends=() if same is not None else tuple(map(str, more)),
        fold_runs=found.fold_runs,
    )
