"""What small studies with known answers say of the importance of their parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from orchestrator.sweep.importance import FEWEST_TRIALS, SHUFFLES, Importance, importances_of

UNIT = FloatDistribution(0.0, 1.0)
Found = tuple[tuple[Importance, ...], str]


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(direction="maximize")


def add(study: optuna.Study, value: float, **params: Any) -> None:
    """A complete trial."""
    distributions: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(["a", "b"]) if isinstance(given, str) else UNIT
        for name, given in params.items()
    }
    if "lr" in params:
        distributions["lr"] = FloatDistribution(1e-5, 1.0, log=True)
    study.add_trial(create_trial(value=value, params=params, distributions=distributions))


def found_in(study: optuna.Study) -> Found:
    trials = study.get_trials()
    return importances_of(trials, {trial.number: trial.values[0] for trial in trials})


def filled(study: optuna.Study, trials: int, score: Callable[[dict[str, float]], float]) -> None:
    """So many trials of three parameters, drawn evenly."""
    random = np.random.default_rng(0)
    for _ in range(trials):
        params = {name: float(random.uniform()) for name in ("decisive", "dummy", "other")}
        add(study, score(params), **params)


def shares(found: Found) -> dict[str, float]:
    return {one.parameter: one.share for one in found[0]}


def test_a_decisive_parameter_is_above_dummies_and_above_chance(study: optuna.Study) -> None:
    filled(study, 16, lambda params: params["decisive"])

    first, *others = found_in(study)[0]

    assert first.parameter == "decisive"
    assert first.share > 0.7
    assert first.share > first.chance
    assert {one.parameter for one in others} == {"dummy", "other"}
    assert all(one.share < 0.1 and one.share < one.chance for one in others)
    assert all((one.trials, one.conditional) == (16, False) for one in (first, *others))


def test_where_no_parameter_matters_few_are_above_chance(study: optuna.Study) -> None:
    random = np.random.default_rng(3)
    for _ in range(9):
        params = {f"p{number}": float(random.uniform()) for number in range(6)}
        add(study, float(random.uniform()), **params)

    found = found_in(study)[0]

    # each is above with probability 1 / (SHUFFLES + 1): two or more of six once in thirty
    assert SHUFFLES == 19
    assert len(found) == 6
    assert sum(one.share > one.chance for one in found) <= 1


def test_importances_are_the_same_twice(study: optuna.Study) -> None:
    filled(study, 8, lambda params: params["decisive"])

    assert found_in(study) == found_in(study)


def test_a_logarithmic_parameter_counts_where_it_was_drawn(study: optuna.Study) -> None:
    """Four of its five decades are in the lowest tenth of its range, and there it decides."""
    random = np.random.default_rng(0)
    for _ in range(20):
        lr, dummy = 10 ** float(random.uniform(-5, 0)), float(random.uniform())
        add(study, float(lr < 1e-3) + 0.3 * dummy, lr=lr, dummy=dummy)

    found = shares(found_in(study))

    assert found["lr"] > 0.8
    assert found["dummy"] < 0.1


def test_a_conditional_parameter_is_judged_where_it_occurs(study: optuna.Study) -> None:
    random = np.random.default_rng(1)
    for number in range(24):
        dummy, depth = (float(draw) for draw in random.uniform(size=2))
        if number % 2:
            add(study, 0.5 + depth, dummy=dummy, kind="a", depth=depth)
        else:
            add(study, 0.0, dummy=dummy, kind="b")

    found = {one.parameter: one for one in found_in(study)[0]}

    assert found["kind"].share > found["dummy"].share
    assert (found["kind"].trials, found["kind"].conditional) == (24, False)
    assert (found["depth"].trials, found["depth"].conditional) == (12, True)
    assert found["depth"].share > 0.7


def test_a_parameter_of_too_few_trials_is_named_without_importance(study: optuna.Study) -> None:
    random = np.random.default_rng(0)
    for number in range(20):
        rare = {"rare": float(random.uniform())} if number < FEWEST_TRIALS - 1 else {}
        add(study, float(random.uniform()), common=float(random.uniform()), **rare)

    found = found_in(study)

    assert list(shares(found)) == ["common"]
    assert found[1].endswith("range: rare")


@pytest.mark.parametrize(
    ("trials", "score", "reason"),
    [
        (FEWEST_TRIALS - 1, lambda params: params["dummy"], "fewer than 8 trials are complete"),
        (FEWEST_TRIALS, lambda params: 0.5, "all trials have the same score"),
    ],
)
def test_without_trials_or_spread_there_are_no_importances_and_the_reason_is_said(
    study: optuna.Study, trials: int, score: Callable[[dict[str, float]], float], reason: str
) -> None:
    filled(study, trials, score)

    found = found_in(study)

    assert found == ((), reason)


def test_parameters_that_never_changed_do_not_end_the_report(study: optuna.Study) -> None:
    for number in range(10):
        add(study, float(number), fixed=0.5)

    found = found_in(study)

    assert found[0] == ()
    assert found[1].endswith("range: fixed")
