"""Pretrained teachers whose encoder is trained in the fold, or whose frames have weights."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from orchestrator.errors import PretrainedError, TrainingError
from orchestrator.experiment import Experiment
from orchestrator.experiment.changes import ablation_recipes
from orchestrator.preparation import prepare, read_corpora
from orchestrator.store import Artifact, Store
from orchestrator.training.encoder_data import WaveformData
from orchestrator.training.encoder_networks import EncoderSource
from orchestrator.training.files import read_json
from orchestrator.training.task import FoldTask, Silent
from orchestrator.training.teacher import (
    Teacher,
    load_teacher,
    teacher_artifact,
    teacher_inputs,
)
from orchestrator.waveforms import waveform_handle, waveform_shards
from tests.models.encoders import save_waveform_model, save_whisper
from tests.training.tiny import EXPERIMENT, TRAINING, Home, experiment, fold_of, recipe_of, tensors

STRIDES = {"conv_kernel": (20, 8, 8), "conv_stride": (10, 8, 8)}
"""25 frames a second: about thirty an utterance."""
KINDS = ("wav2vec2", "hubert", "wavlm", "whisper")
MODES: dict[str, dict[str, Any]] = {
    "top-n": {"kind": "top-n", "layers": 1, "lr": 1e-3},
    "full": {"kind": "full", "lr": 1e-3},
    "lora": {"kind": "lora", "rank": 2, "lr": 1e-3},
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("encoders")
    found = {kind: save_waveform_model(home / kind, kind, **STRIDES) for kind in KINDS[:3]}
    return found | {"whisper": save_whisper(home / "whisper")}


@pytest.fixture(scope="module")
def store(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One for all: what one test made another need not."""
    return home.store(tmp_path_factory.mktemp("shared"))


def task_of(store: Store, root: Path, mode: dict[str, Any], **options: Any) -> FoldTask:
    """A fold of the tiny corpus whose teacher is the encoder in ``root``."""
    wanted = wanting(root, mode, **options)
    (prepared,) = prepare(wanted, store)
    return fold_of(wanted, prepared).task


def wanting(root: Path, mode: dict[str, Any], **options: Any) -> Experiment:
    training = {**TRAINING, "epochs": 1}
    teacher = {"kind": "pretrained", "root": str(root), "mode": mode, "training": training}
    return experiment(recipe=recipe_of(teacher | options))


def fitted(task: FoldTask, store: Store) -> tuple[Teacher, Artifact]:
    artifact = teacher_artifact(task, store, train=task.train, reporter=Silent())
    return load_teacher(task, store, artifact), artifact


CASES = [(kind, mode) for kind in KINDS for mode in MODES]


@pytest.mark.parametrize(("kind", "mode"), CASES)
def test_a_fine_tuned_teacher_is_stored_without_what_was_published_and_says_the_same_again(
    roots: dict[str, Path], store: Store, kind: str, mode: str
) -> None:
    task = task_of(store, roots[kind], MODES[mode], pooling="attentive")
    teacher, artifact = fitted(task, store)
    kept = tensors(artifact)
    published = sum(
        value.numel() for value in load_file(roots[kind] / "model.safetensors").values()
    )
    facts = read_json(artifact.path / "facts.json")

    said = np.load(artifact.path / "validation_logits.npy")
    np.testing.assert_array_equal(teacher.logits(task.validation), said)
    assert sum(value.numel() for value in kept.values()) < published
    assert not any("stem.convolutions" in name or "stem.first" in name for name in kept)
    if mode == "lora":
        assert all("lora_" in name for name in kept if name.startswith("network.encoder."))
    # the head's mean and deviation are kept and not trained
    buffers = kept["network.head.mean"].numel() * 2
    assert sum(value.numel() for value in kept.values()) == facts["trained_parameters"] + buffers


@pytest.mark.parametrize(
    ("kind", "mode"), [("wavlm", "top-n"), ("wavlm", "lora"), ("whisper", "full")]
)
def test_tokens_pooled_and_logits_of_an_utterance_belong_together_alone_or_not(
    roots: dict[str, Path], store: Store, kind: str, mode: str
) -> None:
    task = task_of(store, roots[kind], MODES[mode])
    teacher, _ = fitted(task, store)
    logits, pooled = teacher.logits(task.train), teacher.pooled(task.train)
    tokens = teacher.tokens(task.train)
    head: Any = teacher.network.head

    np.testing.assert_allclose(head.head(torch.from_numpy(pooled)).detach(), logits, atol=1e-4)
    for row, name in enumerate(task.train.ids[:5]):
        alone = task.train.subset([name])
        start, length = int(tokens.starts[row]), int(tokens.lengths[row])
        own = teacher.tokens(alone)

        np.testing.assert_allclose(teacher.logits(alone)[0], logits[row], atol=1e-4)
        torch.testing.assert_close(
            own.flat, tokens.flat[start : start + length], atol=1e-3, rtol=1e-3
        )
        np.testing.assert_allclose(own.flat.mean(0), pooled[row], atol=1e-3, rtol=1e-3)


