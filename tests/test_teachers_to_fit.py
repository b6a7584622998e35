"""Which recipes ask for which teachers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiment import Experiment
from orchestrator.experiment.loading import override_recipe
from orchestrator.experiment.recipe import Recipe
from orchestrator.preparation import plan_folds, prepare, read_corpora
from orchestrator.store import Store
from orchestrator.teachers_to_fit import (
    Networks,
    asks_teacher,
    networks_of,
    networks_of_trials,
    present,
    teachers_of_trials,
)
from orchestrator.training.fold_run import run_fold
from orchestrator.training.task import FoldTask, Silent
from tests import small

CURRICULUM = "recipe.curriculum={kind: data, difficulty: %s, knowledge: %s}"
ALONE = ("recipe.objectives.distillation=0",)
CROSSED = CURRICULUM % ("teacher-loss", "cross-fitted")


def bare_tasks(experiment: Experiment) -> list[FoldTask]:
    prepared = read_corpora(experiment, Store(experiment.store))
    planned = plan_folds(experiment, prepared, protocol=experiment.protocol, seeds=[0])
    return [entry.task for entry in planned]


def tasks_of(experiment: Experiment) -> list[FoldTask]:
    return [task.with_recipe(experiment.recipe) for task in bare_tasks(experiment)]


@pytest.mark.parametrize(
    ("overrides", "teachers", "inner", "students"),
    [
        (ALONE, 0, 0, 0),
        ((), 3, 0, 0),
        (("recipe.knowledge=cross-fitted",), 3, 6, 0),
        # nobody reads the logits
        (("recipe.knowledge=cross-fitted", *ALONE), 0, 0, 0),
        ((CROSSED,), 3, 6, 0),
        ((*ALONE, CROSSED), 3, 6, 0),
        ((*ALONE, CURRICULUM % ("teacher-probability", "in-sample")), 3, 0, 0),
        ((*ALONE, CURRICULUM % ("own-loss", "cross-fitted")), 0, 0, 0),
        ((*ALONE, CURRICULUM % ("cross-validated-loss", "cross-fitted")), 0, 0, 6),
        # difficulty and logits are said by the same inner teachers
        (("recipe.knowledge=cross-fitted", CROSSED), 3, 6, 0),
    ],
)
def test_each_recipe_asks_for_its_teachers(
    tmp_path: Path, overrides: tuple[str, ...], teachers: int, inner: int, students: int
) -> None:
    experiment = small.load(tmp_path, *overrides)

    found = networks_of([(task, "student") for task in tasks_of(experiment)], store(tmp_path))

    assert found == Networks(teachers, inner, students, present=0)
    assert asks_teacher(experiment.recipe) == bool(teachers)


def test_a_teacher_that_is_evaluated_and_listened_to_is_fitted_once(tmp_path: Path) -> None:
    tasks = tasks_of(small.load(tmp_path))
    roles: list[Any] = ["teacher", "student", "student"]

    found = networks_of([(task, role) for role in roles for task in tasks], store(tmp_path))

    assert found.teachers == 3


def test_trials_share_the_teachers_of_each_kind(tmp_path: Path) -> None:
    """Two speakers a session, of which one is held: training on it too is another teacher."""
    taught = "recipe.teacher.training={epochs: 2}"
    folds = ("protocol.held_speakers=1", "corpora.0.sessions=4")
    experiment = small.load(tmp_path, taught, *folds)
    recipe = experiment.recipe
    no_meta = type(recipe.meta)
    recipes = [
        recipe,
        recipe.model_copy(update={"meta": no_meta(train_on_held=True)}),
        recipe.model_copy(update={"knowledge": "cross-fitted"}),
        recipe.alone(),
    ]
    tasks = bare_tasks(experiment)

    plain = networks_of_trials(tasks, recipes[:1], trials=9, store=store(tmp_path))
    every = networks_of_trials(tasks, recipes, trials=9, store=store(tmp_path))
    none = networks_of_trials(tasks, recipes[3:], trials=9, store=store(tmp_path))

    assert len(tasks) == 4
    assert plain == Networks(4, 0, 0, present=0)
    # 3 of 4 training speakers, each in an inner fold of its own
    assert every == Networks(4 + 4, 4 * 3, 0, present=0)
    assert none == Networks(0, 0, 0, present=0)


def test_trials_may_hold_speakers_that_the_recipe_of_the_file_trains_on(tmp_path: Path) -> None:
    folds = ("protocol.held_speakers=1", "corpora.0.sessions=4")
    held = ("recipe.meta={kind: none, train_on_held: true}", "recipe.teacher.training={epochs: 2}")
    experiment = small.load(tmp_path, *folds, *held, "recipe.knowledge=cross-fitted")
    recipe = experiment.recipe
    without = recipe.model_copy(update={"meta": type(recipe.meta)()})
    tasks = bare_tasks(experiment)

    def trials(*recipes: Recipe) -> Networks:
        return networks_of_trials(tasks, recipes, trials=9, store=store(tmp_path))

    # all 4 training speakers are dealt into 3 to 5 inner folds, 3 without the held one
    joined, apart = trials(recipe), trials(without)
    assert (joined.teachers, apart.teachers) == (4, 4)
    assert apart.inner_teachers == 4 * 3
    assert joined.inner_teachers > apart.inner_teachers
    assert trials(recipe, without).teachers == 8
    # and where each trial has a teacher of its own, the most that there may be
    assert recipe.teacher is not None
    other = recipe.model_copy(update={"teacher": recipe.teacher.model_copy(update={"dim": 4})})
    assert trials(without, other).inner_teachers == joined.inner_teachers * 9


def store(folder: Path) -> Store:
    return Store(folder / "store")


def test_a_remote_store_is_not_searched() -> None:
    class Bucket:
        uri = "s3://bucket/store"

    assert present(Bucket(), "teacher", ["0" * 64]) is None  # type: ignore[arg-type]


def test_teachers_that_are_fitted_first_are_all_that_students_ask_for(tmp_path: Path) -> None:
    crossed = ("recipe.knowledge=cross-fitted", "recipe.teacher.training={epochs: 1}")
    experiment = small.load(tmp_path, *crossed, "recipe.training.epochs=1")
    home = Store(experiment.store)
    prepare(experiment, home)
    fits = teachers_of_trials(bare_tasks(experiment), [experiment.recipe], home)

    # a teacher and two of inner folds, in each of three folds
    assert len(fits) == 9
    assert [fit() for fit in fits] == [False] * 9
    assert [fit() for fit in fits] == [True] * 9
    fitted = small.artifacts(tmp_path / "store", "teacher")
    for task in tasks_of(experiment):
        run_fold(task, store=home, reporter=Silent())
    assert small.artifacts(tmp_path / "store", "teacher") == fitted


def test_teachers_of_which_trials_have_their_own_are_fitted_in_the_trial(tmp_path: Path) -> None:
    experiment = small.load(tmp_path)
    wide = override_recipe(experiment, {"recipe.teacher.dim": 16}).recipe
    tasks = bare_tasks(experiment)

    assert teachers_of_trials(tasks, [experiment.recipe, wide], store(tmp_path)) == []
    assert len(teachers_of_trials(tasks, [experiment.recipe] * 2, store(tmp_path))) == 3
    alone = experiment.recipe.alone()
    assert teachers_of_trials(tasks, [alone], store(tmp_path)) == []
