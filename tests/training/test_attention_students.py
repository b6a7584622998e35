"""Whole fold runs of students that learn to attend, or begin, as a source does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import orchestrator.training.student as student_module
from orchestrator.errors import TrainingError
from orchestrator.features import PackedFrames
from orchestrator.store import Artifact, Store
from orchestrator.training.files import HISTORY, read_json
from orchestrator.training.fold_run import predict, run_fold
from orchestrator.training.inputs import FrameSource
from orchestrator.training.loop import Fitted
from orchestrator.training.source_attention import (
    source_attention,
    source_recogniser,
    transfer_loss,
)
from orchestrator.training.student import new_student, student_inputs
from orchestrator.training.task import FoldTask, Silent, Unlabelled
from tests.training.attending import AttendingHome
from tests.training.test_resume import KilledError, KillsAt, assert_same_files
from tests.training.tiny import assert_same_tensors, disturbed, tensors

NewStore = Callable[[], Store]
MATCHES: dict[str, dict[str, Any]] = {
    "kl": {},
    "kl and values": {"attention_transfer__values": True},
    "l2": {"attention_transfer__match": "l2"},
    "relations": {
        "attention_transfer__match": "relations",
        "attention_transfer__relation_heads": 4,
    },
    "similarity": {"attention_transfer__match": "similarity"},
}
CONV: dict[str, Any] = {
    "kind": "conv-transformer",
    "channels": [8, 8, 8],
    "dim": 8,
    "depth": 1,
    "heads": 2,
    "mlp_dim": 8,
}


def from_source(attending: AttendingHome, kind: str) -> dict[str, Any]:
    """The part of a recipe that names the source; the recogniser is there by default."""
    return {"source": attending.encoder} if kind == "encoder" else {}


@pytest.fixture
def new_store(attending: AttendingHome, tmp_path: Path) -> NewStore:
    number = count()
    return lambda: attending.store(tmp_path / f"store{next(number)}")


@pytest.fixture
def store(new_store: NewStore) -> Store:
    return new_store()


def run(task: FoldTask, store: Store) -> Artifact:
    return run_fold(task, store=store, reporter=Silent()).artifact


def history(artifact: Artifact) -> list[dict[str, float]]:
    found: list[dict[str, float]] = read_json(artifact.path / HISTORY)
    assert np.isfinite([value for row in found for value in row.values()]).all()
    return found


def terms(artifact: Artifact) -> list[set[str]]:
    """Names of the terms of each epoch."""
    return [
        {name.removeprefix("train/") for name in row if name.startswith("train/")}
        for row in history(artifact)
    ]


def transfer(artifact: Artifact, name: str = "attention_transfer") -> list[float]:
    """The weighted distance to the source's attention, by epoch."""
    return [row[f"train/{name}"] for row in history(artifact)]


# What is learned


@pytest.mark.parametrize("kind", ["recogniser", "encoder"])
@pytest.mark.parametrize("match", MATCHES.values(), ids=MATCHES)
def test_a_student_comes_to_attend_as_its_source(
    attending: AttendingHome, store: Store, kind: str, match: dict[str, Any]
) -> None:
    recipe = match | from_source(attending, kind)
    outcome = run_fold(attending.task(**recipe), store=store, reporter=Silent())
    weak = run(attending.task(**recipe, objectives__attention_transfer=1e-3), store)
    found = transfer(outcome.artifact)

    assert terms(outcome.artifact) == [{"cross_entropy", "attention_transfer"}] * 4
    assert found[-1] < found[0]
    # by what it is taught, not by learning the emotions
    assert found[-1] < 0.95 * transfer(weak)[-1] / 1e-3
    assert np.isfinite(np.load(outcome.artifact.path / "validation_logits.npy")).all()


@pytest.mark.parametrize("kind", ["recogniser", "encoder"])
def test_the_weight_is_a_factor(attending: AttendingHome, store: Store, kind: str) -> None:
    recipe = from_source(attending, kind)
    # without steps to speak of
    recipe |= {"training__lr": 1e-12, "training__epochs": 1}
    one = transfer(run(attending.task(**recipe), store))
    three = transfer(run(attending.task(**recipe, objectives__attention_transfer=3.0), store))

    assert three == pytest.approx([3 * value for value in one], rel=1e-5)


