"""Where a sweep stands, by trials whose numbers are worked out by hand."""

from __future__ import annotations

import json

import optuna
import pytest
from optuna.trial import TrialState

from orchestrator.sweep.budget import SECONDS
from orchestrator.sweep.study import BELONGS_TO, OVERRIDES
from orchestrator.sweep.summary import summarise


def add(
    study: optuna.Study, *values: float, state: TrialState = TrialState.COMPLETE, **attrs: object
) -> None:
    told = {OVERRIDES: json.dumps({"recipe.training.lr": 0.5}), **attrs}
    study.add_trial(optuna.trial.create_trial(state=state, values=values or None, user_attrs=told))


def folds(*scores: float) -> dict[str, float]:
    return {f"corpus/fold={place}": score for place, score in enumerate(scores)}


@pytest.fixture
def study() -> optuna.Study:
    """Of two seeds and trials of three folds, with one trial in each state and two complete."""
    study = optuna.create_study(study_name="small", direction="maximize")
    study.set_user_attr(BELONGS_TO, {"search": {"seeds": [0, 1], "aggregate": "mean"}})
    study.set_user_attr(SECONDS, 90.0)
    add(study, 0.5, folds=folds(0.4, 0.5, 0.6), macs=1000, parameters=10, seconds=30.0)
    add(study, 0.3, state=TrialState.PRUNED, folds=folds(0.3), reason="pruned after 1 of 3 folds")
    add(study, state=TrialState.PRUNED, reason="not run: macs 2e3", macs=2000, parameters=20)
    add(study, state=TrialState.FAIL, folds=folds(0.9, 0.9), reason="corpus/fold=2: no memory")
    add(study, 0.7, folds=folds(0.6, 0.7, 0.8), seconds=20.0)
    study.ask()
    return study


def test_every_state_is_counted_and_a_trial_beyond_a_constraint_is_no_pruned_one(
    study: optuna.Study,
) -> None:
    found = summarise(study, metric="macro_recall", planned=8)

    assert (found.complete, found.pruned, found.infeasible) == (2, 1, 1)
    assert (found.failed, found.running, found.ended, found.planned) == (1, 1, 5, 8)
    states = ["complete", "pruned", "infeasible", "failed", "complete", "running"]
    assert [row["state"] for row in found.trials] == states
    assert [row["ended"] for row in found.trials] == [True] * 5 + [False]


def test_the_best_has_an_interval_over_its_folds(study: optuna.Study) -> None:
    found = summarise(study, metric="macro_recall", planned=8)

    assert (found.best_number, found.best_value) == (4, 0.7)
    assert found.best_overrides == {"recipe.training.lr": 0.5}
    assert found.best_interval is not None
    # t with 2 degrees of freedom is 4.302653 at 95 %; the deviation is 0.1, its error 0.1 / sqrt(3)
    half = 4.302653 * 0.1 / 3**0.5
    assert found.best_interval.mean == pytest.approx(0.7)
    assert found.best_interval.low == pytest.approx(0.7 - half, abs=1e-6)
    assert found.best_interval.high == pytest.approx(0.7 + half, abs=1e-6)
    assert found.best_interval.n == 3


def test_fold_runs_that_pruning_saved_are_those_that_pruned_trials_did_not_need(
    study: optuna.Study,
) -> None:
    found = summarise(study, metric="macro_recall", planned=8)

    assert found.fold_runs == 2 * (3 + 1 + 0 + 2 + 3)
    # neither the failed trial's last fold, nor those of the one that was never run
    assert found.fold_runs_saved == 2 * 2
    assert found.seconds == 90.0


def test_while_no_trial_is_complete_how_many_folds_there_are_has_to_be_said() -> None:
    study = optuna.create_study(direction="maximize")
    add(study, 0.3, state=TrialState.PRUNED, folds=folds(0.3), reason="pruned")

    assert summarise(study, metric="accuracy", planned=1).fold_runs_saved == 0
    assert summarise(study, metric="accuracy", planned=1, folds=5).fold_runs_saved == 4


def test_a_row_tells_all_that_is_known_of_a_trial(study: optuna.Study) -> None:
    rows = summarise(study, metric="macro_recall", planned=8).trials

    assert rows[0] == {
        "number": 0,
        "state": "complete",
        "ended": True,
        "value": 0.5,
        "values": [0.5],
        "folds": folds(0.4, 0.5, 0.6),
        "overrides": {"recipe.training.lr": 0.5},
        "reason": "",
        "macs": 1000,
        "parameters": 10,
        "seconds": 30.0,
    }
    assert (rows[1]["value"], rows[2]["value"], rows[2]["macs"]) == (0.3, None, 2000)
    assert (rows[3]["reason"], rows[3]["value"]) == ("corpus/fold=2: no memory", None)
    assert (rows[5]["overrides"], rows[5]["seconds"]) == ({}, None)


def test_a_study_without_a_trial_has_nothing_but_its_plan() -> None:
    study = optuna.create_study(study_name="small", direction="maximize")

    found = summarise(study, metric="accuracy", planned=3)

    assert (found.ended, found.running, found.planned, found.trials) == (0, 0, 3, ())
    assert (found.best_number, found.best_value, found.best_interval) == (None, None, None)
    assert found.best_overrides == {}
    assert (found.fold_runs, found.fold_runs_saved, found.seconds, found.front) == (0, 0, 0.0, ())


def test_a_study_of_an_earlier_version_has_no_more_than_it_told() -> None:
    study = optuna.create_study(direction="maximize")
    add(study, 0.5)

    found = summarise(study, metric="accuracy", planned=1)

    assert (found.best_value, found.best_interval, found.fold_runs) == (0.5, None, 0)


def test_several_objectives_have_a_front_and_no_best() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    add(study, 0.7, 3000.0, folds=folds(0.7))
    add(study, 0.5, 1000.0, folds=folds(0.5))
    add(study, 0.5, 2000.0, folds=folds(0.5))  # as good as the one before and dearer
    add(study, state=TrialState.FAIL, reason="no")
    add(study, 0.7, 3000.0, folds=folds(0.7))  # as the first
    add(study, state=TrialState.PRUNED, reason="not run: macs")

    found = summarise(study, metric="macro_recall", planned=6)

    assert found.front == (0, 1, 4)
    assert (found.best_number, found.best_value, found.best_interval) == (None, None, None)
    assert found.trials[0]["values"] == [0.7, 3000.0]
    assert found.trials[0]["value"] == 0.7
