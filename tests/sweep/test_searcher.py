"""The searcher by itself, as Tune calls it, over a study in memory."""

from __future__ import annotations

import json
import pickle
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from orchestrator.sweep.searcher import StudySearcher
from orchestrator.sweep.study import overrides_of

LR = "recipe.training.lr"


def space(trial: optuna.Trial) -> dict[str, Any]:
    return {LR: trial.suggest_float(LR, 1e-4, 1e-2, log=True), "recipe.objectives.feature_map": 0.0}


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(direction="maximize")


def searcher(study: optuna.Study, *, sampler: str = "tpe", seed: int = 0) -> StudySearcher:
    return StudySearcher(study, space, sampler=sampler, seed=seed)


def report(score: float, **folds: float) -> dict[str, Any]:
    """What a trial actor reports after these folds."""
    return {"score": score, "std": 0.1, "folds": json.dumps(folds), "parameters": 950}


def finish(search: StudySearcher, trial_id: str, score: float) -> None:
    search.on_trial_complete(trial_id, report(score, a=score) | {"complete": True})


def test_a_suggestion_is_a_number_and_overrides_that_the_study_keeps(study: optuna.Study) -> None:
    config = searcher(study).suggest("t0")

    assert config["number"] == 0
    assert set(config["overrides"]) == {LR, "recipe.objectives.feature_map"}
    assert overrides_of(study.trials[0]) == config["overrides"]


def test_each_fold_reports_the_mean_so_far_at_the_number_of_folds(study: optuna.Study) -> None:
    search = searcher(study)
    search.suggest("t0")

    search.on_trial_result("t0", report(0.5, a=0.5))
    search.on_trial_result("t0", report(0.6, a=0.5, b=0.7))

    assert study.trials[0].intermediate_values == {1: 0.5, 2: 0.6}
    assert study.trials[0].user_attrs["folds"] == {"a": 0.5, "b": 0.7}
    assert study.trials[0].state == TrialState.RUNNING


def test_a_trial_begun_again_after_a_lost_node_reports_no_step_twice(study: optuna.Study) -> None:
    search = searcher(study)
    search.suggest("t0")

    for _ in range(2):
        search.on_trial_result("t0", report(0.5, a=0.5))

    assert study.trials[0].intermediate_values == {1: 0.5}


def test_a_complete_trial_is_told_with_its_score(study: optuna.Study) -> None:
    search = searcher(study)
    search.suggest("t0")

    search.on_trial_complete("t0", report(0.6, a=0.5, b=0.7) | {"complete": True})

    (trial,) = study.trials
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.6)
    assert trial.user_attrs["folds"] == {"a": 0.5, "b": 0.7}
    assert (trial.user_attrs["std"], trial.user_attrs["parameters"]) == (0.1, 950)


def test_a_failed_fold_fails_the_trial_with_its_reason_and_no_value(study: optuna.Study) -> None:
    search = searcher(study)
    search.suggest("t0")
    search.on_trial_result("t0", report(0.9, a=0.9))
    failed = {"failed": "b: out of memory", "complete": False}

    search.on_trial_result("t0", failed)
    search.on_trial_complete("t0", failed)

    (trial,) = study.trials
    assert (trial.state, trial.value) == (TrialState.FAIL, None)
    assert trial.user_attrs["reason"] == "b: out of memory"


@pytest.mark.parametrize("score", [float("nan"), float("inf"), None])
def test_a_score_that_is_no_number_is_a_failure(study: optuna.Study, score: Any) -> None:
    search = searcher(study)
    search.suggest("t0")

    search.on_trial_complete("t0", report(0.0, a=0.0) | {"score": score, "complete": True})

    assert study.trials[0].state == TrialState.FAIL
    assert study.trials[0].user_attrs["reason"] == f"the score is {score}"


def test_a_lost_actor_is_a_failure(study: optuna.Study) -> None:
    search = searcher(study)
    search.suggest("t0")

    search.on_trial_complete("t0", None, error=True)

    assert study.trials[0].state == TrialState.FAIL
    assert study.trials[0].user_attrs["reason"] == (
        "the trial's actor was lost, or ran out of memory, three times"
    )


def test_a_trial_that_was_stopped_is_proposed_again_first_of_all(study: optuna.Study) -> None:
    search = searcher(study)
    finished, stopped = search.suggest("t0"), search.suggest("t1")
    finish(search, "t0", 0.5)
    search.on_trial_result("t1", report(0.4, a=0.4))
    search.on_trial_complete("t1", report(0.4, a=0.4) | {"complete": False})

    again = searcher(study)

    assert again.unfinished == 1
    assert again.suggest("u0") == stopped
    fresh = again.suggest("u1")
    assert fresh["number"] == 2
    assert fresh["overrides"] not in (finished["overrides"], stopped["overrides"])

    finish(again, "u0", 0.6)

    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert study.trials[1].intermediate_values == {1: 0.4}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_study_taken_up_again_draws_as_one_that_was_not_broken_off(sampler: str) -> None:
    def drawn(*parts: int) -> list[dict[str, Any]]:
        study = optuna.create_study(direction="maximize")
        found = []
        for part in parts:
            search = searcher(study, sampler=sampler, seed=3)
            for _ in range(part):
                config = search.suggest(f"t{len(found)}")
                finish(search, f"t{len(found)}", config["overrides"][LR])
                found.append(config)
        return found

    whole = drawn(14)

    assert drawn(11, 1, 2) == whole
    assert len({config["overrides"][LR] for config in whole}) == 14


def test_what_tune_says_of_a_trial_that_is_not_ours_is_ignored(study: optuna.Study) -> None:
    search = searcher(study)

    search.on_trial_result("unknown", report(0.5, a=0.5))
    search.on_trial_complete("unknown", report(0.5, a=0.5) | {"complete": True})

    assert study.trials == []


def test_tune_may_pickle_it_without_the_study(study: optuna.Study) -> None:
    assert pickle.loads(pickle.dumps(searcher(study))).__dict__ == {}
