"""``search.parameters``: one parameter of a space fixed, narrowed, or added to it."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from orchestrator.errors import ExperimentError, nearest
from orchestrator.experiment.reading import shown

RANGE = ("low", "high", "log", "step")
_TEXT_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
"""A number that YAML takes for text: ``1e-3``."""


@dataclass(frozen=True)
class Fixed:
    """One value: nothing is drawn."""

    key: str
    value: Any

    def over(self, own: BaseDistribution) -> Any:
        """The value as the space's function expects it."""
        if isinstance(own, CategoricalDistribution):
            return choice_of(self.key, self.value, own.choices)
        return number_of(self.key, self.value, whole=isinstance(own, IntDistribution))


@dataclass(frozen=True)
class Listed:
    """Values in the place of a parameter's own."""

    key: str
    values: tuple[Any, ...]

    def over(self, own: BaseDistribution) -> CategoricalDistribution:
        """What is drawn in the place of ``own``."""
        if isinstance(own, CategoricalDistribution):
            found = [choice_of(self.key, value, own.choices) for value in self.values]
        else:
            whole = isinstance(own, IntDistribution)
            found = [number_of(self.key, value, whole=whole) for value in self.values]
        return CategoricalDistribution(found)


@dataclass(frozen=True)
class Ranged:
    """A range in the place of a parameter's own; what it leaves out stays."""

    key: str
    given: Mapping[str, Any]

    def over(self, own: BaseDistribution) -> BaseDistribution:
        """What is drawn in the place of ``own``."""
        if isinstance(own, CategoricalDistribution):
            raise ExperimentError(
                f"{self.key} is a range, {shown(dict(self.given))}, but the space chooses among "
                f"{listed(own.choices)}; give a list of some of these"
            )
        assert isinstance(own, IntDistribution | FloatDistribution)
        whole = isinstance(own, IntDistribution)
        return self._distribution({name: getattr(own, name) for name in RANGE}, whole=whole)

    def anew(self, recipes: Any) -> BaseDistribution:
        """What is drawn for a key of the recipe that the space leaves alone.

        Args:
            recipes: the value that the recipe has there: of a whole number come whole numbers. Of
                none (None) they come where the range has whole bounds.
        """
        for name in ("low", "high"):
            if name not in self.given:
                raise ExperimentError(
                    f"{self.key} is {shown(dict(self.given))}, and the space has no range of its "
                    f"own for it; add {name}"
                )
        numbers = [self.given[name] for name in ("low", "high", "step") if name in self.given]
        whole = isinstance(recipes, int) or (
            recipes is None and all(isinstance(number, int) for number in numbers)
        )
        return self._distribution({"log": False, "step": 1 if whole else None}, whole=whole)

    def _distribution(
        self, own: Mapping[str, Any], *, whole: bool
    ) -> IntDistribution | FloatDistribution:
        found = {**own, **self.given}
        low, high = (number_of(self.key, found[name], whole=whole) for name in ("low", "high"))
        step = found["step"]
        if step is not None:
            step = number_of(self.key, step, whole=whole)
        said = f"{self.key} is {shown(dict(self.given))}"
        if low > high:
            own_bound = [name for name in ("low", "high") if name not in self.given]
            mend = f"give {own_bound[0]}, too" if own_bound else "swap them"
            raise ExperimentError(f"{said}: low ({low:g}) is above high ({high:g}); {mend}")
        if step is not None and step <= 0:
            raise ExperimentError(f"{said}: step ({step:g}) has to be above 0")
        if found["log"] and low <= 0:
            raise ExperimentError(
                f"{said}: a logarithmic range begins above 0 and this one at {low:g}; raise low, "
                "or add log: false"
            )
        if found["log"] and step is not None and not (whole and step == 1):
            raise ExperimentError(
                f"{said}: a logarithmic range has no steps; add log: false, or step: null"
            )
        if whole:
            return IntDistribution(low, high, log=found["log"], step=step or 1)
        return FloatDistribution(low, high, log=found["log"], step=step)


Change = Fixed | Listed | Ranged


def changes_of(parameters: Mapping[str, Any]) -> dict[str, Change]:
    """The changes that ``search.parameters`` asks for, by the name of the parameter.

    Keys of the recipe may also stand as sections (``recipe: {training: {lr: 1e-3}}``), as
    ``search.parameters.recipe.training.lr=1e-3`` of a command line does; of two for one name the
    later counts.

    Raises:
        ExperimentError: a value is neither plain, nor a list of such, nor a range.
    """
    return {
        name: _change(f"search.parameters.{name}", value)
        for name, value in _by_name(parameters).items()
    }


