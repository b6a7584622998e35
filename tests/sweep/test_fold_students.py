"""The students of a trial, found again in the store."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from orchestrator.store import Store
from orchestrator.sweep.fold_students import best_student, show_students, students_of
from orchestrator.tracking.journal import Journal, read_segment
from orchestrator.training.fold_run import run_fold
from orchestrator.training.task import Silent
from tests.training.tiny import Home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.build(tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="module")
def store(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = home.store(tmp_path_factory.mktemp("home") / "store")
    for seed in (0, 1):
        run_fold(home.task(seed=seed), store=store, reporter=Silent())
    return store


def test_students_are_found_with_what_they_scored_on_validation(home: Home, store: Store) -> None:
    tasks = [home.task(seed=seed) for seed in (0, 1)]

    found = students_of(tasks, tasks[0].recipe, store)

    assert [one.task.seed for one in found] == [0, 1]
    for one, task in zip(found, tasks, strict=True):
        again = run_fold(task, store=store, reporter=Silent())
        assert again.reused
        assert (one.artifact.key, one.epoch) == (again.artifact.key, again.epoch)
        assert one.validation.macro_recall == again.validation.macro_recall
        right = one.predictions == np.asarray(task.validation.labels)
        assert right.mean() == pytest.approx(again.validation.accuracy)


def test_a_student_that_was_removed_is_left_out(home: Home, store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.folder, tmp_path / "store")
    copy = Store(tmp_path / "store")
    tasks = [home.task(seed=seed) for seed in (0, 1)]
    gone, _ = students_of(tasks, tasks[0].recipe, copy)
    shutil.rmtree(gone.artifact.path)

    assert [one.task.seed for one in students_of(tasks, tasks[0].recipe, copy)] == [1]


def student(fold: str, seed: int, score: float) -> Any:
    task = SimpleNamespace(corpus="c", fold=fold, seed=seed)
    return SimpleNamespace(task=task, validation=SimpleNamespace(macro_recall=score))


@pytest.mark.parametrize(
    ("students", "expected"),
    [
        ([student("a", 0, 0.4), student("b", 0, 0.6)], ("b", 0)),
        # of equals the first by name, in whatever order they come
        ([student("b", 1, 0.6), student("b", 0, 0.6), student("c", 0, 0.6)], ("b", 0)),
        ([student("a", 0, 0.0)], ("a", 0)),
    ],
)
def test_the_best_is_the_best_on_its_own_validation(
    students: list[Any], expected: tuple[str, int]
) -> None:
    best = best_student(students, metric="macro_recall")

    assert best is not None
    assert (best.task.fold, best.task.seed) == expected


def test_of_no_students_none_is_best() -> None:
    assert best_student([], metric="macro_recall") is None


def test_pictures_and_tables_of_students_are_told(home: Home, store: Store, tmp_path: Path) -> None:
    tasks = [home.task(seed=seed) for seed in (0, 1)]
    journal = Journal(Store(tmp_path), prefix="journal/x", key="trial")

    show_students(journal, students_of(tasks, tasks[0].recipe, store), title="x, trial 0")
    journal.flush()

    (segment,) = (name for name in Store(tmp_path).list("journal") if name.endswith(".jsonl"))
    told = {event["name"] for event in read_segment(Store(tmp_path).read_bytes(segment))}
    assert told == {
        "curves.png",
        "validation/synthetic-confusion.png",
        "validation/synthetic-classes.csv",
        "validation/synthetic-speakers.csv",
    }
