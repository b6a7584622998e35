"""The searcher by itself, as Tune calls it, over studies in memory."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from orchestrator.experiment.search import Search
from orchestrator.sweep.budget import SECONDS, Budget
from orchestrator.sweep.search_run import SearchRun
from orchestrator.sweep.searcher import LOST, Proposed, StudySearcher
from orchestrator.sweep.space import SearchSpace
from orchestrator.sweep.study import overrides_of

LR = "recipe.training.lr"
PLACES = ("c/a", "c/b", "c/d")
MEDIAN = {"kind": "median", "after": 1, "first": 1}


def space(trial: optuna.Trial) -> dict[str, Any]:
    return {LR: trial.suggest_float(LR, 1e-4, 1e-2, log=True), "recipe.objectives.feature_map": 0.0}


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def began(self, trial: Proposed) -> None:
        self.told.append(("began", trial.number))

    def ran(self, trial: Proposed, places: Sequence[str], report: Mapping[str, Any]) -> None:
        self.told.append(("ran", trial.number, *places))

    def ended(
        self, trial: Proposed, state: TrialState, *, reason: str, values: Sequence[float]
    ) -> None:
        self.told.append(("ended", trial.number, state.name, reason, *values))


def run_of(study: optuna.Study, *, trials: int = 9, name: str = "", **search: Any) -> SearchRun:
    section = Search.model_validate({"space": "distillation", "sampler": "random"} | search)
    return SearchRun(
        study=study,
        space=SearchSpace(section, space),
        tasks=dict.fromkeys(PLACES, (None,)),  # type: ignore[arg-type]
        trials=trials,
        protocol="by hand",
        name=name,
    )


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(direction="maximize")


def searcher(*runs: SearchRun, hours: float | None = None) -> StudySearcher:
    """As a sweep makes it, with its clock running."""
    budget = Budget(hours, [run.study for run in runs])
    budget.start()
    return StudySearcher(runs, listener=Heard(), budget=budget)


def heard(search: StudySearcher) -> list[tuple[Any, ...]]:
    assert isinstance(search.listener, Heard)
    return search.listener.told


def report(**folds: float) -> dict[str, Any]:
    """What a trial actor reports after these folds."""
    done = {f"c/{name}": score for name, score in folds.items()}
    complete = len(done) == len(PLACES)
    return {
        "folds": json.dumps(done),
        "seeds": json.dumps({place: {"0": score} for place, score in done.items()}),
        "parameters": 950,
        "macs": 2000,
        "seconds": 1.5,
        "computed": 1,
        "reused": 0,
        "notes": "[]",
        "complete": complete,
        "done": complete,
    }


def finish(search: StudySearcher, trial_id: str, score: float) -> None:
    search.on_trial_complete(trial_id, report(a=score, b=score, d=score))


def test_a_suggestion_is_a_place_a_number_and_overrides_that_the_study_keeps(
    study: optuna.Study,
) -> None:
    config = searcher(run_of(study)).suggest("t0")

    assert isinstance(config, dict)
    assert (config["search"], config["number"]) == ("", 0)
    assert set(config["overrides"]) == {LR, "recipe.objectives.feature_map"}
    assert overrides_of(study.trials[0]) == config["overrides"]


def test_each_fold_reports_at_the_number_of_folds_and_the_listener_hears_of_it_once(
    study: optuna.Study,
) -> None:
    search = searcher(run_of(study))
    search.suggest("t0")

    for _ in range(2):  # a trial that is begun again after a lost node tells its folds again
        assert not search.hear("t0", report(a=0.5))
    assert not search.hear("t0", report(a=0.5, b=0.7))

    (trial,) = study.trials
    assert trial.intermediate_values == {1: 0.5, 2: pytest.approx(0.6)}
    assert trial.user_attrs["folds"] == {"c/a": 0.5, "c/b": 0.7}
    assert trial.state == TrialState.RUNNING
    assert heard(search) == [("began", 0), ("ran", 0, "c/a"), ("ran", 0, "c/b")]


def test_the_mean_so_far_is_adjusted_for_how_hard_its_folds_are(study: optuna.Study) -> None:
    search = searcher(run_of(study))
    search.suggest("t0")
    search.on_trial_complete("t0", report(a=0.9, b=0.5, d=0.4))
    search.suggest("t1")

    search.hear("t1", report(a=0.8))

    # a tenth below the first trial on that fold: a tenth below its mean of 0.6
    assert study.trials[1].intermediate_values == {1: pytest.approx(0.5)}


def test_a_complete_trial_is_told_with_its_score_and_what_is_known_of_it(
    study: optuna.Study,
) -> None:
    search = searcher(run_of(study))
    search.suggest("t0")
    search.hear("t0", report(a=0.5))

    search.on_trial_complete("t0", report(a=0.5, b=0.6, d=0.7))

    (trial,) = study.trials
    assert (trial.state, trial.value) == (TrialState.COMPLETE, pytest.approx(0.6))
    told = dict(trial.user_attrs)
    assert told.pop("overrides")
    assert told == {
        "folds": {"c/a": 0.5, "c/b": 0.6, "c/d": 0.7},
        "seeds": {"c/a": {"0": 0.5}, "c/b": {"0": 0.6}, "c/d": {"0": 0.7}},
        "std": pytest.approx(0.1),
        "parameters": 950,
        "macs": 2000,
        "seconds": 3.0,
        "protocol": "by hand",
    }
    assert trial.intermediate_values == {1: 0.5, 3: pytest.approx(0.6)}
    assert heard(search)[-1] == ("ended", 0, "COMPLETE", "", pytest.approx(0.6))
    assert study.user_attrs[SECONDS] > 0.0


def test_a_trial_that_is_beaten_stops_and_is_told_as_pruned_with_its_reason(
    study: optuna.Study,
) -> None:
    search = searcher(run_of(study, pruner=MEDIAN))
    search.suggest("t0")
    finish(search, "t0", 0.9)
    search.suggest("t1")

    assert search.hear("t1", report(a=0.2))
    search.on_trial_complete("t1", report(a=0.2))

    trial = study.trials[1]
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["reason"].startswith("pruned after 1 of 3 folds: ")
    assert trial.value == pytest.approx(0.2)
    assert heard(search)[-1][:3] == ("ended", 1, "PRUNED")


def test_the_best_trial_is_not_stopped_by_its_own_scores(study: optuna.Study) -> None:
    search = searcher(run_of(study, pruner=MEDIAN))
    search.suggest("t0")
    finish(search, "t0", 0.4)
    search.suggest("t1")

    assert not search.hear("t1", report(a=0.9))


def test_a_trial_beyond_a_constraint_is_pruned_without_a_value_and_the_sampler_knows(
    study: optuna.Study,
) -> None:
    search = searcher(run_of(study, constraints={"macs": 500}))
    search.suggest("t0")
    above = {"infeasible": "macs 2,000 is above", "macs": 2000, "parameters": 9, "complete": False}

    search.on_trial_complete("t0", above)

    (trial,) = study.trials
    assert (trial.state, trial.value) == (TrialState.PRUNED, None)
    assert trial.user_attrs["reason"] == "not run: macs 2,000 is above"
    assert trial.constraints == {"macs": 1500.0}


def test_a_trial_within_a_constraint_says_by_how_much(study: optuna.Study) -> None:
    search = searcher(run_of(study, constraints={"macs": 2500, "parameters": 1000}))
    search.suggest("t0")

    finish(search, "t0", 0.5)

    assert study.trials[0].constraints == {"macs": -500.0, "parameters": -50.0}


def test_several_objectives_are_told_in_their_order() -> None:
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    search = searcher(run_of(study, minimise=["macs", "parameters"]))
    search.suggest("t0")
    assert not search.hear("t0", report(a=0.5))

    finish(search, "t0", 0.5)

    assert study.trials[0].values == [0.5, 2000.0, 950.0]


def test_a_failed_fold_fails_the_trial_with_its_reason_and_no_value(study: optuna.Study) -> None:
    search = searcher(run_of(study))
    search.suggest("t0")
    search.hear("t0", report(a=0.9))

    search.on_trial_complete("t0", {"failed": "c/b: out of memory", "complete": False})

    (trial,) = study.trials
    assert (trial.state, trial.value) == (TrialState.FAIL, None)
    assert trial.user_attrs["reason"] == "c/b: out of memory"
    assert search.runs[0].ended == {}
    assert isinstance(search.suggest("t1"), dict)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_a_failure(study: optuna.Study, score: float) -> None:
    search = searcher(run_of(study))
    search.suggest("t0")
    search.hear("t0", report(a=score))

    search.on_trial_complete("t0", report(a=score, b=0.5, d=0.5))

    assert study.trials[0].state == TrialState.FAIL
    assert study.trials[0].user_attrs["reason"] == f"c/a: the score is {score}"
    assert heard(search)[-1] == ("ended", 0, "FAIL", f"c/a: the score is {score}")


def test_a_lost_actor_is_a_failure(study: optuna.Study) -> None:
    search = searcher(run_of(study))
    search.suggest("t0")

    search.on_trial_complete("t0", None, error=True)

    assert study.trials[0].state == TrialState.FAIL
    assert study.trials[0].user_attrs["reason"] == LOST


def test_a_trial_that_was_stopped_from_outside_is_proposed_again_first_of_all(
    study: optuna.Study,
) -> None:
    search = searcher(run_of(study))
    finished, stopped = search.suggest("t0"), search.suggest("t1")
    finish(search, "t0", 0.5)
    search.hear("t1", report(a=0.4))
    search.on_trial_complete("t1", report(a=0.4))

    run = run_of(study)
    assert (run.proposed, run.remaining) == (2, 8)
    again = searcher(run)

    assert again.suggest("u0") == stopped
    fresh = again.suggest("u1")
    assert isinstance(fresh, dict)
    assert isinstance(finished, dict)
    assert isinstance(stopped, dict)
    assert fresh["number"] == 2
    assert fresh["overrides"] not in (finished["overrides"], stopped["overrides"])

    finish(again, "u0", 0.6)

    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert study.trials[1].intermediate_values[1] == pytest.approx(0.4)


def test_searches_are_proposed_one_after_the_other_up_to_their_trials() -> None:
    studies = [optuna.create_study(direction="maximize") for _ in range(2)]
    search = searcher(
        run_of(studies[0], trials=2, name="c/one"), run_of(studies[1], trials=1, name="c/two")
    )

    found = [search.suggest(f"t{number}") for number in range(4)]

    told = [(one["search"], one["number"]) for one in found[:3] if isinstance(one, dict)]
    assert told == [("c/one", 0), ("c/one", 1), ("c/two", 0)]
    assert found[3] == Searcher.FINISHED


def test_when_the_hours_are_spent_no_trial_begins(study: optuna.Study) -> None:
    study.set_user_attr(SECONDS, 3600.0)

    assert searcher(run_of(study), hours=1.0).suggest("t0") == Searcher.FINISHED
    assert isinstance(searcher(run_of(study), hours=1.1).suggest("t0"), dict)


def test_when_the_hours_are_spent_a_trial_that_was_begun_goes_on(study: optuna.Study) -> None:
    begun = searcher(run_of(study)).suggest("t0")
    study.set_user_attr(SECONDS, 7200.0)

    again = searcher(run_of(study), hours=1.0)

    assert again.suggest("u0") == begun
    assert again.suggest("u1") == Searcher.FINISHED
    finish(again, "u0", 0.5)
    assert study.trials[0].state == TrialState.COMPLETE


def test_a_trial_under_way_counts_for_the_pruner(study: optuna.Study) -> None:
    search = searcher(run_of(study))
    for number in range(2):
        search.suggest(f"t{number}")
    search.hear("t1", report(a=0.3))

    (other,) = search._others(search._open["t0"])

    assert (other.number, other.folds, other.complete, other.under_way) == (
        1,
        {"c/a": 0.3},
        False,
        True,
    )


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_study_taken_up_again_draws_as_one_that_was_not_broken_off(sampler: str) -> None:
    def drawn(*parts: int) -> list[Any]:
        study = optuna.create_study(direction="maximize")
        found: list[Any] = []
        for part in parts:
            search = searcher(run_of(study, trials=20, sampler=sampler, seed=3))
            for _ in range(part):
                config = search.suggest(f"t{len(found)}")
                assert isinstance(config, dict)
                finish(search, f"t{len(found)}", config["overrides"][LR])
                found.append(config)
        return found

    whole = drawn(14)

    assert drawn(11, 1, 2) == whole
    assert len({config["overrides"][LR] for config in whole}) == 14


def test_an_error_of_the_study_ends_the_sweep_instead_of_being_logged(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = searcher(run_of(study))
    search.suggest("t0")
    problem = OSError("no space left")

    def full(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(study, "tell", full)
    finish(search, "t0", 0.5)

    assert search.problem is problem
    assert search.suggest("t1") == Searcher.FINISHED
    assert search.hear("t0", report(a=0.5)) is False


def test_what_tune_says_of_a_trial_that_is_not_ours_is_ignored(study: optuna.Study) -> None:
    search = searcher(run_of(study))

    assert search.hear("unknown", report(a=0.5)) is False
    search.on_trial_complete("unknown", report(a=0.5, b=0.5, d=0.5))

    assert study.trials == []


def test_tune_may_pickle_it_without_the_study(study: optuna.Study) -> None:
    assert pickle.loads(pickle.dumps(searcher(run_of(study)))).__dict__ == {}
