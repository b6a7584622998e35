"""From a sweep's trials to an evaluation's recipe: the best trial, or the best of each fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.experiment.evaluate import Choice, Selected, Selection
from orchestrator.experiment.loading import override_recipe
from orchestrator.preparation import own_protocols
from orchestrator.store import Store
from orchestrator.sweep.belonging import changes, recipe_and_features
from orchestrator.sweep.front import front_of
from orchestrator.sweep.study import (
    BELONGS_TO,
    best_trial,
    carried_of,
    load_study,
    overrides_of,
    scores_of,
)

_LISTED = 12
"""Trials that a message names."""


def best_of(experiment: Experiment, *, name: str, trial: int | None = None) -> Experiment:
    """The experiment with the recipe of a trial of sweep ``name``.

    Args:
        experiment: stays as it is.
        name: of the sweep.
        trial: its number; default: the best, by ``search.aggregate``, the earliest of equals.

    Raises:
        ExperimentError: there is no such sweep or complete trial, or the sweep had several
            objectives and no trial is named; or it searched around another recipe.
    """
    study = load_study(experiment, Store(experiment.store), name=name)
    return with_trial(experiment, study, name=name, trial=trial)


def per_fold_of(experiment: Experiment, *, name: str) -> Experiment:
    """The experiment in which each fold takes the trial that its own validation liked best.

    Of each fold, the trial of sweep ``name`` with the highest score on that fold's validation;
    of equals the earlier. Trials that were pruned
    count in the folds that they ran: where nothing was pruned these are the complete ones. Trials
    that failed never count.

    Raises:
        ExperimentError: there is no such sweep, it had several objectives, it searched around
            another recipe or on other folds, or no trial was scored on a fold.
    """
    study = load_study(experiment, Store(experiment.store), name=name)
    return with_choices(experiment, study, name=name)


def with_trial(
    experiment: Experiment, study: optuna.Study, *, name: str, trial: int | None = None
) -> Experiment:
    """:func:`best_of` a study at hand."""
    swept = _swept(experiment, study, name)
    _refuse_half_extended(study, name)
    chosen = _best(study, swept, name) if trial is None else _numbered(study, name, trial)
    found = override_recipe(experiment, overrides_of(chosen))
    return _selecting(found, swept, sweep=name, how="same-corpus", trial=chosen.number)


def with_choices(experiment: Experiment, study: optuna.Study, *, name: str) -> Experiment:
    """:func:`per_fold_of` a study at hand."""
    swept = _swept(experiment, study, name)
    if len(study.directions) > 1:
        raise ExperimentError(
            f"the sweep {name!r} had several objectives ({', '.join(_objectives(swept))}), so no "
            "trial is the best of a fold; sweep for the metric alone under a new name, or name a "
            f"trial: --best-of {name} --trial N"
        )
    _refuse_other_folds(experiment, swept, name)
    _refuse_half_extended(study, name)
    wanted = experiment.evaluate.folds
    choices = {
        place: Choice(
            trial=trial.number,
            overrides=overrides_of(trial),
            value=trial.user_attrs["folds"][place],
        )
        for place, trial in best_by_fold(study).items()
        if not wanted or place.partition("/")[2] in wanted
    }
    if not choices:
        raise ExperimentError(
            f"no trial of the sweep {name!r} was scored on a fold of the evaluation; "
            "run `understudy sweep FILE` first"
        )
    return _selecting(experiment, swept, sweep=name, how="per-fold", choices=choices)


def best_by_fold(study: optuna.Study) -> dict[str, FrozenTrial]:
    """By ``corpus/fold``, the trial that scored highest there, as :func:`per_fold_of` has it."""
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    ran: dict[str, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False, states=states):
        for place in trial.user_attrs.get("folds", {}):
            ran.setdefault(place, []).append(trial)
    return {
        place: min(
            trials,
            key=lambda trial: (
                # nothing else: what other folds validate on, this one tests
                -trial.user_attrs["folds"][place],
                trial.number,
            ),
        )
        for place, trials in sorted(ran.items())
    }


def selecting(
    experiment: Experiment, *, sweep: str, choices: Mapping[str, Choice], corpora: Mapping[str, str]
) -> Experiment:
    """The experiment in which each fold has a recipe of its own, from a search inside it.

    Args:
        experiment: whose search it was.
        sweep: its name.
        choices: by ``corpus/fold`` of the evaluation.
        corpora: fingerprints of the corpora that were searched on.
    """
    assert experiment.search is not None
    plain = experiment.model_dump(mode="json")
    swept = {
        "search": plain["search"]
        | {"protocol": plain["protocol"], "protocols": own_protocols(experiment)},
        "corpora": dict(corpora),
    }
    return _selecting(experiment, swept, sweep=sweep, how="nested", choices=choices)


def _selecting(
    experiment: Experiment,
    swept: Mapping[str, Any],
    *,
    sweep: str,
    how: Selection,
    trial: int | None = None,
    choices: Mapping[str, Choice] | None = None,
) -> Experiment:
    search = swept["search"]
    told = {
        "sweep": sweep,
        "trial": trial,
        "protocol": search["protocol"],
        "protocols": search["protocols"],
        "seeds": search["seeds"],
        "fingerprints": swept["corpora"],
    }
    if choices:
        pruner = search.get("pruner", {}).get("kind", "none")
        told |= {"choices": choices, "sampler": search["sampler"], "pruner": pruner}
    nested = experiment.evaluate.nested if how == "nested" else None
    evaluate = experiment.evaluate.model_copy(update={"selection": how, "nested": nested})
    selected = Selected.model_validate(told)
    return experiment.model_copy(update={"evaluate": evaluate, "selected": selected})


def _swept(experiment: Experiment, study: optuna.Study, name: str) -> dict[str, Any]:
    """What the sweep belonged to.

    Raises:
        ExperimentError: it searched around another recipe, or other features.
    """
    swept: dict[str, Any] = study.user_attrs.get(BELONGS_TO, {})
    changed = changes(experiment, theirs=swept, ours=recipe_and_features(experiment))
    if changed:
        parts = " and ".join(sorted({change.part for change in changed}))
        raise ExperimentError(
            f"the sweep {name!r} searched around another {parts} than the file has now "
            f"({changed[0]}{'; and more' if len(changed) > 1 else ''}), so its trials say nothing "
            "about it; undo the change, sweep again under a new name, or evaluate without --best-of"
        )
    return swept


def _refuse_other_folds(experiment: Experiment, swept: Mapping[str, Any], name: str) -> None:
    """Raise where the sweep's folds are not those of the evaluation."""
    plain = experiment.model_dump(mode="json")
    ours = {"protocol": plain["protocol"], "protocols": own_protocols(experiment)}
    for title in (section.title for section in experiment.labelled):
        mine = ours["protocols"].get(title, ours["protocol"])
        theirs = swept["search"]["protocols"].get(title, swept["search"]["protocol"])
        if mine != theirs:
            raise ExperimentError(
                "evaluate.selection is 'per-fold', which takes for each fold the trial that its "
                f"own validation liked best, but on corpus {title!r} the sweep {name!r} ran "
                f"{_differing(theirs, mine)}; sweep on the evaluation's folds under a new name, "
                "or set selection: same-corpus"
            )


