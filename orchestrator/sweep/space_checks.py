"""What is wrong with a search's space, found before anything runs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from orchestrator.errors import ExperimentError, nearest
from orchestrator.experiment import Experiment
from orchestrator.experiment.reading import shown
from orchestrator.sweep.drawing import at_random
from orchestrator.sweep.samplers import JOINT, refuse_sampler
from orchestrator.sweep.space import DRAWS, Draw, SearchSpace
from orchestrator.sweep.space_changes import Fixed, value_in
from search_spaces import SpaceError, get_space

RECIPES = 64
"""Draws that are made into recipes. A conditional space has many branches, so there are many."""


def checked_space(experiment: Experiment) -> SearchSpace:
    """The space of an experiment's search, after draws that make valid recipes.

    Nothing is run and nothing is read but the experiment.

    Raises:
        ExperimentError: what is wrong with the space, its changes, the starting points or the
            sampler.
    """
    space = open_space(experiment)
    search = space.search
    refuse_sampler(search)
    if space.changes and not any(draw.values for draw in space.draws):
        raise ExperimentError(
            "search.parameters fixes every parameter, so all trials would be alike; give one of "
            "them a list or a range, or evaluate this recipe"
        )
    if search.sampler in JOINT and not space.always:
        raise ExperimentError(
            f"search.sampler {search.sampler!r} knows the parameters that every trial has, and "
            f"{space.told} has none; use tpe, random or grid"
        )
    started = checked_start(space)
    _ = space.size  # a grid that is none is refused as it is counted
    refuse_impossible(experiment, space, [*space.draws[:RECIPES], *started])
    return space


def open_space(experiment: Experiment) -> SearchSpace:
    """The space of an experiment's search, with the names in ``search.parameters`` looked up.

    Raises:
        ExperimentError: there is no such space, or a change is of a name that is neither a
            parameter of it nor a key of the recipe, or does not fit it.
    """
    search = experiment.search
    assert search is not None
    try:
        function = _nothing if search.space is None else get_space(search.space)
    except SpaceError as error:
        raise ExperimentError(f"search.space: {error}") from error
    recipe = _flat("recipe", experiment.recipe.model_dump(mode="json"))
    space = SearchSpace(search, function, recipe)
    for name in space.changes:
        if name in space.reached:
            continue
        if name in space.names:
            raise ExperimentError(
                f"search.parameters.{name} changes what no trial asks for: under the other changes "
                f"{space.told} never gets to it; take it out"
            )
        if not name.startswith("recipe."):
            raise ExperimentError(
                f"search.parameters.{name}: {name!r} is neither a parameter of the space nor a key "
                f"of the recipe; {nearest(name, [*space.names, *recipe])}"
            )
    _ = space.draws  # a change that does not fit is refused as it is drawn
    return space


def checked_start(space: SearchSpace) -> list[Draw]:
    """Some points that each of ``search.start`` stands for, the rest of their values at random.

    Raises:
        ExperimentError: a point has an unknown name, a value that cannot be drawn, or one that the
            space would not ask for.
    """
    found = []
    for index, point in enumerate(space.search.start):
        key = f"search.start.{index}"
        if not point:
            raise ExperimentError(f"{key} is empty; give it values by the name of a parameter")
        draws = _from(space, point, key)
        for name, value in point.items():
            asked = [draw for draw in draws if name in draw.asked]
            if not asked:
                _refuse_name(space, f"{key}.{name}", name)
            if len(asked) < len(draws):
                raise ExperimentError(
                    f"{key}.{name} is {value!r}, but whether a trial has it hangs on what this "
                    f"point leaves open; give it a value of {_deciding(name, draws, point)} too"
                )
            fixed = asked[0].asked[name]
            if isinstance(fixed, Fixed) and value != fixed.value:
                raise ExperimentError(
                    f"{key}.{name} is {value!r}, but search.parameters fixes it at "
                    f"{fixed.value!r}; take one of them out"
                )
        found += draws[: RECIPES // 4]
    return found


def refuse_impossible(experiment: Experiment, space: SearchSpace, draws: Iterable[Draw]) -> None:
    """Refuse a space that proposes what is no recipe.

    Raises:
        ExperimentError: names the space, or the change that is to blame, and the key.
    """
    from orchestrator.sweep.trial import trial_recipe

    for draw in draws:
        try:
            trial_recipe(experiment, draw.overrides)
        except ExperimentError as error:
            for name, change in space.changes.items():
                if name in str(error):
                    raise ExperimentError(f"{change.key} makes no valid recipe: {error}") from None
            raise ExperimentError(
                f"{space.told}: a draw ({shown(dict(draw.values), width=200)}) makes no valid "
                f"recipe: {error}"
            ) from None


def _nothing(trial: object) -> dict[str, Any]:
    """The space of a search that has none: what is searched is in ``search.parameters``."""
    return {}


def _from(space: SearchSpace, point: Mapping[str, Any], key: str) -> list[Draw]:
    drawn = at_random(random.Random(0))

    def choose(name: str, distribution: BaseDistribution) -> Any:
        if name in point:
            return value_in(f"{key}.{name}", point[name], distribution)
        return drawn(name, distribution)

    return [space.draw(choose) for _ in range(DRAWS)]


def _refuse_name(space: SearchSpace, key: str, name: str) -> None:
    if name in space.names:
        raise ExperimentError(
            f"{key} is a parameter that a trial with this point's other values does not have; "
            "take it out, or change what it hangs on"
        )
    known = [*space.names, *space.extensions]
    raise ExperimentError(f"{key}: there is no such parameter; {nearest(name, known)}")


def _deciding(name: str, draws: list[Draw], point: Mapping[str, Any]) -> str:
    """The open choices that tell draws with ``name`` from draws without it; else all open ones."""
    chosen = {
        other: (set[Any](), set[Any]())
        for draw in draws
        for other, drawn in draw.asked.items()
        if isinstance(drawn, CategoricalDistribution) and other not in point
    }
    for other, draw in itertools.product(chosen, draws):
        if other in draw.values:
            chosen[other][name in draw.asked].add(draw.values[other])
    deciding = [other for other, (without, with_it) in chosen.items() if not without & with_it]
    return " and ".join(deciding or chosen)


def _flat(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {key: value}
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= _flat(f"{key}.{name}", inner)
    return found
