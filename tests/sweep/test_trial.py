"""A trial's actor driven step by step in this process, without Ray."""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.macs import multiply_accumulates
from orchestrator.errors import ExperimentError, TrainingError
from orchestrator.experiment.loading import override_recipe
from orchestrator.features import PackedFrames
from orchestrator.preparation import plan_folds, prepare
from orchestrator.recorded import recorded_run
from orchestrator.store import Store
from orchestrator.sweep.search_run import tasks_by_place
from orchestrator.sweep.trial import TrialActor, TrialContext, trial_recipe
from orchestrator.tracking.journal import read_segment
from orchestrator.tracking.tree import RunTree
from orchestrator.training.fold_run import FoldOutcome
from orchestrator.training.networks import build_network
from orchestrator.training.task import FoldTask
from tests import small
from tests.models.encoders import save_whisper

ALONE = (
    "recipe.teacher=null",
    "recipe.objectives.distillation=0",
    "search.seeds=[0, 1]",
    "recipe.training.epochs=1",
)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> TrialContext:
    """Three folds with two seeds each, of a student alone."""
    experiment = small.load(tmp_path_factory.mktemp("trial"), *ALONE)
    store = Store(experiment.store)
    planned = plan_folds(
        experiment, prepare(experiment, store), protocol=experiment.protocol, seeds=(0, 1)
    )
    return TrialContext(
        experiment=experiment,
        tasks={"": tasks_by_place(planned)},
        store=store,
        tree=RunTree(store, experiment.name, "sweep"),
    )


def actor(context: TrialContext, number: int, **overrides: object) -> TrialActor:
    """The actor as Tune would set it up."""
    made = object.__new__(TrialActor)
    made.setup({"search": "", "number": number, "overrides": overrides}, context=context)
    return made


def events(context: TrialContext, *place: str | int) -> list[dict[str, Any]]:
    """What the journal of a run has told."""
    key = context.tree.key(*place)
    names = context.store.list(f"{context.tree.prefix}/{key}")
    return [event for name in names for event in read_segment(context.store.read_bytes(name))]


def test_every_step_is_a_fold_and_its_score_the_mean_over_seeds(context: TrialContext) -> None:
    one = actor(context, 0)

    results = [one.step() for _ in range(3)]

    folds = [json.loads(result["folds"]) for result in results]
    assert [list(done) for done in folds] == [one.order[:1], one.order[:2], one.order]
    assert sorted(folds[2]) == [f"synthetic/session={number}" for number in (1, 2, 3)]
    seeds = json.loads(results[2]["seeds"])
    assert {place: list(by_seed) for place, by_seed in seeds.items()} == dict.fromkeys(
        folds[2], ["0", "1"]
    )
    assert folds[2] == {
        place: statistics.fmean(by_seed.values()) for place, by_seed in seeds.items()
    }
    assert [result["done"] for result in results] == [False, False, True]
    assert [result["complete"] for result in results] == [False, False, True]
    # two seeds a fold
    assert [result["computed"] for result in results] == [2, 2, 2]
    assert events(context, 0, one.order[0], 1)[-1]["status"] == "FINISHED"
    # what the trial's own run tells is written where it is known how it ends
    assert events(context, 0) == []


def test_a_report_says_what_the_student_costs(context: TrialContext) -> None:
    result = actor(context, 3).step()

    task = context.tasks[""]["synthetic/session=1"][0]
    network = build_network(task.recipe.student, features=task.features, classes=task.classes)
    assert result["parameters"] == sum(value.numel() for value in network.parameters())
    pack = PackedFrames.open(context.store, task.frames)
    frames = round(statistics.fmean(pack.length(name) for name in pack.ids))
    assert result["macs"] == multiply_accumulates(network, frames=frames, width=pack.width)


def test_a_student_beyond_a_constraint_is_not_run(context: TrialContext) -> None:
    experiment = override_recipe(context.experiment, {"search.constraints": {"parameters": 100}})

    result = actor(replace(context, experiment=experiment), 4).step()

    assert (result["done"], result["complete"]) == (True, False)
    assert result["infeasible"] == (
        f"parameters {result['parameters']:,} is above search.constraints.parameters 100"
    )
    assert "folds" not in result
    assert events(context, 4, "synthetic/session=1", 0) == []


def test_the_next_trial_begins_afresh_and_reuses_what_is_equal(context: TrialContext) -> None:
    one = actor(context, 1, **{"recipe.training.lr": 1e-4})
    first = one.step()

    assert one.reset_config({"search": "", "number": 2, "overrides": {"recipe.training.lr": 1e-4}})
    results = [one.step() for _ in range(3)]

    assert (first["computed"], first["reused"]) == (2, 0)
    assert sum(result["reused"] for result in results) == 2
    assert len(json.loads(results[2]["folds"])) == 3


