"""Evaluations in which each fold has chosen a recipe of its own, without Ray."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ExperimentError
from orchestrator.evaluation.evaluate import _root
from orchestrator.evaluation.result import multiply_accumulates_of, result_of
from orchestrator.evaluation.sealed import Job, evaluation_jobs, system_recipes, unseal
from orchestrator.evaluation.workers import FoldWorker
from orchestrator.experiment import Experiment
from orchestrator.experiment.evaluate import Selected
from orchestrator.preparation import PlannedFold, plan_folds
from orchestrator.store import Store
from orchestrator.tracking.tree import RunTree
from orchestrator.training.inputs import plain
from orchestrator.training.student import student_inputs
from tests.training.tiny import Home, experiment

ONE, TWO = "synthetic/speaker=s1m", "synthetic/speaker=s2w"
LR = "recipe.training.lr"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.build(tmp_path_factory.mktemp("features"))


def planned(wanted: Experiment, home: Home) -> list[PlannedFold]:
    return plan_folds(
        wanted,
        [home.prepared],
        protocol=wanted.protocol,
        seeds=wanted.evaluate.seeds,
        only=["speaker=s1m", "speaker=s2w"],
    )


def choosing(
    overrides: Mapping[str, Mapping[str, Any]], *, how: str = "per-fold", **sections: Any
) -> Experiment:
    """The tiny experiment whose folds have chosen these changes, by place."""
    wanted = experiment(**{"evaluate": {"seeds": [0, 1]}, **sections})
    selected = Selected.model_validate(
        {
            "sweep": "s",
            "trial": None,
            "protocol": wanted.protocol.model_dump(mode="json"),
            "seeds": [0],
            "fingerprints": {"synthetic": "f"},
            "choices": {
                place: {"trial": number, "overrides": changes, "value": 0.5}
                for number, (place, changes) in enumerate(overrides.items())
            },
            "sampler": "random",
            "pruner": "none",
        }
    )
    evaluate = wanted.evaluate.model_copy(update={"selection": how})
    search = experiment(search={"space": "distillation"}).search
    return wanted.model_copy(update={"selected": selected, "evaluate": evaluate, "search": search})


def jobs_of(wanted: Experiment, home: Home) -> dict[tuple[str | int, ...], Job]:
    return {job.place: job for job in evaluation_jobs(wanted, planned(wanted, home))}


def test_every_seed_and_system_of_a_fold_has_the_recipe_that_the_fold_chose(home: Home) -> None:
    wanted = choosing({ONE: {LR: 0.25, "recipe.training.epochs": 5}, TWO: {LR: 0.5}})
    jobs = jobs_of(wanted, home)

    assert len(jobs) == 3 * 2 * 2
    for (system, _, fold, _), job in jobs.items():
        recipe = job.task.recipe
        assert recipe.training.lr == (0.25 if fold == "speaker=s1m" else 0.5)
        assert recipe.training.epochs == (5 if fold == "speaker=s1m" else 3)
        assert recipe.objectives.distillation == (0.0 if system == "student-alone" else 0.5)
    # the same as if the recipe had been written so
    written = experiment({LR: 0.5}, evaluate={"seeds": [0, 1]})
    for place, job in jobs_of(written, home).items():
        if place[2] == "speaker=s2w":
            assert jobs[place] == job
            assert student_inputs(jobs[place].task, None) == student_inputs(job.task, None)


def test_an_ablation_changes_what_the_fold_chose(home: Home) -> None:
    ablations = {"softer": {"recipe.temperature.value": 9.0}, "lr": {LR: 1.0}}
    wanted = choosing(
        {ONE: {LR: 0.25}, TWO: {LR: 0.5}}, evaluate={"seeds": [0], "ablations": ablations}
    )
    jobs = jobs_of(wanted, home)

    for fold, lr in (("speaker=s1m", 0.25), ("speaker=s2w", 0.5)):
        softer = jobs["softer", "synthetic", fold, 0].task.recipe
        assert softer.training.lr == lr
        assert softer.temperature.model_dump()["value"] == 9.0
        assert jobs["lr", "synthetic", fold, 0].task.recipe.training.lr == 1.0


def test_a_fold_without_a_choice_is_refused(home: Home) -> None:
    with pytest.raises(ExperimentError, match=rf"no trial was chosen for {TWO}: .* ran {ONE};"):
        jobs_of(choosing({ONE: {LR: 0.25}}), home)


def test_a_fold_that_chose_to_learn_from_nobody_has_a_distilled_student_all_the_same(
    home: Home,
) -> None:
    """Else the mean over folds would be over other folds than that of the student alone."""
    alone = {"recipe.objectives.distillation": 0.0, "recipe.objectives.feature_map": 0.0, LR: 0.25}
    for places in ((ONE, TWO), (TWO, ONE)):
        jobs = jobs_of(choosing(dict(zip(places, (alone, {LR: 0.5}), strict=True))), home)
        fold = places[0].partition("/")[2]
        assert list(dict.fromkeys(place[0] for place in jobs)) == [
            "teacher",
            "student-alone",
            "distilled",
        ]
        assert len(jobs) == 12
        distilled = jobs["distilled", "synthetic", fold, 0].task.recipe
        assert (distilled.learns_from_another, distilled.training.lr) == (False, 0.25)


def test_a_teacher_that_some_folds_have_not_is_refused(home: Home) -> None:
    none = {
        "recipe.teacher": None,
        "recipe.objectives.distillation": 0.0,
        "recipe.objectives.feature_map": 0.0,
    }
    wanted = choosing({ONE: {LR: 0.25}, TWO: none})
    with pytest.raises(ExperimentError, match=rf"chosen for {TWO} has none.*take teacher out"):
        jobs_of(wanted, home)
    evaluate = {"seeds": [0], "systems": ["student-alone", "distilled"]}
    assert len(jobs_of(choosing({ONE: {LR: 0.25}, TWO: none}, evaluate=evaluate), home)) == 4


def test_a_result_by_hand(home: Home, tmp_path: Path) -> None:
    """Students of two sizes: the costs are of the larger, the choices stand in the result."""
    wider = {"recipe.student.mlp_dim": 64}
    wanted = choosing(
        {ONE: {LR: 0.25}, TWO: wider}, evaluate={"seeds": [0], "systems": ["student-alone"]}
    )
    store = home.store(tmp_path / "store")
    entries = planned(wanted, home)
    worker = FoldWorker(store, RunTree(Store(tmp_path / "runs"), "tiny", "evaluation"))
    done = []
    for entry, job in zip(entries, evaluation_jobs(wanted, entries), strict=True):
        scored = worker.run(job)
        done.append((scored, unseal(scored, entry)))
    macs = multiply_accumulates_of(wanted, entries, store)
    result = result_of(
        wanted, done, entries, {"synthetic": "p"}, {"synthetic": "f"}, code={}, macs=macs
    )

    def of(changes: Mapping[str, Any]) -> int:
        one = experiment(changes, evaluate={"systems": ["student-alone"]})
        return multiply_accumulates_of(one, entries, store)["synthetic", "student-alone"]

    assert of(wider) > of({})
    assert macs == {("synthetic", "student-alone"): of(wider)}
    sizes = [scored.parameters for scored, _ in done]
    assert sizes[1] > sizes[0]
    (entry,) = result["summary"]
    assert (entry["macs"], entry["parameters"]) == (of(wider), sizes[1])
    assert result["selection"] == "per-fold"
    assert result["selected"]["choices"] == {
        ONE: {"trial": 0, "overrides": {LR: 0.25}, "value": 0.5},
        TWO: {"trial": 1, "overrides": wider, "value": 0.5},
    }
    assert result["seen_by_sweep"] == {"synthetic": None}  # another fingerprint


def test_the_run_tree_of_another_choice_is_another() -> None:
    first = choosing({ONE: {LR: 0.25}, TWO: {LR: 0.5}})
    keys = {
        _root(one, {"synthetic": "f"})
        for one in (
            first,
            choosing({ONE: {LR: 0.5}, TWO: {LR: 0.5}}),
            choosing({ONE: {LR: 0.25}, TWO: {LR: 0.5}}, how="nested"),
            first.model_copy(update={"selected": None}),
        )
    }
    assert len(keys) == 4
    assert _root(choosing({ONE: {LR: 0.25}, TWO: {LR: 0.5}}), {"synthetic": "f"}) in keys


def test_without_choices_the_run_tree_and_what_was_selected_are_as_they_were() -> None:
    """Written down before folds could choose: an evaluation goes on in the runs that it began."""
    plainly = experiment()
    assert _root(plainly, {"synthetic": "f"}) == "evaluation-37460c9d2a4d"
    selected = choosing({}).selected
    assert selected is not None
    before = selected.model_copy(update={"sampler": "", "pruner": ""})
    assert set(plain(before)) == {
        "sweep",
        "trial",
        "protocol",
        "protocols",
        "seeds",
        "fingerprints",
    }
    one = plainly.model_copy(update={"selected": before})
    assert system_recipes(one) == system_recipes(plainly)
    assert _root(one, {"synthetic": "f"}) == _root(plainly, {"synthetic": "f"})
