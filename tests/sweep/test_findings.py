"""What small studies with known answers say: which trials can be told from the best."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial
from scipy.stats import ttest_1samp

from orchestrator.sweep.findings import findings_of
from orchestrator.sweep.study import BELONGS_TO

DRAWN: dict[str, BaseDistribution] = {
    "share": FloatDistribution(0.0, 1.0),
    "lr": FloatDistribution(1e-5, 1.0, log=True),
    "width": IntDistribution(1, 64, log=True),
    "depth": IntDistribution(1, 6),
    "kind": CategoricalDistribution(["a", "b"]),
}


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(direction="maximize")


def add(
    study: optuna.Study,
    value: float | Sequence[float] | None,
    *,
    folds: Mapping[str, float] | None = None,
    state: TrialState | None = None,
    **params: Any,
) -> None:
    """A trial that has ended, failed where it has no value and no state is given."""
    if state is None:
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
    study.add_trial(
        create_trial(
            state=state,
            values=[value] if isinstance(value, float) else value,
            params=params,
            distributions={name: DRAWN[name] for name in params},
            user_attrs={} if folds is None else {"folds": dict(folds)},
        )
    )


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


def test_pruned_trials_are_counted_and_are_no_rivals(study: optuna.Study) -> None:
    add(study, mean(BEST), folds=BEST, share=0.1)
    # stopped after two folds, on which it was the better one
    add(study, 0.99, folds={"c/1": 0.99, "c/2": 0.99}, state=TrialState.PRUNED, lr=0.1)
    # beyond a constraint
    add(study, None, state=TrialState.PRUNED)

    found = findings_of(study)

    assert (found.complete, found.pruned, found.best) == (1, 1, 0)
    assert found.comparisons == ()
    assert dict(found.parameters) == {"share": "linear"}


def test_of_several_objectives_the_first_is_compared() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    add(study, [mean(FAR), 1.0], folds=FAR)
    add(study, [mean(BEST), 9.0], folds=BEST)

    found = findings_of(study)

    assert found.best == 1
    assert [other.number for other in found.comparisons] == [0]


def test_ranks_are_those_among_all_trials_of_now(study: optuna.Study) -> None:
    study.set_user_attr(BELONGS_TO, {"search": {"aggregate": "rank"}})
    # told alone, then with one, then with two others: each was the best of its time
    for told, folds in ((0.5, FAR), (1.0, BEST), (1.0, CLOSE)):
        add(study, told, folds=folds)

    found = findings_of(study)

    assert found.best == 1
    assert [(other.number, other.value) for other in found.comparisons] == [(2, 0.5), (0, 0.0)]
    # yet compared in the metric, fold by fold
    assert found.comparisons[1].difference == pytest.approx(mean(BEST) - mean(FAR))


def test_parameters_say_how_they_were_drawn(study: optuna.Study) -> None:
    add(study, 0.5, share=0.5, lr=0.1, width=8, depth=2, kind="a")

    assert findings_of(study).parameters == {
        "depth": "linear",
        "kind": "choice",
        "lr": "log",
        "share": "linear",
        "width": "log",
    }


def test_facts_are_json(study: optuna.Study) -> None:
    for place in range(8):
        add(study, place / 10, share=place / 10)
    add(study, 2.0, folds=BEST)

    facts = json.loads(json.dumps(findings_of(study).facts()))

    assert facts["best"] == 8
    assert (facts["complete"], facts["pruned"]) == (9, 0)
    assert facts["importances"][0].keys() == {
        "parameter",
        "share",
        "chance",
        "trials",
        "conditional",
    }
    assert facts["comparisons"][0]["apart"] is False
    assert len(facts["indistinguishable"]) == 8
