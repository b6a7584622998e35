"""What is done before any fold run, and the tasks that come of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

import models.pretrained
from orchestrator.corpus_inputs import Build, device_of
from orchestrator.encoder_outputs import EncoderOutputs
from orchestrator.errors import CorpusError, ProtocolError
from orchestrator.experiment import Experiment
from orchestrator.features import PackedFrames, pack_handle
from orchestrator.preparation import (
    Prepared,
    fingerprints_of,
    own_protocols,
    plan_folds,
    prepare,
    read_corpora,
)
from orchestrator.protocols import make_folds
from orchestrator.store import Store
from orchestrator.training.task import Utterances
from orchestrator.training.teacher import teacher_inputs
from orchestrator.waveforms import PackedWaveforms
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


BY_SESSIONS = {"kind": "leave-one-session-out"}


def test_a_corpus_with_its_own_protocol_becomes_folds_by_it(store: Store) -> None:
    """In a search too, whose own protocol is for the other corpora."""
    wanted = experiment(corpora=[TWO[0], {**TWO[1], "protocol": BY_SESSIONS}])
    general = experiment(protocol={"kind": "speaker-folds", "folds": 3}).protocol
    one, two = read_corpora(wanted, store)
    planned = plan_folds(wanted, [one, two], protocol=general, seeds=[0, 1])

    assert [it.task.fold for it in planned if it.prepared is two] == [
        f"session={number}" for number in (1, 2, 3) for _ in "01"
    ]
    assert [it.task.fold for it in planned if it.prepared is one][::2] == [
        f"fold={number}" for number in (1, 2, 3)
    ]
    assert {it.protocol.kind for it in planned if it.prepared is two} == {"leave-one-session-out"}
    assert {it.protocol.kind for it in planned if it.prepared is one} == {"speaker-folds"}
    assert one.describe(general).startswith("one | speaker-folds (3 folds) | ")
    assert two.describe(general).startswith("two | leave-one-session-out (3 folds) | ")
    assert own_protocols(wanted) == {"two": wanted.corpora[1].protocol.model_dump(mode="json")}


def test_some_folds_may_be_of_one_corpus_only(store: Store) -> None:
    wanted = experiment(corpora=[TWO[0], {**TWO[1], "protocol": BY_SESSIONS}])
    prepared = read_corpora(wanted, store)
    given: dict[str, Any] = {"protocol": wanted.protocol, "seeds": [0]}

    (only,) = plan_folds(wanted, prepared, **given, only=["session=2"])
    assert (only.task.corpus, only.fold.name) == ("two", "session=2")
    with pytest.raises(ProtocolError, match=r"one: speaker=s1m, .*; two: session=1, session=2"):
        plan_folds(wanted, prepared, **given, only=["session=9"])


def test_held_speakers_travel_with_their_labels(store: Store) -> None:
    protocol = {"kind": "leave-one-speaker-out", "held_speakers": 1}
    wanted = experiment(corpora=[SMALL], protocol=protocol)
    (prepared,) = read_corpora(wanted, store)
    table = prepared.corpus.table
    for entry in plan_folds(wanted, [prepared], protocol=wanted.protocol, seeds=[0]):
        assert entry.fold.held
        held = Utterances.of(table, entry.fold.held, emotions=entry.task.emotions)
        assert entry.task.held == held
        assert not set(held.ids) & {*entry.task.train.ids, *entry.fold.test}
    without = experiment(corpora=[SMALL])
    (fold, *_) = plan_folds(without, [prepared], protocol=without.protocol, seeds=[0])
    assert fold.task.held is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings of half a second."""
    root = tmp_path / "speech"
    (root / "more").mkdir(parents=True)
    for place, name in enumerate(("a.wav", "more/b.wav", "c.wav")):
        noise = np.random.default_rng(place).normal(scale=0.1, size=8000)
        soundfile.write(root / name, noise, 16000)
    return root


def unlabelled(folder: Path, **more: Any) -> dict[str, Any]:
    return {"kind": "folder", "root": str(folder), "speakers_apart": True, **more}


HEARS = recipe_of(EXPERIMENT["recipe"]["teacher"], unlabelled={"kind": "mixed"})


def test_unlabelled_speech_is_one_whatever_it_is_made_of(store: Store, folder: Path) -> None:
    spoken = {**SMALL, "seed": 5, "role": "unlabelled", "name": "talk", "speakers_apart": True}
    wanted = experiment(corpora=[unlabelled(folder), *TWO, spoken], recipe=HEARS)
    stages: list[str] = []

    def run_shards(stage: str, shards: Sequence[Build]) -> None:
        stages.append(stage)
        for shard in shards:
            shard()

    prepared = prepare(wanted, store, run_shards=run_shards)
    planned = plan_folds(wanted, prepared, protocol=wanted.protocol, seeds=[0])
    speech = planned[0].task.unlabelled

    assert stages == [f"features of {name}" for name in ("one", "two", "folder", "talk")]
    assert [entry.corpus.name for entry in prepared] == ["one", "two"]
    assert speech is not None
    assert all(it.task.unlabelled is speech for it in planned)
    assert speech.utterances.ids[:3] == ("folder/a.wav", "folder/c.wav", "folder/more/b.wav")
    assert len(speech.utterances.ids) == 3 + 24
    assert PackedFrames.open(store, speech.frames).ids == speech.utterances.ids
    assert speech.frames.identity == planned[0].task.frames.identity
    heard = prepared[0].unlabelled
    assert heard is not None
    contents = heard.corpora[0].table.set_index("id")["content"]
    assert speech.utterances.contents[2] == contents["more/b.wav"]
    assert sorted(fingerprints_of(prepared)) == ["folder", "one", "talk", "two"]
    for entry in prepared:
        told = entry.describe(wanted.protocol)
        assert told.endswith(" | unlabelled: folder (3 utterances), talk (24 utterances)")


