"""Whole fold runs: sealed tests (law 1), nothing twice (law 4), the same numbers (law 5)."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.errors import TrainingError
from orchestrator.evaluation.metrics import scores
from orchestrator.features import PackedFrames
from orchestrator.preparation import PlannedFold
from orchestrator.store import Artifact, Store
from orchestrator.training.fold_run import FoldOutcome, Role, predict, run_fold
from orchestrator.training.networks import build_network
from orchestrator.training.task import FoldTask, Silent, Unlabelled
from tests.training.tiny import (
    Home,
    assert_same_tensors,
    disturbed,
    experiment,
    fold_of,
    prepared_again,
    relabelled,
    speakers_of,
    tensors,
)

NewStore = Callable[[], Store]


def run(task: FoldTask, store: Store, role: Role = "student") -> FoldOutcome:
    return run_fold(task, store=store, reporter=Silent(), role=role)


def sealed(fold: PlannedFold) -> Unlabelled:
    return Unlabelled.of_table(fold.prepared.corpus.table, fold.fold.test)


def logits_of(artifact: Artifact) -> np.ndarray:
    return np.load(artifact.path / "logits.npy")


# Law 1: the test is sealed


@pytest.mark.parametrize("change", [relabelled, disturbed])
def test_what_test_speakers_feel_and_say_changes_no_student(
    home: Home, new_store: NewStore, change: Callable[..., Any]
) -> None:
    """Other labels, then other sound as well: same key, same weights, same validation."""
    fold = home.fold()
    table = home.prepared.corpus.table
    stores = new_store(), new_store()
    corpus = change(home.prepared.corpus, speakers_of(table, fold.fold.test))
    other = fold_of(experiment(), prepared_again(corpus, experiment(), stores[1]))
    before = dict(zip(table["id"], table["emotion"], strict=True))
    after = dict(zip(corpus.table["id"], corpus.table["emotion"], strict=True))
    assert all(before[name] != after[name] for name in fold.fold.test)

    if change is relabelled:
        assert other.task == fold.task
    one, two = (run(it.task, store) for it, store in zip((fold, other), stores, strict=True))

    assert not one.reused
    assert not two.reused
    assert one.artifact.key == two.artifact.key
    assert_same_tensors(tensors(one.artifact), tensors(two.artifact))
    assert (one.epoch, one.validation.macro_recall) == (two.epoch, two.validation.macro_recall)
    for name in ("validation_logits.npy", "history.json", "facts.json"):
        assert (one.artifact.path / name).read_bytes() == (two.artifact.path / name).read_bytes()


@pytest.mark.parametrize("name", ["speaker=s1m", "speaker=s4w"])
def test_a_task_as_it_travels_holds_nothing_of_the_test_set(home: Home, name: str) -> None:
    """Must show 6: what a fold run cannot reach it cannot read."""
    fold = home.fold(name)
    table = home.prepared.corpus.table.set_index("id")
    travels = pickle.dumps(fold.task)
    for utterance in fold.fold.test:
        assert utterance.encode() not in travels
        assert table.loc[utterance, "content"].encode() not in travels
    for utterance in fold.fold.train + fold.fold.validation:
        assert utterance.encode() in travels

    assert len(fold.task.train.labels) == len(fold.fold.train)
    assert len(fold.task.validation.labels) == len(fold.fold.validation)


def test_training_never_hears_a_test_utterance(
    home: Home, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = home.fold(knowledge="cross-fitted", feature_map__match="tokens")
    gathered: set[str] = set()
    real = PackedFrames.gather

    def gather(self: PackedFrames, ids: Any) -> Any:
        gathered.update(ids)
        return real(self, ids)

    monkeypatch.setattr(PackedFrames, "gather", gather)
    outcome = run(fold.task, store)

    assert gathered == set(fold.fold.train + fold.fold.validation)
    predict(fold.task, sealed(fold), store=store, trained=outcome.artifact)
    assert gathered == set(home.prepared.corpus.table["id"])


def test_the_key_of_predictions_holds_no_labels(home: Home, store: Store) -> None:
    fold = home.fold()
    trained = run(fold.task, store).artifact
    one = predict(fold.task, sealed(fold), store=store, trained=trained)
    other = relabelled(
        home.prepared.corpus, speakers_of(fold.prepared.corpus.table, fold.fold.test)
    )
    again = predict(
        fold.task,
        Unlabelled.of_table(other.table, fold.fold.test),
        store=store,
        trained=trained,
    )
    inputs = json.loads((one.path / "inputs.json").read_text())["inputs"]

    assert (again.key, again.reused) == (one.key, True)
    assert inputs.keys() == {"trained", "utterances"}
    assert inputs["utterances"].keys() == {"n", "digest"}
    assert inputs["trained"] == trained.key


# What comes out


def test_an_outcome_is_what_lies_in_the_store(home: Home, store: Store) -> None:
    task = home.task()
    outcome = run(task, store)
    logits = np.load(outcome.artifact.path / "validation_logits.npy")
    by_hand = scores(np.asarray(task.validation.labels), logits.argmax(1), classes=4)
    network = build_network(task.recipe.student, features=task.features, classes=4)

    assert outcome.validation.macro_recall == by_hand.macro_recall
    assert outcome.validation.n == len(task.validation.ids) == 8
    assert 1 <= outcome.epoch <= 3
    assert outcome.parameters == sum(p.numel() for p in network.parameters())
    assert outcome.seconds > 0


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_predictions_are_the_kept_networks(home: Home, store: Store, role: Role) -> None:
    """Asked about validation, it says what it said when its epoch was chosen; else, by hand."""
    fold = home.fold()
    outcome = run(fold.task, store, role)
    heard = predict(
        fold.task, fold.task.validation, store=store, trained=outcome.artifact, role=role
    )
    np.testing.assert_array_equal(
        logits_of(heard), np.load(outcome.artifact.path / "validation_logits.npy")
    )

    kept = tensors(outcome.artifact)
    section = fold.task.recipe.student if role == "student" else fold.task.recipe.teacher
    assert section is not None
    network = build_network(section, features=fold.task.features, classes=4)
    weights = {k.removeprefix("network."): v for k, v in kept.items() if k.startswith("network.")}
    network.load_state_dict(weights)
    test = predict(fold.task, sealed(fold), store=store, trained=outcome.artifact, role=role)
    pack = PackedFrames.open(store, fold.task.frames)
    for row, name in zip(logits_of(test), sealed(fold).ids, strict=True):
        frames = (torch.tensor(pack.gather([name])[0]) - kept["mean"]) / kept["std"]
        alone = network.eval()(frames[None], torch.tensor([len(frames)])).logits[0]
        np.testing.assert_allclose(row, alone.detach(), atol=1e-4)


class Told:
    """A reporter that counts."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        assert {"train/cross_entropy", "validation/macro_recall"} <= values.keys()

        self.steps.append(step)


