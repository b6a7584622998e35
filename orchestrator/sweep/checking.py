"""What a search is refused for before any work, beside its space: machines, folds, constraints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import ray

from orchestrator.capacity.resources_plan import impossible_here
from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.experiment.experiment import Resources
from orchestrator.experiment.recipe import Recipe
from orchestrator.preparation import PlannedFold, Prepared, plan_folds
from orchestrator.sweep.costs import beyond, student_costs
from orchestrator.sweep.probing import Probe, probe_space


@dataclass(frozen=True)
class Within:
    """How many random draws meet ``search.constraints``, and what their students cost."""

    share: float
    """Of the draws that make a valid recipe."""
    smallest: dict[str, int]
    """Of any draw, each cost for itself."""
    largest: dict[str, int]


def refuse_resources(resources: Resources) -> None:
    """Raise where this machine cannot hold even one fold run, for which Ray would wait for ever.

    A cluster, or a session of Ray that is there already, says so itself once it is asked.

    Raises:
        ExperimentError: names what is asked for and what there is.
    """
    if not ray.is_initialized() and (why := impossible_here(resources)):
        raise ExperimentError(why)


def check_search(
    experiment: Experiment, prepared: Sequence[Prepared]
) -> tuple[Probe, list[PlannedFold]]:
    """Random draws from the space of an experiment's search, and the fold runs of one trial.

    Raises:
        ExperimentError, ProtocolError: as :func:`check_draws` and :func:`search_folds`.
    """
    planned = search_folds(experiment, prepared)
    probe, _ = check_draws(experiment, prepared)
    return probe, planned


def search_folds(experiment: Experiment, prepared: Iterable[Prepared]) -> list[PlannedFold]:
    """The fold runs of one trial.

    Raises:
        ProtocolError: the protocol makes no valid folds, or ``search.folds`` names one that no
            corpus has.
    """
    search = experiment.search
    assert search is not None
    return plan_folds(
        experiment,
        prepared,
        protocol=search.protocol or experiment.protocol,
        seeds=search.seeds,
        only=search.folds,
        key="search.folds",
    )


def check_draws(
    experiment: Experiment, prepared: Sequence[Prepared]
) -> tuple[Probe, Within | None]:
    """Random draws from the space of a search, and how many of them its constraints leave.

    Raises:
        ExperimentError: the space does not go with the experiment, or no draw from it meets
            ``search.constraints``.
    """
    probe = probe_space(experiment)
    within = _within(experiment, prepared, probe.recipes)
    if within is not None and not within.share:
        raise ExperimentError(_nothing_within(experiment, within, draws=len(probe.recipes)))
    return probe, within


def _within(
    experiment: Experiment, prepared: Sequence[Prepared], recipes: Iterable[Recipe]
) -> Within | None:
    """None where there are no constraints to meet."""
    search = experiment.search
    assert search is not None
    if not search.constraints:
        return None
    classes = len(prepared[0].corpus.emotions)
    frames = max(mean_frames(experiment, entry) for entry in prepared)
    known: dict[str, dict[str, int]] = {}
    costs = []
    for recipe in recipes:
        # what a student costs depends on its own section alone
        student = repr(recipe.student)
        if student not in known:
            known[student] = student_costs(
                recipe, features=experiment.features, classes=classes, frames=frames
            )
        costs.append(known[student])
    met = sum(not beyond(one, search.constraints) for one in costs)
    return Within(
        share=met / len(costs),
        smallest={cost: min(one[cost] for one in costs) for cost in search.constraints},
        largest={cost: max(one[cost] for one in costs) for cost in search.constraints},
    )


def mean_frames(experiment: Experiment, entry: Prepared) -> int:
    """Frames of an utterance of the corpus's mean length, before any are computed."""
    features = experiment.features
    samples = entry.corpus.table["duration"].to_numpy() * features.sample_rate
    hop = round(features.hop_seconds * features.sample_rate)
    return round(float(np.mean(1 + np.round(samples) // hop)))


def _nothing_within(experiment: Experiment, found: Within, *, draws: int) -> str:
    search = experiment.search
    assert search is not None
    asked = " and ".join(
        f"{cost} {limit:,.0f} (the least that was drawn has {found.smallest[cost]:,})"
        for cost, limit in search.constraints.items()
    )
    return (
        f"search.constraints: of {draws} random draws not one has at most {asked}, so no trial "
        "would be run; raise the constraint, or give search.parameters a smaller student"
    )