def test_unlabelled_speech_that_nobody_wants_is_not_even_looked_for(store: Store) -> None:
    missing = unlabelled(Path("nowhere"))
    (prepared,) = read_corpora(experiment(corpora=[SMALL, missing]), store)

    assert prepared.unlabelled is None
    with pytest.raises(CorpusError, match="'nowhere' is no folder"):
        read_corpora(experiment(corpora=[SMALL, missing], recipe=HEARS), store)


def test_speech_that_an_ablation_or_a_trial_may_want_travels_too(
    store: Store, folder: Path
) -> None:
    corpora = [SMALL, unlabelled(folder)]
    changes = {"with-more": {"recipe.unlabelled.kind": "first"}}
    ablated = experiment(corpora=corpora, evaluate={"ablations": changes})
    searched = experiment(corpora=corpora, search={"space": "distillation"})
    told = []
    for wanted in (ablated, searched):
        (prepared,) = read_corpora(wanted, store)
        (fold, *_) = plan_folds(wanted, [prepared], protocol=wanted.protocol, seeds=[0])
        assert fold.task.unlabelled is not None
        told.append(prepared.describe(wanted.protocol).rpartition(" | ")[2])

    assert told == ["unlabelled, in ablations: folder (3 utterances)", "n=24"]


def test_unlabelled_speech_of_nobody_knows_whom_is_refused(store: Store, folder: Path) -> None:
    corpora = [SMALL, unlabelled(folder, speakers_apart=False)]

    with pytest.raises(CorpusError, match="nobody says who speaks in 3 of its 3.*speakers_apart"):
        read_corpora(experiment(corpora=corpora, recipe=HEARS), store)


def test_labels_that_are_common_are_those_of_labelled_corpora(store: Store, folder: Path) -> None:
    wanted = experiment(
        corpora=[*TWO, unlabelled(folder)], protocol={"kind": "cross-corpus"}, recipe=HEARS
    )
    (joint,) = read_corpora(wanted, store)

    assert joint.corpus.name == "one+two"
    assert len(joint.corpus.emotions) == 4
    assert joint.unlabelled is not None
    assert joint.unlabelled.speech.utterances.ids[0] == "folder/a.wav"


def test_a_fine_tuned_encoder_is_given_waveforms_and_no_outputs(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.corpus_inputs.encoder_sample_rate", lambda *_: 8000)
    teacher = {**PRETRAINED, "mode": {"kind": "lora"}}
    recipe = recipe_of(teacher, unlabelled={"kind": "first"})
    wanted = experiment(corpora=[SMALL, unlabelled(folder)], recipe=recipe)
    stages: list[str] = []

    def run_shards(stage: str, shards: Sequence[Build]) -> None:
        stages.append(stage)
        for shard in shards:
            shard()

    (prepared,) = prepare(wanted, store, run_shards=run_shards)
    (fold, *_) = plan_folds(wanted, [prepared], protocol=wanted.protocol, seeds=[0])
    task = fold.task

    assert stages == [
        f"{what} of {name}"
        for name in ("synthetic", "folder")
        for what in ("features", "waveforms")
    ]
    assert (task.encoder, task.unlabelled.encoder) == (None, None)
    assert task.waveforms is not None
    assert PackedWaveforms.open(store, task.waveforms).ids == tuple(prepared.corpus.table["id"])
    assert task.unlabelled.waveforms is not None
    heard = PackedWaveforms.open(store, task.unlabelled.waveforms)
    assert heard.ids == task.unlabelled.utterances.ids
    # half a second at 8 kHz
    assert heard.gather(["folder/a.wav"])[0].shape == (4000,)


def test_an_encoder_hears_unlabelled_speech_too(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models.pretrained, "load_encoder", lambda root, *, device: Encoder())
    monkeypatch.setattr(models.pretrained, "weights_hash", lambda root: "hash")
    recipe = recipe_of(PRETRAINED, unlabelled={"kind": "first"})
    wanted = experiment(corpora=[SMALL, unlabelled(folder)], recipe=recipe)
    (prepared,) = prepare(wanted, store)

    assert prepared.unlabelled is not None
    speech = prepared.unlabelled.speech
    assert speech.encoder is not None
    assert speech.waveforms is None
    assert EncoderOutputs.open(store, speech.encoder).ids == speech.utterances.ids


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


def test_a_share_kept_apart_that_comes_to_nothing_is_refused(tmp_path: Path) -> None:
    wanted = Experiment.model_validate(
        {
            "name": "x",
            "corpora": [{"kind": "synthetic", "sessions": 2, "utterances_per_emotion": 1}],
            "protocol": {"kind": "random-folds", "folds": 2, "held_share": 0.001},
            "recipe": {
                "teacher": {"kind": "vertical-vit"},
                "student": {"kind": "vertical-vit"},
                "objectives": {"distillation": 1.0},
                "meta": {"kind": "bilevel"},
            },
        }
    )
    prepared = read_corpora(wanted, Store(tmp_path))
    with pytest.raises(ProtocolError, match="no training utterance is kept apart for recipe.meta"):
        plan_folds(wanted, prepared, protocol=wanted.protocol, seeds=[0])
