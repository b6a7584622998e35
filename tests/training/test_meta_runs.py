"""Fold runs with meta-learning: what they log, resume from, and whose labels they learn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from orchestrator.store import Store
from orchestrator.training.files import HISTORY, read_json
from orchestrator.training.fold_run import run_fold
from orchestrator.training.task import Silent
from tests.training.tiny import (
    RICH,
    Home,
    assert_same_tensors,
    experiment,
    fold_of,
    prepared_again,
    relabelled,
    tensors,
)

NewStore = Callable[[], Store]
VALUES = {
    "temperature/student",
    "temperature/teacher",
    "weight/distillation",
    "weight/feature_map",
    "meta/held_cross_entropy",
}
BOTH = [{"kind": "bilevel", "interval": 2}, {"kind": "learning-to-teach", "interval": 2}]


class Rows:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, float]] = []

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        self.rows.append(values)


def test_learned_values_are_logged_each_epoch(home: Home, new_store: NewStore) -> None:
    task, told = home.rich_task(meta=BOTH[0]), Rows()
    artifact = run_fold(task, store=new_store(), reporter=told).artifact

    assert len(told.rows) == 3
    for row in told.rows:
        assert VALUES <= row.keys()
        assert 1.0 < row["temperature/student"] < 10.0
        assert 0.05 < row["weight/distillation"] < 5.0
    assert len({row["temperature/student"] for row in told.rows}) == 3
    assert VALUES <= read_json(artifact.path / HISTORY)[0].keys()


@pytest.mark.parametrize("meta", BOTH)
def test_a_fold_run_goes_on_from_a_checkpoint_bit_by_bit(
    home: Home, new_store: NewStore, meta: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = dataclasses.replace(
        home.rich_task(meta=meta, student__dropout=0.2), checkpoint_minutes=0.0
    )
    whole = tensors(run_fold(task, store=new_store(), reporter=Silent()).artifact)
    store = new_store()

    class Killed(Silent):
        def metrics(self, values: Mapping[str, float], *, step: int) -> None:
            if step == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_fold(task, store=store, reporter=Killed())
    told = Rows()
    again = run_fold(task, store=store, reporter=told)

    assert len(told.rows) == 1
    assert_same_tensors(tensors(again.artifact), whole)


@pytest.mark.parametrize("meta", [{"kind": "none"}, *BOTH])
def test_held_labels_reach_the_student_through_meta_learning_alone(
    home: Home, new_store: NewStore, meta: dict[str, Any]
) -> None:
    wanted = experiment({"recipe.meta": meta}, **RICH)
    task = fold_of(wanted, home.crowded).task
    assert task.held is not None
    found = []
    for corpus in (home.prepared.corpus, relabelled(home.prepared.corpus, set(task.held.speakers))):
        store = new_store()
        other = fold_of(wanted, prepared_again(corpus, wanted, store)).task
        assert other.held is not None
        assert (other.held.labels == task.held.labels) == (not found)
        found.append(run_fold(other, store=store, reporter=Silent()).artifact)
    one, two = found

    assert (one.key == two.key) == (meta["kind"] == "none")
    weights = tensors(one), tensors(two)
    same = all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert same == (meta["kind"] == "none")


@pytest.mark.parametrize("meta", BOTH)
def test_test_labels_reach_nobody(home: Home, new_store: NewStore, meta: dict[str, Any]) -> None:
    wanted = experiment(
        {"recipe.meta": meta, "recipe.curriculum": {"kind": "data", "difficulty": "teacher-loss"}},
        **RICH,
    )
    found = []
    for corpus in (home.prepared.corpus, relabelled(home.prepared.corpus, {"s1m"})):
        store = new_store()
        task = fold_of(wanted, prepared_again(corpus, wanted, store)).task
        found.append(run_fold(task, store=store, reporter=Silent()).artifact)

    assert found[0].key == found[1].key
    assert_same_tensors(tensors(found[0]), tensors(found[1]))