STUDENTS: dict[str, dict[str, Any]] = {
    "two layers": {"student__depth": 2, "attention_transfer__pairs": [[1, 2], [-1, 1]]},
    "segments": {"student__segment_seconds": 0.3, "training__augment__time_stretch": 0.1},
    "crops": {"training__augment__crop_seconds": 0.2, "training__average_decay": 0.9},
    "another kind": {"student": CONV},
    "two layers of another kind": {
        "student": {**CONV, "depth": 2},
        "attention_transfer__pairs": [[1, 2], [-1, 1]],
        "training__augment__crop_seconds": 0.2,
    },
}


@pytest.mark.parametrize("kind", ["recogniser", "encoder"])
@pytest.mark.parametrize("recipe", STUDENTS.values(), ids=STUDENTS)
def test_students_and_what_they_hear_may_differ(
    attending: AttendingHome, store: Store, kind: str, recipe: dict[str, Any]
) -> None:
    artifact = run(attending.task(**recipe, **from_source(attending, kind)), store)

    assert transfer(artifact)[-1] < transfer(artifact)[0]


def test_an_utterance_longer_than_a_segment_is_scored_in_segments(
    attending: AttendingHome, store: Store
) -> None:
    """Only training needs attention, and there it is cropped."""
    task = attending.task(student__segment_seconds=0.3)
    artifact = run(task, store)
    table = attending.prepared.corpus.table
    sealed = Unlabelled.of_table(table, list(table["id"][table["speaker"] == "s1m"]))
    logits = np.load(predict(task, sealed, store=store, trained=artifact).path / "logits.npy")

    assert table["duration"].min() > 0.3
    assert logits.shape == (4, 4)


# From what it begins


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """The weights that every fit of a student begins with."""
    found: list[dict[str, Tensor]] = []
    real = student_module.fit

    def fit(network: nn.Module, **given: Any) -> Fitted:
        found.append({name: value.clone() for name, value in network.state_dict().items()})
        return real(network, **given)

    monkeypatch.setattr(student_module, "fit", fit)
    return found


def test_students_of_a_fold_and_seed_begin_alike_whatever_they_learn_from(
    attending: AttendingHome, store: Store, starts: list[dict[str, Tensor]]
) -> None:
    task = attending.task()
    for one in (
        task,
        dataclasses.replace(task, recipe=task.recipe.alone()),
        attending.task(source=attending.encoder),
        attending.task(attention_transfer__match="l2"),
        attending.task(seed=1),
        attending.task("speaker=s1w"),
    ):
        run(one, store)

    for same in starts[1:4]:
        assert_same_tensors(same, starts[0])
    for other in starts[4:]:
        assert not torch.equal(other["head.weight"], starts[0]["head.weight"])


def test_one_that_begins_as_the_recogniser_has_its_weights_and_its_own_head(
    attending: AttendingHome, store: Store, starts: list[dict[str, Tensor]]
) -> None:
    task = attending.task(initialise="source", objectives__attention_transfer=0.0)
    random = attending.task().with_recipe(task.recipe.alone())
    run(task, store)
    run(random, store)
    begun, fresh = starts
    heard = source_recogniser(task, store).state_dict()
    encoder = {name: value for name, value in heard.items() if name.startswith("encoder.")}

    assert_same_tensors({n: v for n, v in begun.items() if n.startswith("encoder.")}, encoder)
    others = [name for name in begun if not name.startswith("encoder.")]
    assert {name.split(".")[0] for name in others} == {"pooling", "head"}
    for name in others:
        assert torch.equal(begun[name], fresh[name]), name
    assert not torch.equal(begun["encoder.tcn.enter.weight"], fresh["encoder.tcn.enter.weight"])


def test_beginning_as_the_source_moves_no_other_draw(
    attending: AttendingHome, store: Store
) -> None:
    """Loading the recogniser draws weights that are thrown away."""
    drawn = []
    for initialise in ("random", "source"):
        new_student(attending.task(initialise=initialise), store)
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_it_may_begin_as_the_source_and_learn_from_it_too(
    attending: AttendingHome, store: Store
) -> None:
    both = run(attending.task(initialise="source"), store)
    alone = run(attending.task(initialise="source", objectives__attention_transfer=0.0), store)
    taught = run(attending.task(), store)

    assert terms(alone) == [{"cross_entropy"}] * 4
    assert transfer(both)[0] < transfer(taught)[0]
    assert len({artifact.key for artifact in (both, alone, taught)}) == 3


