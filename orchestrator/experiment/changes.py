"""Other recipes around an experiment's own: those of trials and of ablations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import ExperimentError
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.loading import override_recipe
from orchestrator.experiment.recipe import PretrainedTeacher, Recipe
from orchestrator.experiment.teachers import TopLayers


def changed_recipe(experiment: Experiment, changes: Mapping[str, object], *, doing: str) -> Recipe:
    """The recipe with single values changed, validated anew.

    Args:
        experiment: stays as it is.
        changes: values by dotted key of the experiment file.
        doing: what the changes are for, as messages say it: ``searched``.

    Raises:
        ExperimentError: the changes make no valid recipe, or would change what is computed before
            all fold runs (a pretrained encoder's outputs).
    """
    recipe = override_recipe(experiment, changes).recipe
    before, after = experiment.recipe.teacher, recipe.teacher
    if isinstance(after, PretrainedTeacher) and not isinstance(before, PretrainedTeacher):
        raise ExperimentError(
            f"recipe.teacher.kind cannot be {doing} to 'pretrained': the encoder's outputs are "
            "computed once, before any fold run; give the recipe itself a pretrained teacher"
        )
    if isinstance(before, PretrainedTeacher) and isinstance(after, PretrainedTeacher):
        once = _computed_once(before)
        for name, value in _computed_once(after).items():
            if once[name] != value:
                raise ExperimentError(
                    f"recipe.teacher.{name} cannot be {doing}: the encoder's outputs are computed "
                    "once, before any fold run; change it in the recipe itself"
                )
    return recipe


def searched_recipe(experiment: Experiment, changes: Mapping[str, object]) -> Recipe:
    """The recipe of a trial.

    Raises:
        ExperimentError: as :func:`changed_recipe`; or the source of attention would be another one.
    """
    recipe = changed_recipe(experiment, changes, doing="searched")
    if recipe.source != experiment.recipe.source:
        raise ExperimentError(
            "recipe.source cannot be searched: recognisers are fitted, and encoders run, once and "
            "before any fold run; compare sources by evaluate.ablations"
        )
    return recipe


def of_place(experiment: Experiment, place: str) -> Experiment:
    """The experiment with the recipe of one fold, where each fold has its own.

    Args:
        experiment: stays as it is.
        place: ``corpus/fold`` of the evaluation.

    Raises:
        ExperimentError: each fold has its own recipe, but not this one.
    """
    choices = {} if experiment.selected is None else experiment.selected.choices
    if not choices:
        return experiment
    if place not in choices:
        raise ExperimentError(
            f"evaluate.selection is {experiment.evaluate.selection!r}, but no trial was chosen for "
            f"{place}: the search ran {', '.join(choices)}; search on the same folds, or name "
            "those in evaluate.folds"
        )
    return override_recipe(experiment, choices[place].overrides)


def _computed_once(teacher: PretrainedTeacher) -> dict[str, Any]:
    """Options of a pretrained teacher that decide what is computed before any fold run, by key."""
    found = {
        name: getattr(teacher, name) for name in ("root", "revision", "layers", "pooling", "frames")
    }
    # how fast and with how much memory the encoder is trained, or by additions of what rank, is
    # the fold run's affair
    found["mode.kind"] = teacher.mode.kind
    found["mode.layers"] = teacher.mode.layers if isinstance(teacher.mode, TopLayers) else None
    return found


def flat(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes by dotted key, where the section ``recipe`` may have been written as sections.

    >>> flat({"recipe": {"meta": {"kind": "none"}}, "recipe.meta.lr": 0.1})
    {'recipe.meta.kind': 'none', 'recipe.meta.lr': 0.1}
    """
    found: dict[str, Any] = {}

    def walk(key: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for name, inner in value.items():
                walk(f"{key}.{name}", inner)
        else:
            found[key] = value

    for key, value in changes.items():
        if key == "recipe":
            walk(key, value)
        else:
            found[key] = value
    return found


def ablation_recipes(experiment: Experiment) -> dict[str, Recipe]:
    """The recipe of each of ``evaluate.ablations``, by name, in the file's order.

    Raises:
        ExperimentError: one changes something else than the recipe, or makes no valid recipe;
            names it.
    """
    found = {}
    for name, changes in experiment.evaluate.ablations.items():
        key = f"evaluate.ablations.{name}"
        if not changes:
            raise ExperimentError(
                f"{key} changes nothing; name changes below it, such as recipe.meta.kind: none, or "
                "take it out"
            )
        changes = flat(changes)
        for changed in changes:
            if not changed.startswith("recipe."):
                raise ExperimentError(
                    f"{key} changes {changed!r}, but an ablation changes the recipe only, by keys "
                    "such as recipe.meta.kind"
                )
        try:
            found[name] = changed_recipe(experiment, changes, doing="changed by an ablation")
        except ExperimentError as error:
            raise ExperimentError(f"{key}: {error}") from None
    return found