def test_folds_are_shuffled_by_trial_and_the_same_each_time(context: TrialContext) -> None:
    orders = [tuple(actor(context, number).order) for number in range(20)]

    assert len(set(orders)) > 1
    assert orders == [tuple(actor(context, number).order) for number in range(20)]


def test_a_failed_fold_is_a_failed_trial_and_never_a_mean(context: TrialContext) -> None:
    def broken(task: FoldTask, **keywords: Any) -> FoldOutcome:
        if task.fold == one.order[1].partition("/")[2]:
            raise TrainingError("the disk is full")
        return recorded_run(task, **keywords)

    one = actor(replace(context, run=broken), 30)
    first = one.step()
    result = one.step()

    assert "folds" in first
    assert result == {
        "failed": f"{one.order[1]}: the disk is full",
        "done": True,
        "complete": False,
    }


def test_an_error_of_nobody_is_named_by_its_type(context: TrialContext) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("CUDA out of memory")

    one = actor(replace(context, run=broken), 31)

    assert one.step()["failed"] == f"{one.order[0]}: RuntimeError: CUDA out of memory"


def test_a_loss_that_is_no_number_fails_the_trial(context: TrialContext) -> None:
    one = actor(
        context,
        32,
        **{
            "recipe.training.lr": 1e30,
            "recipe.training.warmup_share": 0.0,
            "recipe.training.epochs": 4,
            "recipe.training.batch_size": 2,
        },
    )

    result = one.step()

    assert re.search(r"cross_entropy became (nan|inf) at update \d+", result["failed"])
    assert "folds" not in result
    assert events(context, 32, one.order[0], 0)[-1]["status"] == "FAILED"


def test_a_score_that_is_no_number_fails_the_trial_at_its_fold(context: TrialContext) -> None:
    def nowhere(task: FoldTask, **keywords: Any) -> FoldOutcome:
        outcome = recorded_run(task, **keywords)
        return replace(outcome, validation=replace(outcome.validation, macro_recall=float("nan")))

    one = actor(replace(context, run=nowhere), 34)

    assert one.step() == {
        "failed": f"{one.order[0]}: the score is nan",
        "done": True,
        "complete": False,
    }


def test_an_override_that_fits_no_recipe_fails_the_trial(context: TrialContext) -> None:
    result = actor(context, 33, **{"recipe.training.epohcs": 3}).step()

    assert "unknown key 'recipe.training.epohcs'" in result["failed"]
    assert "did you mean 'epochs'?" in result["failed"]


def test_what_is_encoded_before_the_sweep_cannot_be_searched(tmp_path: Path) -> None:
    experiment = override_recipe(
        small.load(tmp_path), {"recipe.teacher": {"kind": "pretrained", "root": "/whisper"}}
    )

    with pytest.raises(ExperimentError, match=r"recipe\.teacher\.layers cannot be searched"):
        trial_recipe(experiment, {"recipe.teacher.layers": [1, 2]})

    changed = trial_recipe(experiment, {"recipe.teacher.training.lr": 0.01})
    assert changed.teacher is not None
    assert changed.teacher.training is not None
    assert (changed.teacher.training.lr, changed.teacher.training.epochs) == (0.01, 100)


def test_the_source_of_attention_cannot_be_searched_but_what_is_taken_from_it_can(
    tmp_path: Path,
) -> None:
    root = save_whisper(tmp_path / "whisper")
    listens = {
        "recipe.student": {"kind": "satn", "heads": 3},
        "recipe.source": {"kind": "pretrained", "root": str(root), "layers": [1]},
        "recipe.objectives.attention_transfer": 1.0,
        "recipe.attention_transfer.match": "similarity",
    }
    experiment = override_recipe(small.load(tmp_path), listens)

    with pytest.raises(ExperimentError, match=r"recipe\.source cannot be searched"):
        trial_recipe(experiment, {"recipe.source.layers": [1, 2]})

    changed = trial_recipe(experiment, {"recipe.attention_transfer.match": "l2"})
    assert changed.source == experiment.recipe.source
    assert changed.attention_transfer.match == "l2"
    # what the heads do not allow is seen before the trial trains
    with pytest.raises(ExperimentError, match="heads and the student 3"):
        trial_recipe(experiment, {"recipe.attention_transfer.match": "kl"})
