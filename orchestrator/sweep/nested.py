"""The search repeated inside each fold of an evaluation: its folds, its cost and what it chose."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import optuna

from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.experiment.evaluate import Choice
from orchestrator.preparation import PlannedFold, Prepared, plan_folds
from orchestrator.protocols import Fold, nested_folds
from orchestrator.protocols.fold import counted
from orchestrator.protocols.nested import nested_noun
from orchestrator.sweep.choosing import selecting
from orchestrator.sweep.study import BELONGS_TO, best_trial, overrides_of
from orchestrator.training.task import Utterances


@dataclass(frozen=True)
class NestedCost:
    """What the searches inside the folds would run, before anything is reused."""

    outer_folds: int
    inner_folds: int
    """Of each."""
    trials: int
    """Of each outer fold's search."""
    seeds: int
    """Of each inner fold."""
    fold_runs: int
    """Of all searches together."""


def nested_cost(experiment: Experiment, prepared: Iterable[Prepared]) -> NestedCost:
    """What ``evaluate.selection: nested`` searches, for a plan.

    Raises:
        ExperimentError, ProtocolError: as :func:`inner_planned`.
    """
    inner = inner_planned(experiment, prepared)
    settings = experiment.evaluate.inner_search
    each = sum(len(planned) for planned in inner.values())
    assert experiment.search is not None
    return NestedCost(
        outer_folds=len(inner),
        inner_folds=settings.inner_folds,
        trials=settings.trials,
        seeds=len(experiment.search.seeds),
        fold_runs=settings.trials * each,
    )


def inner_planned(
    experiment: Experiment, prepared: Iterable[Prepared]
) -> dict[str, list[PlannedFold]]:
    """The folds of each inner search, by the ``corpus/fold`` of the evaluation that it is for.

    The tasks hold no utterance that the outer fold tests, nor any speaker of it where its protocol
    keeps speakers apart (:func:`~orchestrator.protocols.nested_folds`). Training seeds are those of
    the search.

    Raises:
        ExperimentError: there is no search to repeat.
        ProtocolError: a fold cannot be dealt again so often.
    """
    search = experiment.search
    if search is None:
        raise ExperimentError(
            f"{experiment.name}: evaluate.selection is 'nested' but there is no search section to "
            "repeat inside each fold; add one"
        )
    count = experiment.evaluate.inner_search.inner_folds
    with warnings.catch_warnings():
        # of the outer folds; the evaluation says it
        warnings.simplefilter("ignore")
        outer = plan_folds(
            experiment,
            prepared,
            protocol=experiment.protocol,
            seeds=search.seeds[:1],
            only=experiment.evaluate.folds,
        )
    found: dict[str, list[PlannedFold]] = {}
    for entry in outer:
        table = entry.prepared.corpus.table
        by_seed = [
            nested_folds(table, entry.fold, entry.protocol, count=count, seed=seed)
            for seed in search.seeds
        ]
        found[entry.place] = [
            _inside(entry, fold, seed=seed)
            for of_seeds in zip(*by_seed, strict=True)
            for seed, fold in zip(search.seeds, of_seeds, strict=True)
        ]
    return found


def inner_protocols(
    experiment: Experiment, planned: Mapping[str, Sequence[PlannedFold]]
) -> dict[str, str]:
    """The protocol string of each inner search (law 7), by ``corpus/fold`` of the evaluation.

    Args:
        experiment: as planned.
        planned: as by :func:`inner_planned`.
    """
    count = experiment.evaluate.inner_search.inner_folds
    told = {}
    for place, folds in planned.items():
        entry = folds[0]
        outer = place.removeprefix(f"{entry.task.corpus}/")
        noun = nested_noun(entry.prepared.corpus.table, entry.protocol)
        heard = len({*entry.fold.train, *entry.fold.held, *entry.fold.validation})
        told[place] = (
            f"{entry.prepared.describe(experiment.protocol)} | searched inside fold {outer}: "
            f"{counted(count, 'group')} of its other {noun}s, each validation once, n={heard}"
        )
    return told


def nested_of(experiment: Experiment, studies: Mapping[str, optuna.Study]) -> Experiment:
    """The experiment in which each fold takes the best trial of the search inside it.

    Args:
        experiment: stays as it is.
        studies: of the inner searches, by ``corpus/fold`` of the evaluation.

    Raises:
        ExperimentError: no trial of an inner search is complete.
    """
    choices: dict[str, Choice] = {}
    corpora: dict[str, str] = {}
    for place, study in studies.items():
        best = best_trial(study)
        if best is None:
            raise ExperimentError(
                f"no trial of the search inside {place} is complete, so that fold has no recipe; "
                "look at why they failed in `understudy report FILE`, and search again under a "
                "new name or with more evaluate.nested.trials"
            )
        choices[place] = Choice(
            trial=best.number,
            overrides=overrides_of(best),
            # a rank or z-score says nothing beyond its search
            value=statistics.fmean(best.user_attrs["folds"].values()),
        )
        corpora |= study.user_attrs.get(BELONGS_TO, {}).get("corpora", {})
    return selecting(experiment, sweep=experiment.name, choices=choices, corpora=corpora)


def _inside(outer: PlannedFold, fold: Fold, *, seed: int) -> PlannedFold:
    def utterances(ids: tuple[str, ...]) -> Utterances:
        return Utterances.of(outer.prepared.corpus.table, ids, emotions=outer.task.emotions)

    task = replace(
        outer.task,
        fold=fold.name,
        seed=seed,
        train=utterances(fold.train),
        validation=utterances(fold.validation),
        held=utterances(fold.held) if fold.held else None,
    )
    return replace(outer, fold=fold, task=task)