def _differing(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """How one protocol differs from another, as a clause."""
    if theirs["kind"] != mine["kind"]:
        return f"{theirs['kind']} and the evaluation runs {mine['kind']}"
    keys = [key for key in mine if theirs.get(key) != mine[key]]
    told = ", ".join(f"{key} {theirs.get(key)} in place of {mine[key]}" for key in keys)
    return f"{mine['kind']} with {told}"


def _best(study: optuna.Study, swept: Mapping[str, Any], name: str) -> FrozenTrial:
    trials = study.get_trials(deepcopy=False)
    if len(study.directions) > 1 and any(t.state == TrialState.COMPLETE for t in trials):
        objectives = _objectives(swept)
        front = front_of(trials, study.directions, scores=scores_of(study))
        told = "; ".join(
            f"{trial.number} ({', '.join(map(_valued, objectives, trial.values))})"
            for trial in front[:_LISTED]
        )
        more = f"; and {len(front) - _LISTED} more" if len(front) > _LISTED else ""
        raise ExperimentError(
            f"the sweep {name!r} had several objectives ({', '.join(objectives)}), so no trial is "
            f"the best; choose one with --trial N. No other is better in everything than {told}"
            f"{more}"
        )
    best = best_trial(study)
    if best is None:
        raise ExperimentError(
            f"no trial of the sweep {name!r} is complete, so there is no best one; "
            "look at why they failed in `understudy report FILE`, and sweep under a new name or "
            "with more search.trials"
        )
    return best


def _numbered(study: optuna.Study, name: str, number: int) -> FrozenTrial:
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        if trial.number == number and trial.state == TrialState.COMPLETE:
            return trial
    if number not in range(len(trials)):
        what = f"the sweep {name!r} has no trial {number}"
    else:
        state = next(t.state for t in trials if t.number == number)
        what = f"trial {number} of the sweep {name!r} is not complete ({state.name.lower()})"
    overall = scores_of(study)
    best = sorted(overall, key=lambda one: (-overall[one], one))
    more = f" and {len(best) - _LISTED} more" if len(best) > _LISTED else ""
    told = f"{', '.join(map(str, best[:_LISTED]))}{more}" if best else "none"
    raise ExperimentError(f"--trial {number}: {what}; complete ones, the best first: {told}")


def _refuse_half_extended(study: optuna.Study, name: str) -> None:
    """Raise where trials of the generation before are still to be scored on what was added."""
    carried = len(carried_of(study))
    ended = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False)[:carried])
    if ended < carried:
        raise ExperimentError(
            f"the sweep {name!r} is being extended to more seeds or folds, and {carried - ended} "
            f"of its {carried} earlier trials have not been scored on them yet; run `understudy "
            "sweep FILE` again first"
        )


def _objectives(swept: Mapping[str, Any]) -> tuple[str, ...]:
    return (swept["search"]["metric"], *swept["search"].get("minimise", ()))


def _valued(objective: str, value: float) -> str:
    counted = objective in ("macs", "parameters")
    return f"{objective} {value:,.0f}" if counted else f"{objective} {100 * value:.1f}"
