"""What is done before any fold run, and the tasks that come of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import models.pretrained
from orchestrator.encoder_outputs import EncoderOutputs
from orchestrator.errors import ProtocolError
from orchestrator.features import PackedFrames, pack_handle
from orchestrator.preparation import Build, Prepared, device_of, plan_folds, prepare
from orchestrator.protocols import make_folds
from orchestrator.store import Store
from orchestrator.training.teacher import teacher_inputs
from tests.training.tiny import (
    EXPERIMENT,
    PRETRAINED,
    Encoder,
    Home,
    experiment,
    fold_of,
    recipe_of,
)

SMALL = {"kind": "synthetic", "sessions": 3, "utterances_per_emotion": 1}
TWO = [{**SMALL, "name": "one"}, {**SMALL, "name": "two", "seed": 1}]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_every_corpus_is_loaded_and_its_features_made_once(store: Store) -> None:
    wanted = experiment(corpora=TWO)
    ran: list[tuple[str, int, int]] = []

    def run_shards(stage: str, shards: Sequence[Build]) -> None:
        reused = [shard() for shard in shards]
        ran.append((stage, len(shards), reused.count(True)))

    first = prepare(wanted, store, run_shards=run_shards)
    second = prepare(wanted, store, run_shards=run_shards)

    assert [entry.corpus.name for entry in first] == ["one", "two"]
    assert [stage for stage, _, _ in ran] == ["features of one", "features of two"] * 2
    assert [reused for _, _, reused in ran[:2]] == [0, 0]
    assert all(count == reused for _, count, reused in ran[2:])
    for entry, again in zip(first, second, strict=True):
        assert entry.frames == again.frames
        assert entry.encoder is None
        pack = PackedFrames.open(store, entry.frames)
        assert pack.ids == tuple(entry.corpus.table["id"])
        assert pack.width == 8


def test_an_encoder_is_run_where_the_teacher_is_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models.pretrained, "load_encoder", lambda root, *, device: Encoder())
    monkeypatch.setattr(models.pretrained, "weights_hash", lambda root: "hash")
    wanted = experiment(corpora=[SMALL], recipe=recipe_of(PRETRAINED))
    stages: list[str] = []

    def run_shards(stage: str, shards: Sequence[Build]) -> None:
        stages.append(stage)
        for shard in shards:
            shard()

    (entry,) = prepare(wanted, store, run_shards=run_shards)

    assert stages == ["features of synthetic", "encoder outputs of synthetic"]
    assert entry.encoder is not None
    assert EncoderOutputs.open(store, entry.encoder).ids == tuple(entry.corpus.table["id"])
    (task, *_) = [
        it.task for it in plan_folds(wanted, [entry], protocol=wanted.protocol, seeds=[0])
    ]
    assert task.encoder == entry.encoder


@pytest.mark.parametrize(("gpus", "device"), [(0.0, "cpu"), (0.25, "cuda"), (1.0, "cuda")])
def test_a_share_of_a_gpu_is_a_gpu(gpus: float, device: str) -> None:
    assert device_of(experiment(resources={"trial": {"gpus": gpus}})) == device


def test_a_task_for_every_corpus_fold_and_seed_in_that_order(store: Store) -> None:
    wanted = experiment(
        corpora=TWO,
        resources={"trial": {"cpus": 3}, "teacher_workers": 2, "student_workers": 4},
    )
    prepared = prepare(wanted, store)
    planned = plan_folds(wanted, prepared, protocol=wanted.protocol, seeds=iter([0, 7]))
    places = [(it.task.corpus, it.task.fold, it.task.seed) for it in planned]

    speakers = [f"speaker=s{session}{who}" for session in (1, 2, 3) for who in "mw"]
    assert places == [
        (corpus, fold, seed) for corpus in ("one", "two") for fold in speakers for seed in (0, 7)
    ]
    for entry in planned:
        task, table = entry.task, entry.prepared.corpus.table
        emotion = dict(zip(table["id"], table["emotion"], strict=True))
        speaker = dict(zip(table["id"], table["speaker"], strict=True))

        assert entry.prepared.corpus.name == task.corpus
        assert entry.fold.name == task.fold
        assert (task.threads, task.teacher_workers, task.student_workers) == (3, 2, 4)
        assert (task.recipe, task.features) == (wanted.recipe, wanted.features)
        assert task.frames == entry.prepared.frames
        for utterances, ids in (
            (task.train, entry.fold.train),
            (task.validation, entry.fold.validation),
        ):
            assert utterances.ids == ids
            assert [task.emotions[label] for label in utterances.labels] == [
                emotion[name] for name in ids
            ]
            assert utterances.speakers == tuple(speaker[name] for name in ids)


def test_folds_are_the_protocols_of_each_seed(store: Store) -> None:
    """A sweep's protocol may differ from the experiment's."""
    wanted = experiment(corpora=[SMALL])
    other = experiment(protocol={"kind": "leave-one-session-out"}).protocol
    prepared = prepare(wanted, store)
    planned = plan_folds(wanted, prepared, protocol=other, seeds=range(8))
    expected = {seed: make_folds(prepared[0].corpus.table, other, seed=seed) for seed in range(8)}

    assert [it.fold for it in planned] == [
        expected[seed][fold] for fold in range(3) for seed in range(8)
    ]
    # every seed tests the same, and validation rotates
    assert len({it.fold.test for it in planned}) == 3
    assert len({it.fold.validation for it in planned if it.fold.name == "session=1"}) > 1


@pytest.mark.parametrize(
    "only", [("speaker=s2w",), ("speaker=s3m", "speaker=s1m")], ids=["one", "two"]
)
def test_some_folds_are_those_of_the_whole(store: Store, only: tuple[str, ...]) -> None:
    wanted = experiment(corpora=[SMALL])
    prepared = prepare(wanted, store)
    given: dict[str, Any] = {"protocol": wanted.protocol, "seeds": [0, 1]}
    every = plan_folds(wanted, prepared, **given)
    some = plan_folds(wanted, prepared, **given, only=only)

    assert [it.task for it in some] == [it.task for it in every if it.fold.name in only]
    assert len(some) == 2 * len(only)


def test_a_fold_that_is_not_there_is_named_with_those_that_are(store: Store) -> None:
    wanted = experiment(corpora=[SMALL])
    prepared = prepare(wanted, store)
    with pytest.raises(ProtocolError, match=r"evaluate\.folds.*'speaker=s9m'.*speaker=s1m, "):
        plan_folds(wanted, prepared, protocol=wanted.protocol, seeds=[0], only=["speaker=s9m"])


def test_the_recipe_of_the_tests_is_valid() -> None:
    assert experiment().recipe.needs_teacher
    assert EXPERIMENT["name"] == experiment().name


def test_a_row_that_is_added_leaves_the_keys_that_it_does_not_touch(tmp_path: Path) -> None:
    home = Home.build(tmp_path / "home")
    wanted, before = experiment(), home.prepared
    twin = before.corpus.table.iloc[0].to_dict()
    row = {**twin, "id": "s1m-900", "path": "synthetic:s1m-900", "content": "f" * 32}
    table = pd.concat([before.corpus.table, pd.DataFrame([row])], ignore_index=True)
    corpus = dataclasses.replace(before.corpus, table=table)
    store = Store(tmp_path / "home")
    frames = pack_handle(corpus, wanted.features, store=store)
    after = Prepared(corpus=corpus, frames=frames, encoder=None, parts=(corpus,))

    # one shard of features is made anew, and what was fitted to others' does not notice
    assert twin["speaker"] == "s1m"
    assert len(set(frames.keys) - set(before.frames.keys)) == 1
    assert frames.identity == before.frames.identity
    for speaker, same in (("s1m", True), ("s2m", False)):
        old, new = (fold_of(wanted, one, f"speaker={speaker}") for one in (before, after))
        keys = [teacher_inputs(fold.task, fold.task.train) for fold in (old, new)]
        # the fold that tests the row trains as it did; in another it is trained or validated on
        assert (keys[0] == keys[1]) is same
        assert ("s1m-900" in new.fold.test) is same