def _by_name(parameters: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        inside = name.split(".")[0] == "recipe"
        if inside and isinstance(value, Mapping) and value and not any(map(_meant, value)):
            found |= _by_name({f"{name}.{key}": inner for key, inner in value.items()})
        else:
            found[name] = value
    return found


def _meant(key: str) -> bool:
    """Whether a key of a section is, or looks like, one of a range."""
    return bool(difflib.get_close_matches(str(key), RANGE, n=1, cutoff=0.7))


def _change(key: str, value: Any) -> Change:
    if isinstance(value, Mapping):
        return Ranged(key, _range(key, value))
    if isinstance(value, list | tuple):
        values = tuple(plain(key, item) for item in value)
        if not values:
            raise ExperimentError(f"{key} is an empty list; give it values, or take it out")
        for index, item in enumerate(values):
            if any(_same(item, other) for other in values[:index]):
                raise ExperimentError(f"{key} holds {item!r} twice; keep one")
        return Listed(key, values)
    return Fixed(key, plain(key, value))


def _range(key: str, value: Mapping[str, Any]) -> dict[str, Any]:
    if not value:
        raise ExperimentError(f"{key} is empty; give it a value, a list or a range")
    found = {}
    for name, given in value.items():
        if name not in RANGE:
            raise ExperimentError(
                f"{key} is a range with the unknown key {name!r}; {nearest(str(name), RANGE)}"
            )
        given = plain(f"{key}.{name}", given)
        if name == "log" and not isinstance(given, bool):
            raise ExperimentError(f"{key}.log is {given!r}; it should be true or false")
        if name != "log" and not (name == "step" and given is None):
            number_of(f"{key}.{name}", given, whole=False)
        found[name] = given
    return found


def plain(key: str, value: Any) -> Any:
    """A value that can be drawn, with ``1e-3`` as the number that it looks like.

    Raises:
        ExperimentError: it is a list, a section or something else.
    """
    if isinstance(value, str) and _TEXT_NUMBER.fullmatch(value):
        return float(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ExperimentError(
        f"{key} holds {shown(value)}; what is searched is text, a number, true, false or null. "
        "For anything else write a space that chooses by name"
    )


def choice_of(key: str, value: Any, choices: Sequence[Any]) -> Any:
    """The choice that ``value`` names; true is not 1.

    Raises:
        ExperimentError: it is none of them.
    """
    value = plain(key, value)
    for choice in choices:
        if _same(choice, value):
            return choice
    raise ExperimentError(
        f"{key} holds {value!r}, which is not among its choices; "
        f"{nearest(str(value), map(str, choices))}"
    )


def number_of(key: str, value: Any, *, whole: bool) -> Any:
    """``value`` as a float, or as an int.

    Raises:
        ExperimentError: it is no finite number, or not whole where it has to be.
    """
    value = plain(key, value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ExperimentError(f"{key} holds {value!r}; it should be a number")
    if not whole:
        return float(value)
    if value != int(value):
        raise ExperimentError(f"{key} holds {value!r}; it should be a whole number")
    return int(value)


def value_in(key: str, value: Any, distribution: BaseDistribution) -> Any:
    """``value`` as a parameter of this distribution has it.

    Raises:
        ExperimentError: it cannot be drawn from it.
    """
    if isinstance(distribution, CategoricalDistribution):
        return choice_of(key, value, distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    number = number_of(key, value, whole=isinstance(distribution, IntDistribution))
    if not distribution.low <= number <= distribution.high:
        raise ExperimentError(
            f"{key} is {number!r}, outside its range of {distribution.low:g} to "
            f"{distribution.high:g}; move it, or widen the range by search.parameters"
        )
    if distribution.step is not None:
        steps = (number - distribution.low) / distribution.step
        if abs(steps - round(steps)) > 1e-8:
            raise ExperimentError(
                f"{key} is {number!r}, between the steps of {distribution.step:g} from "
                f"{distribution.low:g}; move it to one"
            )
    return number


def listed(choices: Sequence[Any]) -> str:
    """Choices as a sentence has them."""
    return ", ".join(str(choice) for choice in choices)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