# With what else


@pytest.mark.parametrize("kind", ["recogniser", "encoder"])
def test_speech_without_labels_teaches_attention_alone(
    attending: AttendingHome, store: Store, kind: str
) -> None:
    """There is no teacher: nothing else can be learned from it."""
    recipe = from_source(attending, kind)
    mixed = run(
        attending.task(**recipe, unlabelled={"kind": "mixed", "batch_size": 4, "weight": 0.5}),
        store,
    )
    first = run(attending.task(**recipe, unlabelled={"kind": "first", "epochs": 2}), store)
    heard = transfer(mixed, "unlabelled_attention_transfer")

    assert (
        terms(mixed)
        == [{"cross_entropy", "attention_transfer", "unlabelled_attention_transfer"}] * 4
    )
    assert heard[-1] < heard[0]
    assert terms(first) == [
        *[{"attention_transfer"}] * 2,
        *[{"cross_entropy", "attention_transfer"}] * 4,
    ]


@pytest.mark.parametrize("kind", ["recogniser", "encoder"])
def test_speech_without_labels_is_compared_with_what_the_source_heard_of_it(
    attending: AttendingHome, store: Store, kind: str
) -> None:
    # without steps to speak of; sixteen utterances, each drawn once
    still: dict[str, Any] = {"training__lr": 1e-12, "unlabelled": {"kind": "first", "epochs": 1}}
    task = attending.task(**from_source(attending, kind), **still)
    assert task.unlabelled is not None
    (first, *_) = transfer(run(task, store))
    speech = task.unlabelled
    frames = FrameSource(task, PackedFrames.open(store, task.frames), task.train)
    data = frames.unlabelled(speech, store, augment=task.recipe.student_augment)
    batch = data.batch(torch.arange(len(data)))
    attention = source_attention(task, store, speech.utterances, attended=speech.attended)
    heard = new_student(task, store)(*batch.inputs)
    each = transfer_loss(task, heard, batch, attention)

    assert each.shape == (16,)
    assert first == pytest.approx(float(each.detach().mean()), rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "gradient"),
    [("recogniser", "exact"), ("encoder", "exact"), ("recogniser", "finite-difference")],
)
def test_its_weight_is_learned_from_the_held_speakers(
    attending: AttendingHome, store: Store, kind: str, gradient: str
) -> None:
    recipe = from_source(attending, kind)
    meta = {
        "kind": "bilevel",
        "learn": ["weights"],
        "interval": 1,
        "lr": 0.1,
        "gradient": gradient,
    }
    rows = history(run(attending.task(**recipe, meta=meta), store))
    weights = [row["weight/attention_transfer"] for row in rows]

    assert len(set(weights)) == len(rows) == 4
    assert all(0.1 <= weight <= 10.0 for weight in weights)
    assert all(row["meta/held_cross_entropy"] > 0 for row in rows)
    assert all(row["train/attention_transfer"] > 0 for row in rows)


def test_a_teacher_may_teach_beside_the_source(attending: AttendingHome, store: Store) -> None:
    teacher = {
        "kind": "vertical-vit",
        "dim": 8,
        "depth": 1,
        "heads": 1,
        "head_dim": 8,
        "mlp_dim": 8,
        "patch_frames": 8,
    }
    found = run(
        attending.task(teacher=teacher, objectives__distillation=0.5, objectives__feature_map=0.5),
        store,
    )

    assert (
        terms(found) == [{"cross_entropy", "attention_transfer", "distillation", "feature_map"}] * 4
    )


# The same numbers again (law 5)

BEGINS: dict[str, Any] = {"initialise": "source", "objectives__attention_transfer": 0.0}
LEARNS: dict[str, Any] = {
    "meta": {"kind": "bilevel", "learn": ["weights"], "interval": 1, "lr": 0.1},
    "unlabelled": {"kind": "mixed", "batch_size": 4},
}


