"""What small studies with known answers say: importances, and trials that are told apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from scipy.stats import ttest_1samp

from orchestrator.sweep.findings import FEWEST_TRIALS, SHUFFLES, Findings, findings_of

UNIT = FloatDistribution(0.0, 1.0)


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(direction="maximize")


def add(
    study: optuna.Study,
    value: float | None,
    *,
    folds: Mapping[str, float] | None = None,
    **params: Any,
) -> None:
    """A trial that has ended, failed where it has no value."""
    distributions: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(["a", "b"]) if isinstance(given, str) else UNIT
        for name, given in params.items()
    }
    if "lr" in params:
        distributions["lr"] = FloatDistribution(1e-5, 1.0, log=True)
    state = TrialState.FAIL if value is None else TrialState.COMPLETE
    attrs = {} if folds is None else {"folds": dict(folds)}
    study.add_trial(
        create_trial(
            state=state, value=value, params=params, distributions=distributions, user_attrs=attrs
        )
    )


def filled(study: optuna.Study, trials: int, score: Callable[[dict[str, float]], float]) -> None:
    """So many trials of three parameters, drawn evenly."""
    random = np.random.default_rng(0)
    for _ in range(trials):
        params = {name: float(random.uniform()) for name in ("decisive", "dummy", "other")}
        add(study, score(params), **params)


def shares(found: Findings) -> dict[str, float]:
    return {one.parameter: one.share for one in found.importances}


def test_a_decisive_parameter_is_above_dummies_and_above_chance(study: optuna.Study) -> None:
    filled(study, 16, lambda params: params["decisive"])

    first, *others = findings_of(study).importances

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

    found = findings_of(study).importances

    # each is above with probability 1 / (SHUFFLES + 1): two or more of six once in thirty
    assert SHUFFLES == 19
    assert len(found) == 6
    assert sum(one.share > one.chance for one in found) <= 1


def test_findings_are_the_same_twice(study: optuna.Study) -> None:
    filled(study, 8, lambda params: params["decisive"])

    assert findings_of(study) == findings_of(study)


def test_a_logarithmic_parameter_counts_where_it_was_drawn(study: optuna.Study) -> None:
    """Four of its five decades are in the lowest tenth of its range, and there it decides."""
    random = np.random.default_rng(0)
    for _ in range(20):
        lr, dummy = 10 ** float(random.uniform(-5, 0)), float(random.uniform())
        add(study, float(lr < 1e-3) + 0.3 * dummy, lr=lr, dummy=dummy)

    found = shares(findings_of(study))

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

    found = {one.parameter: one for one in findings_of(study).importances}

    assert found["kind"].share > found["dummy"].share
    assert (found["kind"].trials, found["kind"].conditional) == (24, False)
    assert (found["depth"].trials, found["depth"].conditional) == (12, True)
    assert found["depth"].share > 0.7


def test_a_parameter_of_too_few_trials_is_named_without_importance(study: optuna.Study) -> None:
    random = np.random.default_rng(0)
    for number in range(20):
        rare = {"rare": float(random.uniform())} if number < FEWEST_TRIALS - 1 else {}
        add(study, float(random.uniform()), common=float(random.uniform()), **rare)

    found = findings_of(study)

    assert list(shares(found)) == ["common"]
    assert found.without_importance.endswith("range: rare")


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

    found = findings_of(study)

    assert (found.importances, found.without_importance) == ((), reason)


def test_parameters_that_never_changed_do_not_end_the_report(study: optuna.Study) -> None:
    for number in range(10):
        add(study, float(number), fixed=0.5)

    found = findings_of(study)

    assert found.importances == ()
    assert found.without_importance.endswith("range: fixed")


BEST = {"c/1": 0.8, "c/2": 0.7, "c/3": 0.9, "c/4": 0.8}
CLOSE = {"c/1": 0.9, "c/2": 0.6, "c/3": 0.85, "c/4": 0.8}
FAR = {"c/1": 0.5, "c/2": 0.41, "c/3": 0.58, "c/4": 0.52}


def mean(folds: Mapping[str, float]) -> float:
    return sum(folds.values()) / len(folds)


def test_intervals_are_scipys_over_paired_folds(study: optuna.Study) -> None:
    # dealt in another order, since fold order is shuffled per trial
    for folds in (FAR, BEST, dict(reversed(CLOSE.items()))):
        add(study, mean(folds), folds=folds)

    found = findings_of(study)

    assert found.best == 1
    assert [other.number for other in found.comparisons] == [2, 0]
    for other, theirs in zip(found.comparisons, (CLOSE, FAR), strict=True):
        differences = [BEST[fold] - theirs[fold] for fold in BEST]
        expected = ttest_1samp(differences, 0.0).confidence_interval(0.95)
        assert other.difference == pytest.approx(np.mean(differences))
        assert (other.low, other.high) == pytest.approx(tuple(expected))
        assert other.folds == 4
    assert [other.apart for other in found.comparisons] == [False, True]
    assert found.indistinguishable == (2,)


def test_failed_and_running_trials_are_no_rivals(study: optuna.Study) -> None:
    add(study, mean(BEST), folds=BEST)
    add(study, None, folds={"c/1": 1.0})
    study.ask()

    found = findings_of(study)

    assert (found.complete, found.best, found.comparisons) == (1, 0, ())
    assert found.indistinguishable == ()


def test_a_tie_goes_to_the_earlier_and_cannot_be_told_apart(study: optuna.Study) -> None:
    for _ in range(2):
        add(study, mean(BEST), folds=BEST)

    (other,) = findings_of(study).comparisons

    assert (other.number, other.difference, other.low, other.high) == (1, 0.0, 0.0, 0.0)
    assert not other.apart


@pytest.mark.parametrize(
    "theirs", [{"c/1": 0.1}, {**FAR, "c/5": 0.1}, None], ids=["fewer", "more", "none"]
)
def test_other_folds_than_the_bests_give_no_interval(
    study: optuna.Study, theirs: Mapping[str, float] | None
) -> None:
    add(study, mean(BEST), folds=BEST)
    add(study, 0.25, folds=theirs)

    (other,) = findings_of(study).comparisons

    assert other.difference == pytest.approx(0.55)
    assert (other.low, other.high, other.folds, other.apart) == (None, None, 0, False)


def test_one_fold_tells_nothing_apart(study: optuna.Study) -> None:
    add(study, 0.9, folds={"c/official": 0.9})
    add(study, 0.1, folds={"c/official": 0.1})

    (other,) = findings_of(study).comparisons

    assert (other.low, other.high, other.folds, other.apart) == (None, None, 1, False)


def test_a_study_without_a_complete_trial_has_found_nothing(study: optuna.Study) -> None:
    add(study, None)

    found = findings_of(study)

    assert (found.complete, found.best, found.comparisons, found.importances) == (0, None, (), ())


def test_facts_are_json(study: optuna.Study) -> None:
    filled(study, 8, lambda params: params["decisive"])
    add(study, 2.0, folds=BEST)

    facts = json.loads(json.dumps(findings_of(study).facts()))

    assert facts["best"] == 8
    assert facts["complete"] == 9
    assert facts["importances"][0].keys() == {
        "parameter",
        "share",
        "chance",
        "trials",
        "conditional",
    }
    assert facts["comparisons"][0]["apart"] is False
    assert len(facts["indistinguishable"]) == 8
