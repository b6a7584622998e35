"""Speech without labels beside a fold's own: who speaks about it, and what it changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import orchestrator.training.loop as loop_module
from orchestrator.features import PackedFrames, normalisation
from orchestrator.preparation import prepare
from orchestrator.store import Artifact, Store
from orchestrator.training.files import HISTORY, read_json
from orchestrator.training.fold_run import run_fold
from orchestrator.training.inputs import FrameSource
from orchestrator.training.knowledge import (
    Knowledge,
    Scale,
    load_knowledge,
    load_unlabelled_knowledge,
)
from orchestrator.training.task import FoldTask, Silent
from orchestrator.training.teacher import Teacher, load_teacher, teacher_artifact
from tests.training.tiny import (
    PRETRAINED,
    RICH,
    Home,
    experiment,
    fold_of,
    recipe_of,
    tensors,
)

NewStore = Callable[[], Store]
MIXED = {"kind": "mixed", "batch_size": 3, "weight": 0.25}
FIRST = {"kind": "first", "epochs": 2}


def heard(task: FoldTask, store: Store) -> tuple[Knowledge, Knowledge]:
    """Knowledge of the training utterances and of the unlabelled ones."""
    assert task.unlabelled is not None
    labelled = load_knowledge(task, store, reporter=Silent())
    return labelled, load_unlabelled_knowledge(task, task.unlabelled, store, labelled=labelled)


def own_teacher(task: FoldTask, store: Store) -> tuple[Teacher, Teacher]:
    """The fold's own, listening to its corpus and to the unlabelled one."""
    assert task.unlabelled is not None
    artifact = teacher_artifact(task, store, train=task.train, reporter=Silent())
    there = dataclasses.replace(task, frames=task.unlabelled.frames)
    return load_teacher(task, store, artifact), load_teacher(there, store, artifact)


@pytest.mark.parametrize("kind", ["in-sample", "cross-fitted"])
def test_it_is_the_word_of_the_folds_own_teacher(home: Home, store: Store, kind: str) -> None:
    """No other is needed: no teacher was fitted to it."""
    task = home.rich_task(unlabelled=MIXED, knowledge=kind)
    assert task.unlabelled is not None
    _, found = heard(task, store)
    _, teacher = own_teacher(task, store)

    np.testing.assert_array_equal(found.logits, teacher.logits(task.unlabelled.utterances))
    assert found.logits.shape == (16, 4)


def test_its_features_are_standardised_as_the_training_utterances_are(
    home: Home, store: Store
) -> None:
    task = home.rich_task(unlabelled=MIXED, feature_map__match="tokens")
    assert task.unlabelled is not None
    _, found = heard(task, store)
    here, there = own_teacher(task, store)
    own, other = here.pooled(task.train), there.pooled(task.unlabelled.utterances)
    expected = (other - own.mean(0)) / own.std(0)
    everyone = torch.arange(len(other))
    np.testing.assert_allclose(found.pooled[everyone], expected, atol=1e-4)
    assert found.tokens is not None
    own_tokens, tokens = here.tokens(task.train), there.tokens(task.unlabelled.utterances)
    expected = (tokens.flat - own_tokens.flat.mean(0)) / own_tokens.flat.std(0, correction=0)
    steps, lengths = found.tokens.batch(everyone)
    flat = torch.cat([one[:length] for one, length in zip(steps, lengths, strict=True)])
    np.testing.assert_allclose(flat, expected, atol=1e-4)
    assert torch.equal(found.tokens.lengths, tokens.lengths)

    # by its own it would be mean 0 and deviation 1, which it is not
    itself = torch.from_numpy(other)
    assert not np.allclose(found.pooled[everyone], Scale.of(itself)(itself))


def test_its_frames_are_normalised_as_the_training_utterances_are(home: Home, store: Store) -> None:
    task = home.rich_task(unlabelled=MIXED)
    assert task.unlabelled is not None
    own = PackedFrames.open(store, task.frames)
    there = PackedFrames.open(store, task.unlabelled.frames)
    source = FrameSource(task, own, task.train)
    data = source.unlabelled(task.unlabelled, store, augment=task.recipe.student_augment)
    mean, std = normalisation(own, task.train.ids)
    (frames, lengths) = data.batch(torch.arange(len(data))).inputs
    flat = np.concatenate([one[:n] for one, n in zip(frames.numpy(), lengths, strict=True)])
    raw = np.concatenate(there.gather(task.unlabelled.utterances.ids))

    np.testing.assert_allclose(flat, (raw - mean) / std, rtol=1e-6)