def test_attention_over_a_frozen_encoders_frames(roots: dict[str, Path], store: Store) -> None:
    task = task_of(store, roots["hubert"], {"kind": "frozen"}, pooling="attentive")
    teacher, artifact = fitted(task, store)
    tokens = teacher.tokens(task.validation)

    said = np.load(artifact.path / "validation_logits.npy")
    np.testing.assert_array_equal(teacher.logits(task.validation), said)
    assert not any(name.startswith("network.encoder.") for name in tensors(artifact))
    assert tensors(artifact)["network.attention.score.weight"].abs().max() > 0
    assert tokens.flat.shape == (int(tokens.lengths.sum()), 16)


def test_a_teacher_listens_to_the_packs_it_is_loaded_with(
    roots: dict[str, Path], store: Store
) -> None:
    """As it does to speech without labels, which lies in packs of its own."""
    task = task_of(store, roots["hubert"], MODES["lora"])
    teacher, artifact = fitted(task, store)
    wanted = experiment(
        corpora=[{**EXPERIMENT["corpora"][0], "seed": 7}],
    )
    (other,) = read_corpora(wanted, store)
    for shard in waveform_shards(other.corpus, sample_rate=16000, store=store):
        shard()
    handle = waveform_handle(other.corpus, sample_rate=16000, store=store)
    there = load_teacher(dataclasses.replace(task, waveforms=handle), store, artifact)
    heard = fold_of(wanted, other, "speaker=s1m").task.train
    shared = set(heard.ids) & set(task.train.ids)

    assert there.logits(heard).shape == (len(heard.ids), task.classes)
    # under the same names it hears something else
    both = task.train.subset(sorted(shared))
    assert both.ids
    assert not np.allclose(there.logits(both), teacher.logits(both), atol=1e-3)


# The store's key


def keys_of(store: Store, root: Path, mode: dict[str, Any], **options: Any) -> dict[str, Any]:
    wanted = wanting(root, mode, **options)
    (prepared,) = read_corpora(wanted, store)
    task = fold_of(wanted, prepared).task
    return teacher_inputs(task, task.train)


@pytest.mark.parametrize("mode", MODES)
def test_the_key_holds_what_changes_numbers_and_nothing_else(
    roots: dict[str, Path], store: Store, tmp_path: Path, mode: str
) -> None:
    own = MODES[mode]
    key = keys_of(store, roots["hubert"], own)
    moved = Path(shutil.copytree(roots["hubert"], tmp_path / "moved"))

    assert keys_of(store, moved, own) == key
    assert keys_of(store, moved, own | {"gradient_checkpointing": True}) == key
    assert keys_of(store, roots["wavlm"], own) != key
    changed = [own | {"lr": 0.5}]
    changed += [own | {"layers": 2}] if mode == "top-n" else []
    changed += [own | {name: 4} for name in ("rank", "alpha")] if mode == "lora" else []
    changed += [own | {"dropout": 0.1}] if mode == "lora" else []
    for other in (*changed, *(MODES[name] for name in MODES if name != mode)):
        assert keys_of(store, roots["hubert"], other) != key, other
    assert keys_of(store, roots["hubert"], own, pooling="attentive") != key


@pytest.mark.parametrize(
    ("mode", "change"), [("top-n", {"lr": 0.01}), ("full", {"lr": 0.01}), ("lora", {"rank": 1})]
)
def test_an_ablation_trains_the_encoder_otherwise_on_the_same_inputs(
    roots: dict[str, Path], store: Store, mode: str, change: dict[str, Any]
) -> None:
    changes = {f"recipe.teacher.mode.{name}": value for name, value in change.items()}
    wanted = wanting(roots["hubert"], MODES[mode])
    evaluate = wanted.evaluate.model_copy(update={"ablations": {"mine": changes}})
    wanted = wanted.model_copy(update={"evaluate": evaluate})
    (prepared,) = prepare(wanted, store)
    own = fold_of(wanted, prepared).task
    other = own.with_recipe(ablation_recipes(wanted)["mine"])

    (one, artifact), (two, another) = fitted(own, store), fitted(other, store)

    assert artifact.key != another.key
    assert (own.encoder, own.waveforms) == (other.encoder, other.waveforms)
    assert not np.allclose(one.logits(own.train), two.logits(own.train), atol=1e-5)