@pytest.mark.parametrize(
    ("kind", "recipe"),
    [
        ("recogniser", {}),
        ("encoder", {"training__augment__crop_seconds": 0.3}),
        ("recogniser", BEGINS),
        ("recogniser", LEARNS),
        ("encoder", LEARNS),
    ],
)
def test_a_student_that_was_killed_ends_bitwise_as_if_it_had_not_been(
    attending: AttendingHome, new_store: NewStore, kind: str, recipe: dict[str, Any]
) -> None:
    recipe = recipe | from_source(attending, kind)
    task = attending.task(**recipe, student__dropout=0.2, training__average_decay=0.9)
    task = dataclasses.replace(task, checkpoint_minutes=0.0)
    whole, broken = new_store(), new_store()
    undisturbed = run(task, whole)
    with pytest.raises(KilledError):
        run_fold(task, store=broken, reporter=KillsAt(3))
    torch.manual_seed(99)
    told = KillsAt(0)
    again = run_fold(task, store=broken, reporter=told).artifact

    assert list(told.rows) == [3, 4]
    assert_same_files(again, undisturbed)


# Law 2


@pytest.mark.parametrize("kind", ["recogniser", "encoder"])
def test_whom_the_fold_tests_changes_no_weight(
    attending: AttendingHome, new_store: NewStore, kind: str
) -> None:
    recipe = from_source(attending, kind)
    corpus = attending.prepared.corpus
    found = []
    for heard in (corpus, disturbed(corpus, ["s1m"]), disturbed(corpus, ["s2m"])):
        store = new_store()
        found.append(run(attending.task_on(heard, store, **recipe), store))

    assert found[0].key == found[1].key
    assert_same_files(found[0], found[1])
    # whom it trains or chooses the epoch on does
    assert found[0].key != found[2].key


# What its key is made of


def inputs(task: FoldTask) -> dict[str, Any]:
    return student_inputs(task, None)


@pytest.mark.parametrize(
    "change",
    [
        {"attention_transfer__match": "l2"},
        {"attention_transfer__values": True},
        {"attention_transfer__pairs": [[1, 1]]},
        {"objectives__attention_transfer": 0.5},
        {"initialise": "source"},
    ],
)
def test_what_is_read_of_a_source_is_in_the_key(
    attending: AttendingHome, change: Mapping[str, Any]
) -> None:
    assert inputs(attending.task(**change)) != inputs(attending.task())


def test_another_source_is_another_student(attending: AttendingHome) -> None:
    task, encoder = attending.task(), attending.task(source=attending.encoder)
    (name,) = task.recognisers
    other = dataclasses.replace(task, recognisers={name: "0" * 64})

    assert inputs(task) != inputs(other)
    assert inputs(task)["source"] != inputs(encoder)["source"]


def test_a_student_without_its_weight_knows_nothing_of_a_source(attending: AttendingHome) -> None:
    """Its key is what it was before there were sources."""
    alone = attending.task(source=None, objectives__attention_transfer=0.0)
    unread = attending.task(objectives__attention_transfer=0.0)
    found = inputs(alone)

    assert inputs(unread) == inputs(attending.task().with_recipe(alone.recipe)) == found
    assert not {"source", "attention_transfer", "initialise"} & found.keys()
    assert "attention_transfer" not in found["objectives"]
    changed = attending.task(
        objectives__attention_transfer=0.0, attention_transfer__match="similarity"
    )
    assert inputs(changed) == found


def test_one_that_only_begins_as_the_source_does_not_read_how_attention_is_compared(
    attending: AttendingHome,
) -> None:
    task = attending.task(**BEGINS)

    assert inputs(task)["initialise"] == "source"
    assert inputs(attending.task(**BEGINS, attention_transfer__match="l2")) == inputs(task)


def test_without_the_source_there_is_no_student(attending: AttendingHome, store: Store) -> None:
    task = dataclasses.replace(attending.task(), recognisers={})
    with pytest.raises(TrainingError, match="was given no recogniser as its source"):
        run(task, store)
    assert not (store.folder / "artifacts" / "student").exists()


def test_weights_that_lie_in_the_store_are_the_students_alone(
    attending: AttendingHome, store: Store
) -> None:
    taught = tensors(run(attending.task(), store))
    task = attending.task()
    alone = tensors(run(dataclasses.replace(task, recipe=task.recipe.alone()), store))

    assert taught.keys() == alone.keys()
