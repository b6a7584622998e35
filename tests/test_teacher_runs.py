"""The run of a fold's teacher: one, however many students learn from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import orchestrator.teacher_runs as teacher_runs
from orchestrator.errors import StoreError, TrainingError
from orchestrator.recorded import recorded_run
from orchestrator.store import Store
from orchestrator.teacher_runs import TeacherRun
from orchestrator.teachers_to_fit import TeacherFit
from orchestrator.tracking.journal import Event, read_segment
from orchestrator.tracking.tree import RunTree
from orchestrator.training.fold_run import run_fold
from orchestrator.training.task import FoldTask, Silent
from tests.training.tiny import Home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.build(tmp_path_factory.mktemp("features"))


@pytest.fixture
def tree(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunTree:
    monkeypatch.setattr(teacher_runs, "_told", set())
    return RunTree(home.store(tmp_path / "store"), "tiny", "sweep")


def events(tree: RunTree, key: str) -> list[Event]:
    return [
        event
        for name in tree.store.list(f"{tree.prefix}/{key}")
        if name.endswith(".jsonl")
        for event in read_segment(tree.store.read_bytes(name))
    ]


def student(task: FoldTask, tree: RunTree, trial: int, **how: Any) -> list[Event]:
    """Run a student as a trial does; what its journal holds."""
    journal = tree.journal(trial, task.fold, task.seed)
    recorded_run(task, store=tree.store, journal=journal, tree=tree, parent=tree.key(trial), **how)
    journal.end()
    return events(tree, tree.key(trial, task.fold, task.seed))


def linked(told: list[Event]) -> list[tuple[str, str]]:
    return [(event["role"], event["to"]) for event in told if event["event"] == "link"]


def kinds(told: list[Event]) -> list[str]:
    return [event["event"] for event in told]


def test_two_students_of_one_teacher_are_linked_to_its_one_run(home: Home, tree: RunTree) -> None:
    first, second = home.task(), home.task(objectives={"distillation": 2.0})
    links = [linked(student(task, tree, trial)) for trial, task in enumerate((first, second))]

    key = TeacherRun(first, store=tree.store, tree=tree).key
    assert links == [[("teacher", key)]] * 2
    told = events(tree, key)
    assert kinds(told) == ["start", "metrics", "metrics", "metrics", "metrics", "end"]
    assert told[0]["parent"] == tree.key()
    assert [event["step"] for event in told[1:4]] == [1, 2, 3]
    assert told[-1]["status"] == "FINISHED"
    (artifact,) = (tree.store.folder / "artifacts" / "teacher").glob("*/*")
    assert told[0]["tags"]["understudy.key.teacher"] == artifact.name
    assert told[0]["name"] == f"teacher synthetic speaker=s1m seed 0 ({artifact.name[:8]})"


def test_a_teacher_that_the_store_had_is_told_of_as_it_was_measured(
    home: Home, tree: RunTree
) -> None:
    task = home.task()
    run_fold(task, store=tree.store, reporter=Silent(), role="teacher")

    ((_, key),) = linked(student(task, tree, 0))

    assert kinds(events(tree, key)) == ["start", "metrics", "metrics", "metrics", "metrics", "end"]


def test_another_teacher_is_another_run(home: Home, tree: RunTree) -> None:
    other = home.task(teacher={**home.task().recipe.teacher.model_dump(), "dim": 16})  # type: ignore[union-attr]

    (one,), (two,) = (linked(student(t, tree, n)) for n, t in enumerate((home.task(), other)))

    assert one != two


def test_a_student_alone_has_no_teacher_to_be_linked_to(home: Home, tree: RunTree) -> None:
    told = student(home.task(objectives={"distillation": 0.0, "feature_map": 0.0}), tree, 0)

    assert linked(told) == []
    assert "understudy.key.teacher" not in told[-1]


def test_a_teacher_that_is_evaluated_too_has_its_own_fold_run(home: Home, tree: RunTree) -> None:
    task = home.task()

    links = linked(student(task, tree, 0, teacher_evaluated=True))

    assert links == [("teacher", tree.key("teacher", "synthetic", "speaker=s1m", 0))]
    assert events(tree, links[0][1]) == []


def test_a_teacher_is_told_of_as_it_is_fitted_before_the_trials(home: Home, tree: RunTree) -> None:
    task = home.task()

    TeacherFit(task, task.train, tree.store, tree)()
    inner = task.train.subset(task.train.ids[::2])
    TeacherFit(task, inner, tree.store, tree)()

    key = TeacherRun(task, store=tree.store, tree=tree).key
    told = events(tree, key)
    assert kinds(told) == ["start", "metrics", "metrics", "metrics", "metrics", "end"]
    # that of an inner speaker fold is nobody's to look at
    assert len({name.split("/")[-2] for name in tree.store.list(tree.prefix)}) == 1


def test_a_run_whose_process_died_before_its_end_is_ended_by_the_next_student(
    home: Home, tree: RunTree
) -> None:
    task = home.task()
    dead = TeacherRun(task, store=tree.store, tree=tree)
    run_fold(task, store=tree.store, reporter=Silent(), teacher=dead)
    journal = dead._begun()
    journal.flush()
    assert kinds(events(tree, dead.key))[-1] == "metrics"

    student(task, tree, 0)

    assert kinds(events(tree, dead.key))[-1] == "end"


def test_a_fit_that_fails_is_a_failed_run(
    home: Home, tree: RunTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = home.task()

    def fails(*_: Any, reporter: Any, **__: Any) -> None:
        reporter.metrics({"loss": 1.0}, step=1)
        raise RuntimeError("a worker failed")

    monkeypatch.setattr("orchestrator.teachers_to_fit.teacher_artifact", fails)
    with pytest.raises(RuntimeError):
        TeacherFit(task, task.train, tree.store, tree)()

    told = events(tree, TeacherRun(task, store=tree.store, tree=tree).key)
    assert (told[-1]["status"], told[-1]["reason"]) == ("FAILED", "RuntimeError: a worker failed")


def test_of_a_teacher_that_is_not_there_is_no_run(home: Home, tree: RunTree) -> None:
    run = TeacherRun(home.task(), store=Store(tree.store.folder / "elsewhere"), tree=tree)

    assert not run.end()
    assert events(tree, run.key) == []


def test_a_teacher_whose_student_fails_has_been_fitted_all_the_same(
    home: Home, tree: RunTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise TrainingError("a loss is nan")

    monkeypatch.setattr("orchestrator.training.student.fit_student", fails)
    with pytest.raises(TrainingError):
        student(home.task(), tree, 0)

    told = events(tree, TeacherRun(home.task(), store=tree.store, tree=tree).key)
    assert (told[-1]["event"], told[-1]["status"]) == ("end", "FINISHED")


def test_a_store_that_cannot_be_read_for_the_teachers_run_fails_no_student(
    home: Home, tree: RunTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: TeacherRun) -> bool:
        raise StoreError("no route")

    monkeypatch.setattr(TeacherRun, "_tell_the_end", fails)

    assert linked(student(home.task(), tree, 0)) == []