def test_the_key_of_a_frozen_teacher_says_nothing_of_fine_tuning(
    roots: dict[str, Path], store: Store
) -> None:
    key = keys_of(store, roots["hubert"], {"kind": "frozen"})

    assert key["teacher"].keys() == {"kind", "layers", "pooling", "training"}
    assert "waveforms" not in key


# What is refused


def test_waveforms_at_another_rate_than_the_encoders_are_refused(
    roots: dict[str, Path], store: Store
) -> None:
    task = task_of(store, roots["wav2vec2"], MODES["full"])
    (prepared,) = prepare(experiment(), store)
    for shard in waveform_shards(prepared.corpus, sample_rate=8000, store=store):
        shard()
    slow = waveform_handle(prepared.corpus, sample_rate=8000, store=store)
    task = dataclasses.replace(task, waveforms=slow)

    with pytest.raises(
        TrainingError, match="packed at 8000 Hz, but the encoder hears 16000 Hz; pack them with"
    ):
        teacher_artifact(task, store, train=task.train, reporter=Silent())


def test_an_utterance_longer_than_whispers_window_is_refused_by_name(
    tmp_path: Path, store: Store
) -> None:
    task = task_of(store, save_whisper(tmp_path / "short", seconds=1), MODES["lora"])
    source = EncoderSource(task, store)
    assert source.waveforms is not None
    assert source.encoder is not None
    lengths = {name: len(source.waveforms.gather([name])[0]) for name in task.train.ids}
    longest = max(lengths, key=lambda name: lengths[name])
    assert lengths[longest] > 16000

    with pytest.raises(PretrainedError, match=rf"'{longest}' lasts 1\.\d s.*1\.0 s.*top-n"):
        source.data(task.train)
    short = [name for name, samples in lengths.items() if samples <= 16000]
    assert len(WaveformData(source.waveforms, short, encoder=source.encoder)) == len(short)


@pytest.mark.parametrize(
    ("mode", "said"),
    [("full", "no waveforms for a teacher of mode full"), ("top-n", "no outputs")],
)
def test_a_task_without_what_the_teacher_hears_is_refused(
    roots: dict[str, Path], store: Store, mode: str, said: str
) -> None:
    task = task_of(store, roots["wav2vec2"], MODES[mode])
    task = dataclasses.replace(task, encoder=None, waveforms=None)

    with pytest.raises(TrainingError, match=said):
        teacher_artifact(task, store, train=task.train, reporter=Silent())


def test_the_last_layers_are_not_those_of_another_encoder_than_the_frozen_ones(
    roots: dict[str, Path], store: Store, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(roots["hubert"], tmp_path / "encoder"))
    task = task_of(store, root, MODES["top-n"])
    EncoderSource(task, store)
    save_waveform_model(root, "hubert", **STRIDES, layer_norm_eps=1e-3)

    with pytest.raises(PretrainedError, match=r"recipe\.teacher\.root .*where the run was planned"):
        EncoderSource(task, store)


def test_a_conformer_is_refused_with_its_root(tmp_path: Path, store: Store) -> None:
    root = save_waveform_model(tmp_path, "wav2vec2-conformer", **STRIDES)
    with pytest.raises(PretrainedError, match=r"recipe\.teacher\.root .*use mode frozen"):
        read_corpora(wanting(root, MODES["top-n"]), store)

    task = task_of(store, root, MODES["lora"])
    with pytest.raises(PretrainedError, match=r"recipe\.teacher\.root .*mode lora: .*frozen"):
        teacher_artifact(task, store, train=task.train, reporter=Silent())


def test_layers_of_a_fully_trained_encoder_must_exist(roots: dict[str, Path], store: Store) -> None:
    task = task_of(store, roots["hubert"], MODES["full"], layers=[1, 5])

    with pytest.raises(PretrainedError, match=r"\[1, 5\]: the encoder has hidden states 0 to 2"):
        teacher_artifact(task, store, train=task.train, reporter=Silent())


def test_weights_of_another_network_are_refused(roots: dict[str, Path], store: Store) -> None:
    task = task_of(store, roots["hubert"], MODES["lora"])
    _, artifact = fitted(task, store)
    other = task_of(store, roots["hubert"], MODES["full"])

    with pytest.raises(TrainingError, match="does not fit its network: .* tensors"):
        load_teacher(other, store, artifact)
