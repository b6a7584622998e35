"""What a report reads of the studies in a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from orchestrator.evaluation.report import markdown
from orchestrator.evaluation.stored import stored_sweep, sweep_facts
from orchestrator.experiment import Experiment, load_experiment
from orchestrator.store import Store
from orchestrator.sweep.storage import open_storage, study_address
from orchestrator.sweep.study import BELONGS_TO, CARRIED, generation_name, study_name
from orchestrator.sweep.summary import summarise
from tests import small

RATE = "recipe.training.lr"


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    # a log is made and read in a moment, a database in half a second
    log = f"search.storage=journal:{tmp_path / 'study.log'}"
    return load_experiment(small.write(tmp_path), overrides=[log, "search.trials=3"])


def begun(
    experiment: Experiment, name: str = "small", *, costs: int = 0, **search: Any
) -> optuna.Study:
    storage = open_storage(study_address(experiment, Store(experiment.store)))
    directions = ["maximize"] + ["minimize"] * costs
    study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    study.set_user_attr(BELONGS_TO, {"search": {"metric": "macro_recall", "seeds": [0], **search}})
    return study


def add(
    study: optuna.Study,
    folds: dict[str, float],
    *costs: float,
    state: TrialState = TrialState.COMPLETE,
    rate: float = 0.01,
    **told: Any,
) -> None:
    values = [sum(folds.values()) / len(folds), *costs] if folds else None
    study.add_trial(
        create_trial(
            state=state,
            values=None if state == TrialState.FAIL else values,
            params={RATE: rate},
            distributions={RATE: FloatDistribution(1e-4, 1.0, log=True)},
            user_attrs={"overrides": json.dumps({RATE: rate}), "folds": folds, **told},
        )
    )


def test_before_anything_ran_there_is_nothing(experiment: Experiment) -> None:
    assert stored_sweep(experiment) is None
    assert stored_sweep(experiment.model_copy(update={"search": None})) is None


def test_every_state_is_counted_and_every_trial_is_there(experiment: Experiment) -> None:
    study = begun(
        experiment, sampler="random", pruner={"kind": "race", "level": 0.95}, seeds=[0, 1]
    )
    add(study, {"c/1": 0.5, "c/2": 0.7}, protocol="c | leave-one-session-out", rate=0.1)
    add(study, {"c/1": 0.1}, state=TrialState.PRUNED, reason="pruned after 1 of 2 folds: behind")
    add(study, {}, state=TrialState.PRUNED, reason="not run: macs 9 is above")
    add(study, {"c/1": 0.9}, state=TrialState.FAIL, reason="c/2: the loss is not finite")
    study.ask()

    facts = stored_sweep(experiment)

    assert facts is not None
    assert facts["states"] == dict.fromkeys(
        ["complete", "pruned", "infeasible", "failed", "running"], 1
    )
    assert facts["trials"] == 3
    assert [row["state"] for row in facts["rows"]] == list(facts["states"])
    assert facts["rows"][0]["drawn"] == {RATE: 0.1}
    assert facts["best"]["number"] == 0
    # 0.6 +- t(0.975, 1) * 0.1 with t = 12.7062
    assert facts["best"]["interval"] == {
        "mean": pytest.approx(0.6),
        "low": pytest.approx(-0.67062, abs=1e-5),
        "high": pytest.approx(1.87062, abs=1e-5),
        "folds": 2,
    }
    # the failed trial's fold was run, too; two seeds each; the pruned one was spared a fold
    assert facts["fold_runs"] == {"done": 8, "saved": 2}
    assert (facts["sampler"], facts["pruner"]["kind"]) == ("random", "race")
    assert facts["protocols"] == ["c | leave-one-session-out"]
    assert facts["findings"]["parameters"] == {RATE: "log"}
    assert json.loads(json.dumps(facts)) == facts
    assert "inner" not in facts
    assert "5, of which 3 are asked for now" in markdown(None, facts)


def test_a_front_has_its_values_by_name(experiment: Experiment) -> None:
    study = begun(experiment, costs=1, minimise=["macs"])
    add(study, {"c/1": 0.5, "c/2": 0.7}, 100.0)
    add(study, {"c/1": 0.4, "c/2": 0.4}, 100.0)
    add(study, {"c/1": 0.9}, 900.0)

    facts = stored_sweep(experiment)

    assert facts is not None
    assert facts["best"] is None
    assert facts["objectives"] == ["macro_recall", "macs"]
    assert [(one["number"], one["values"]) for one in facts["front"]] == [
        (0, {"macro_recall": pytest.approx(0.6), "macs": 100.0}),
        (2, {"macro_recall": 0.9, "macs": 900.0}),
    ]
    assert facts["front"][1]["interval"]["low"] is None
    assert json.loads(json.dumps(facts)) == facts


def test_ranks_are_shown_as_they_stand_now(experiment: Experiment) -> None:
    study = begun(experiment, aggregate="rank")
    add(study, {"c/1": 0.5})
    add(study, {"c/1": 0.9})

    facts = stored_sweep(experiment)

    assert facts is not None
    assert [row["value"] for row in facts["rows"]] == [0.0, 1.0]
    assert facts["best"]["value"] == 1.0


def test_searches_inside_folds_are_found_without_a_sweep_beside_them(
    experiment: Experiment,
) -> None:
    inside = "synthetic/session=2"
    add(begun(experiment, study_name("small", inner=inside)), {"c/1": 0.5})
    again = generation_name(study_name("small", inner=inside), 2)
    add(begun(experiment, again), {"c/1": 0.7})
    begun(experiment, study_name("small", inner="synthetic/session=1"))
    begun(experiment, study_name("smaller", inner="synthetic/session=1"))

    facts = stored_sweep(experiment)

    assert facts is not None
    assert [one["fold"] for one in facts["inner"]] == ["synthetic/session=1", inside]
    # the further generation is the one that counts
    assert facts["inner"][1]["best"]["value"] == 0.7
    assert facts["inner"][1]["trials"] == experiment.evaluate.inner_search.trials
    assert "states" not in facts
    assert "| synthetic/session=2 | 1 of 20 (1 complete) | 0 | 70.0 [-, -] |" in markdown(
        None, facts
    )


def test_a_further_generation_is_told_with_what_it_takes_over(experiment: Experiment) -> None:
    begun(experiment)
    study = begun(experiment, "small (generation 2)")
    study.set_user_attr(CARRIED, [{RATE: 0.1}])

    facts = stored_sweep(experiment)

    assert facts is not None
    assert (facts["experiment"], facts["study"]) == ("small", "small (generation 2)")
    assert facts["carried"] == 1


def test_a_study_of_an_earlier_version_is_read(experiment: Experiment) -> None:
    """It said of its trials what they changed, what folds scored, and why they failed."""
    storage = open_storage(study_address(experiment, Store(experiment.store)))
    study = optuna.create_study(storage=storage, study_name="small", direction="maximize")
    study.set_user_attr(
        BELONGS_TO,
        {
            "recipe": {},
            "search": {"space": "distillation", "metric": "macro_recall", "sampler": "tpe"},
        },
    )
    for place in range(9):
        add(study, {"c/1": 0.1 * place, "c/2": 0.5}, rate=0.01 * (place + 1))
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"reason": "c/1: no memory"}))

    facts = stored_sweep(experiment)

    assert facts is not None
    assert facts["states"] == {"complete": 9, "failed": 1}
    text = markdown(None, facts)
    assert "| best macro_recall on validation | 65.0 [-125.6, 255.6] |" in text
    assert "| 9 | 0 | c/1: no memory |" in text
    assert "| recipe.training.lr |" in text
    assert "pruner" not in text


def test_a_summary_alone_makes_the_first_table() -> None:
    study = optuna.create_study(direction="maximize")
    add(study, {"c/1": 0.5, "c/2": 0.7})

    facts = sweep_facts(summarise(study, metric="accuracy", planned=2), name="demo")

    assert "| best accuracy on validation | 60.0 [" in markdown(None, facts)
    assert "cannot be told apart" not in markdown(None, facts)
