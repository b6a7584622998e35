"""The benchmark of kills: what it calls a fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.kills import differing, failures, trained_to_the_end, write
from orchestrator.experiment import load_experiment
from orchestrator.store import Store
from orchestrator.tracking.tree import RunTree

WELL: dict[str, Any] = {
    "ended_once": True,
    "finished": True,
    "rewritten": 0,
    "trained_twice": 0,
    "not_bitwise": [],
    "differs_from_undisturbed": [],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ended_once", False),
        ("finished", False),
        ("rewritten", 1),
        ("trained_twice", 2),
        ("not_bitwise", ["artifacts/student/ab/abc/student.safetensors"]),
        ("differs_from_undisturbed", ["trial 3: values: [0.5] and [0.6]"]),
    ],
)
def test_each_fault_is_a_failure(name: str, value: object) -> None:
    assert failures(WELL) == []
    assert failures(WELL | {name: value}) == [name]


def test_at_several_at_once_there_is_no_undisturbed_sweep_to_compare_with() -> None:
    result = {name: value for name, value in WELL.items() if name != "differs_from_undisturbed"}

    assert failures(result) == []


def test_students_differ_by_one_byte_or_by_being_away(tmp_path: Path) -> None:
    stores = []
    for name, last in (("one", b"1"), ("other", b"2")):
        folder = tmp_path / name / "artifacts" / "student"
        for key, data in (("aa/same", b"0"), ("bb/changed", last)):
            (folder / key).mkdir(parents=True)
            (folder / key / "student.safetensors").write_bytes(data)
        stores.append(Store(tmp_path / name))
    away = tmp_path / "other" / "artifacts" / "student" / "cc" / "away"
    away.mkdir(parents=True)
    (away / "facts.json").write_text("{}")

    assert differing(stores[0], stores[0]) == []
    assert differing(*stores) == [
        "artifacts/student/bb/changed/student.safetensors",
        "artifacts/student/cc/away/facts.json",
    ]


def test_a_fold_run_that_tells_its_last_epoch_twice_was_trained_twice(tmp_path: Path) -> None:
    experiment = load_experiment(write(tmp_path / "home", trials=2, concurrency=1))
    assert experiment.search is not None
    assert (experiment.search.trials, experiment.resources.concurrent) == (2, 1)
    tree = RunTree(Store(experiment.store), experiment.name, "sweep")
    for number, times in ((0, 1), (1, 2)):
        for _ in range(times):
            journal = tree.journal(number, "synthetic/session=1", 0)
            for epoch in range(1, experiment.recipe.training.epochs + 1):
                journal.metrics({"learning_rate": 0.1}, step=epoch)
            journal.flush()
    trials = [{"number": number, "folds": {"synthetic/session=1": 0.5}} for number in (0, 1)]

    assert trained_to_the_end(experiment, trials) == [1, 2]