def test_epochs_are_reported_as_they_end_and_not_again(home: Home, store: Store) -> None:
    first, second = Told(), Told()
    run_fold(home.task(), store=store, reporter=first)
    run_fold(home.task(), store=store, reporter=second)

    assert first.steps == [1, 2, 3]
    assert second.steps == []


def test_a_failed_fold_leaves_nothing_that_could_be_reused(home: Home, store: Store) -> None:
    """Law 3."""
    task = home.task(training__lr=1e30, training__gradient_clip=None, teacher=None, objectives={})
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"became (nan|inf)"):
            run(task, store)

    assert not (Path(store.uri) / "artifacts" / "student").exists()


# Law 4: nothing twice


def test_a_second_run_reuses_everything_bitwise(home: Home, store: Store) -> None:
    fold = home.fold()
    first = run(fold.task, store)
    before = predict(fold.task, sealed(fold), store=store, trained=first.artifact)
    second = run(fold.task, store)
    after = predict(fold.task, sealed(fold), store=store, trained=second.artifact)

    assert (first.reused, second.reused) == (False, True)
    assert (before.reused, after.reused) == (False, True)
    assert first.artifact.path == second.artifact.path
    np.testing.assert_array_equal(logits_of(before), logits_of(after))
    assert run(fold.task, store, "teacher").reused


def test_an_evaluation_of_other_utterances_only_scores(home: Home, store: Store) -> None:
    fold = home.fold()
    trained = run(fold.task, store).artifact
    before = {path.name for path in trained.path.parent.parent.iterdir()}
    one = predict(fold.task, sealed(fold), store=store, trained=trained)
    other = predict(fold.task, fold.task.train, store=store, trained=trained)

    assert one.key != other.key
    assert {path.name for path in trained.path.parent.parent.iterdir()} == before
    assert run(fold.task, store).reused


# Law 5: the same numbers


def test_empty_stores_and_the_same_seed_give_the_same_bytes(
    home: Home, new_store: NewStore
) -> None:
    """Also when another fold ran before in the process, and whatever others have drawn."""
    fold = home.fold(training__augment__noise=0.1, student__dropout=0.2)
    first = new_store()
    one = run(fold.task, first)
    second = new_store()
    run(home.task("speaker=s3w", seed=5), second)
    torch.manual_seed(123)
    torch.rand(7)
    two = run(fold.task, second)

    assert not two.reused
    assert one.artifact.key == two.artifact.key
    for file in sorted(one.artifact.path.iterdir()):
        assert file.read_bytes() == (two.artifact.path / file.name).read_bytes(), file.name
    predictions = [
        logits_of(predict(fold.task, sealed(fold), store=store, trained=outcome.artifact))
        for store, outcome in ((first, one), (second, two))
    ]
    np.testing.assert_array_equal(*predictions)


def test_a_teacher_from_the_store_gives_the_student_that_a_new_one_gives(
    home: Home, new_store: NewStore
) -> None:
    """A crash in between costs time and no digit."""
    task = home.task(feature_map__match="tokens", student__dropout=0.2)
    whole, broken = new_store(), new_store()
    one = run(task, whole)
    run(task, broken, "teacher")
    two = run(task, broken)

    assert_same_tensors(tensors(one.artifact), tensors(two.artifact))


def test_another_seed_gives_another_student(home: Home, store: Store) -> None:
    one, two = (run(home.task(seed=seed), store) for seed in (0, 1))

    assert one.artifact.key != two.artifact.key
    here, there = tensors(one.artifact), tensors(two.artifact)
    assert not torch.equal(here["network.head.weight"], there["network.head.weight"])


def test_a_fold_run_leaves_no_trace_in_the_process(home: Home, store: Store) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    run(home.task(), store)

    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()
