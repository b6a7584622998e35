from __future__ import annotations

import random

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from orchestrator.sweep.drawing import ChosenTrial, at_random, finite_values, from_trial


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (CategoricalDistribution([None, True, "a"]), [None, True, "a"]),
        (IntDistribution(2, 8, step=3), [2, 5, 8]),
        (IntDistribution(1, 3, log=True), [1, 2, 3]),
        (FloatDistribution(0.0, 0.2, step=0.05), [0.0, 0.05, 0.1, 0.15, 0.2]),
        (FloatDistribution(0.5, 0.5), [0.5]),
        (FloatDistribution(0.5, 0.6), None),
        (FloatDistribution(0.5, 0.6, log=True), None),
    ],
)
def test_all_values_of_a_parameter(
    distribution: BaseDistribution, values: list[object] | None
) -> None:
    found = finite_values(distribution)

    assert (None if found is None else list(found)) == values


@pytest.mark.parametrize(
    ("distribution", "quarter"),
    [
        (IntDistribution(0, 8, step=2), 2),
        (IntDistribution(1, 10_000, log=True), 10),
        (FloatDistribution(0.0, 1.0, step=0.125), 0.25),
        (FloatDistribution(1.0, 3.0), 1.5),
        (FloatDistribution(1e-4, 1.0, log=True), 1e-3),
    ],
)
def test_random_values_lie_in_the_range_and_on_its_scale(
    distribution: BaseDistribution, quarter: float
) -> None:
    choose = at_random(random.Random(0))
    drawn = [choose("x", distribution) for _ in range(400)]

    assert all(distribution._contains(distribution.to_internal_repr(value)) for value in drawn)
    below = sum(value < quarter for value in drawn) + 0.5 * drawn.count(quarter)
    assert below / 400 == pytest.approx(0.3 if quarter == 2 else 0.25, abs=0.06)


def test_a_name_asked_for_twice_has_one_value() -> None:
    drawn = iter(range(3))
    trial = ChosenTrial(lambda name, distribution: next(drawn))

    assert trial.suggest_int("a", 0, 9) == 0
    assert trial.suggest_float("b", 0, 9) == 1
    assert trial.suggest_int("a", 0, 9) == 0
    assert trial.params == {"a": 0, "b": 1}


def test_a_trial_of_a_study_is_asked_for_each_kind_as_it_is() -> None:
    study = optuna.create_study()
    trial = study.ask()
    axes = {
        "c": CategoricalDistribution(["a", None]),
        "i": IntDistribution(2, 8, step=3),
        "l": IntDistribution(1, 8, log=True),
        "f": FloatDistribution(0.0, 1.0, step=0.25),
        "g": FloatDistribution(0.1, 1.0, log=True),
    }
    values = {name: from_trial(trial)(name, axis) for name, axis in axes.items()}

    assert trial.distributions == axes
    assert trial.params == values
