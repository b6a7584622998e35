"""The space of a search: a function of ``search_spaces``, changed as the experiment file says."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    distribution_to_json,
)

from orchestrator.errors import ExperimentError
from orchestrator.experiment.search import Search
from orchestrator.sweep.drawing import Choose, ChosenTrial, at_random, from_trial
from orchestrator.sweep.grid import Script, following, grid_scripts
from orchestrator.sweep.samplers import JOINT, TrialSampler, View
from orchestrator.sweep.space_changes import Change, Fixed, Listed, changes_of
from orchestrator.training.state import derived_seed
from search_spaces import Space

DRAWS = 300
"""Random draws in which the names of a space are found: a parameter that occurs in one trial of a
hundred is missed once in twenty times."""


@dataclass(frozen=True)
class Draw:
    """One point of a space."""

    overrides: Mapping[str, Any]
    """Of the recipe, by dotted key."""
    asked: Mapping[str, BaseDistribution | Fixed]
    """What the space asked for, in its order."""
    values: Mapping[str, Any]
    """Of the parameters that were drawn, by name."""


@dataclass(frozen=True)
class SearchSpace:
    """What is proposed, and by what sampler."""

    search: Search
    function: Space
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The recipe's own values by dotted key, for what ``search.parameters`` add to the space."""

    @property
    def told(self) -> str:
        """What messages call it."""
        return f"search.space {self.search.space!r}" if self.search.space else "search.parameters"

    @cached_property
    def changes(self) -> dict[str, Change]:
        """``search.parameters``, by the name of the parameter."""
        return changes_of(self.search.parameters)

    @property
    def size(self) -> int | None:
        """How many points there are, where the sampler goes through all of them; else None."""
        return len(self._grid) if self.search.sampler == "grid" else None

    @cached_property
    def independent(self) -> tuple[str, ...]:
        """Conditional parameters that the sampler draws at random, since it cannot learn of them.

        Only ``tpe`` learns of a parameter that some trials have and others have not.
        """
        if self.search.sampler not in JOINT:
            return ()
        asked = {
            name: None
            for draw in self.draws
            for name, drawn in draw.asked.items()
            if not isinstance(drawn, Fixed) and not drawn.single()
        }
        return tuple(name for name in asked if name not in self.always)

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Overrides of the recipe, by dotted key."""
        return dict(self.draw(from_trial(trial)).overrides)

    def sampler(
        self,
        number: int,
        *,
        carried: Sequence[Mapping[str, Any]] = (),
        view: View | None = None,
    ) -> optuna.samplers.BaseSampler:
        """The sampler of trial ``number``: the same draws each time it is made.

        Args:
            number: of the trial.
            carried: parameters of the trials that this search takes over, by number; they go before
                ``search.start``.
            view: what the sampler is shown of the study; default: the study.

        Raises:
            ExperimentError: the trial lies beyond the last point of a grid.
        """
        given: Mapping[str, Any] = {}
        key, complete = "", False
        if self.size is None and number < len(carried):
            given, key, complete = carried[number], f"trial {number}", True
        elif self.size is not None:
            if number >= self.size:
                raise ExperimentError(
                    f"there is no trial {number} of a grid of {self.size} points; lower "
                    "search.trials, or add values by search.parameters"
                )
            given = self.draw(following(self._grid[number])).values
            key, complete = f"point {number}", True
        elif number < len(self.search.start):
            given, key = self.search.start[number], f"search.start.{number}"
        return TrialSampler(
            self.search.sampler,
            seed=self.search.seed,
            number=number,
            trials=self.search.trials,
            given=given,
            key=key,
            complete=complete,
            always=self.always if self.search.sampler == "qmc" and not complete else {},
            view=view,
        )

    def draw(self, choose: Choose) -> Draw:
        """One point, with values as ``choose`` says.

        Raises:
            ExperimentError: a change of ``search.parameters`` does not fit the space.
        """
        draw = self._run(choose, self.changes)
        overrides, asked, values = dict(draw.overrides), dict(draw.asked), dict(draw.values)
        for name, change in self.extensions.items():
            if name in asked:
                continue
            self._refuse_overlap(name, draw)
            asked[name] = drawn = self._extension(change, name)
            if isinstance(drawn, Fixed):
                overrides[name] = drawn.value
            else:
                overrides[name] = values[name] = choose(name, drawn)
        return Draw(overrides, asked, values)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of all parameters of the space, under whatever conditions, as its function has them."""
        return tuple({name: None for draw in self._draws({}) for name in draw.asked})

    @cached_property
    def reached(self) -> tuple[str, ...]:
        """Those that are asked for under the changes."""
        if not self.changes:
            return self.names
        return tuple({name: None for draw in self._draws(self.changes) for name in draw.asked})

    @cached_property
    def extensions(self) -> dict[str, Change]:
        """Changes that add a key of the recipe to the space."""
        known = {*self.names, *self.reached} if self.changes else set()
        return {name: change for name, change in self.changes.items() if name not in known}

    @cached_property
    def draws(self) -> tuple[Draw, ...]:
        """Random points, the same each time."""
        choose = at_random(random.Random(0))
        return tuple(self.draw(choose) for _ in range(DRAWS))

    @property
    def asks(self) -> dict[str, list[Any]]:
        """By parameter, what it is drawn from under some condition or other, as plain data."""
        found: dict[str, set[str]] = {}
        for draw in self.draws:
            for name, drawn in draw.asked.items():
                told = repr(drawn) if isinstance(drawn, Fixed) else distribution_to_json(drawn)
                found.setdefault(name, set()).add(told)
        return {name: sorted(told) for name, told in sorted(found.items())}

    @cached_property
    def always(self) -> dict[str, BaseDistribution]:
        """Parameters that every trial draws, and from the same values."""
        first, *others = (draw.asked for draw in self.draws)
        return {
            name: drawn
            for name, drawn in sorted(first.items())
            if not isinstance(drawn, Fixed)
            and not drawn.single()
            and all(asked.get(name) == drawn for asked in others)
        }

    @cached_property
    def _grid(self) -> list[Script]:
        """All points, in an order that the search's seed shuffles."""
        found = grid_scripts(self.draw)
        random.Random(derived_seed("grid", self.search.seed)).shuffle(found)
        return found

    def _draws(self, changes: Mapping[str, Change]) -> list[Draw]:
        choose = at_random(random.Random(0))
        return [self._run(choose, changes) for _ in range(DRAWS)]

    def _run(self, choose: Choose, changes: Mapping[str, Change]) -> Draw:
        asked: dict[str, BaseDistribution | Fixed] = {}
        values: dict[str, Any] = {}

        def changed(name: str, own: BaseDistribution) -> Any:
            change = changes.get(name)
            if isinstance(change, Fixed):
                asked[name] = fixed = Fixed(change.key, change.over(own))
                return fixed.value
            asked[name] = drawn = own if change is None else change.over(own)
            values[name] = choose(name, drawn)
            return values[name]

        overrides = self.function(cast("optuna.Trial", ChosenTrial(changed)))
        return Draw(dict(overrides), asked, values)

    def _extension(self, change: Change, name: str) -> BaseDistribution | Fixed:
        if isinstance(change, Fixed):
            return change
        if isinstance(change, Listed):
            return CategoricalDistribution(change.values)
        return change.anew(self.recipe.get(name))

    def _refuse_overlap(self, name: str, draw: Draw) -> None:
        for key, value in draw.overrides.items():
            if not f"{key}.".startswith(f"{name}.") and not f"{name}.".startswith(f"{key}."):
                continue
            # a fraction does not turn up twice by chance
            like = [
                p for p, drawn in draw.values.items() if isinstance(drawn, float) and drawn == value
            ]
            mend = (
                f"by its parameter {like[0]!r}; change that one"
                if like
                else f"(to {value!r} in one draw); take it out of search.parameters, or write a "
                "space of your own"
            )
            raise ExperimentError(
                f"search.parameters.{name} is no parameter of {self.told}, which sets {key} "
                f"itself, {mend}"
            )