# Whole fold runs


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The place in its stage of every update."""
    seen: list[int] = []
    real = loop_module.learning_rate

    def learning_rate(step: int, **given: Any) -> float:
        seen.append(step)
        return real(step, **given)

    monkeypatch.setattr(loop_module, "learning_rate", learning_rate)
    return seen


def run(task: FoldTask, store: Store) -> Artifact:
    return run_fold(task, store=store, reporter=Silent()).artifact


def terms(artifact: Artifact) -> list[set[str]]:
    """Names of the terms of each epoch."""
    return [
        {name.removeprefix("train/") for name in row if name.startswith("train/")}
        for row in read_json(artifact.path / HISTORY)
    ]


ALL = {"cross_entropy", "distillation", "feature_map"}


def test_mixed_in_it_is_heard_beside_every_update(
    home: Home, store: Store, rates: list[int]
) -> None:
    run_fold(home.rich_task(), store=store, reporter=Silent(), role="teacher")
    rates.clear()
    found = run(home.rich_task(unlabelled=MIXED), store)

    # sixteen training utterances in batches of eight, three epochs
    assert rates == list(range(6))
    wanted = ALL | {"unlabelled_distillation", "unlabelled_feature_map"}
    assert terms(found) == [wanted] * 3


@pytest.mark.parametrize("matching", [0, 1])
def test_first_it_is_heard_alone_in_as_many_updates(
    home: Home, store: Store, rates: list[int], matching: int
) -> None:
    run_fold(home.rich_task(), store=store, reporter=Silent(), role="teacher")
    rates.clear()
    schedule: dict[str, Any] = {"kind": "joint"}
    if matching:
        schedule = {"kind": "matching-first", "matching_epochs": matching}
    outcome = run_fold(
        home.rich_task(unlabelled=FIRST, schedule=schedule), store=store, reporter=Silent()
    )

    assert rates == [*range(4), *range(2 * matching), *range(6)]
    assert terms(outcome.artifact) == [
        *[{"distillation", "feature_map"}] * 2,
        *[{"feature_map"}] * matching,
        *[ALL] * 3,
    ]
    # an epoch without labels is never kept
    assert outcome.epoch > 2 + matching


@pytest.mark.parametrize("unlabelled", [MIXED, FIRST])
def test_it_changes_the_student_but_not_its_statistics(
    home: Home, store: Store, unlabelled: dict[str, Any]
) -> None:
    without = tensors(run(home.rich_task(), store))
    found = tensors(run(home.rich_task(unlabelled=unlabelled), store))
    statistics = [name for name in without if not name.startswith("network.")]

    assert len(statistics) == 2
    for name in statistics:
        assert torch.equal(found[name], without[name])
    assert not torch.equal(found["network.head.weight"], without["network.head.weight"])


def test_alone_has_as_many_updates(home: Home, store: Store, rates: list[int]) -> None:
    task = home.rich_task(unlabelled=FIRST)
    alone = dataclasses.replace(task, recipe=task.recipe.alone())
    run(alone, store)

    assert len(rates) == 4 + 6
    assert alone.recipe.unlabelled.kind == "none"


@pytest.mark.usefixtures("fake_encoder")
@pytest.mark.parametrize("match", ["pooled", "tokens"])
@pytest.mark.parametrize("unlabelled", [MIXED, FIRST])
def test_a_pretrained_teacher_speaks_about_it_too(
    store: Store, match: str, unlabelled: dict[str, Any]
) -> None:
    wanted = experiment(
        **RICH,
        recipe=recipe_of(PRETRAINED, feature_map={"match": match}, unlabelled=unlabelled),
    )
    (prepared,) = prepare(wanted, store)
    artifact = run(fold_of(wanted, prepared).task, store)

    assert np.isfinite(np.load(artifact.path / "validation_logits.npy")).all()


@pytest.mark.usefixtures("fake_encoder")
def test_the_head_of_a_frozen_encoder_can_learn_to_teach(store: Store) -> None:
    wanted = experiment(
        **RICH,
        recipe=recipe_of(PRETRAINED, meta={"kind": "learning-to-teach", "lr": 0.01}),
    )
    (prepared,) = prepare(wanted, store)
    artifact = run(fold_of(wanted, prepared).task, store)

    assert np.isfinite(np.load(artifact.path / "validation_logits.npy")).all()
