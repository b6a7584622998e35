"""Eight synthetic speakers and networks of a few hundred weights: whole fold runs in a moment."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from orchestrator.corpora import Corpus
from orchestrator.corpora.listing import votes_text
from orchestrator.encoder_outputs import encode_corpus
from orchestrator.experiment import Experiment
from orchestrator.experiment.loading import override_recipe
from orchestrator.experiment.recipe import PretrainedTeacher
from orchestrator.features import PackedFrames, extract_features
from orchestrator.preparation import PlannedFold, Prepared, plan_folds, prepare
from orchestrator.store import Artifact, Store
from orchestrator.training.task import FoldTask, Unlabelled

VIT = {"kind": "vertical-vit", "depth": 1, "heads": 1, "head_dim": 8, "mlp_dim": 8}
TRAINING = {"epochs": 3, "batch_size": 8, "lr": 5e-3}
EXPERIMENT: dict[str, Any] = {
    "name": "tiny",
    "corpora": [{"kind": "synthetic", "sessions": 4, "utterances_per_emotion": 1}],
    "protocol": {"kind": "leave-one-speaker-out", "validation_speakers": 2},
    "features": {"bins": 8, "hop_seconds": 0.02},
    "recipe": {
        "teacher": {**VIT, "dim": 12, "patch_frames": 4},
        "student": {**VIT, "dim": 8, "patch_frames": 8},
        "objectives": {"cross_entropy": 1.0, "distillation": 0.5, "feature_map": 1.0},
        "training": TRAINING,
    },
}
CROWD = {
    "kind": "synthetic",
    "name": "crowd",
    "role": "unlabelled",
    "speakers_apart": True,
    "sessions": 2,
    "utterances_per_emotion": 1,
    "seed": 1,
}
"""Sixteen utterances of others, to be heard without their labels."""
RICH: dict[str, Any] = {
    "corpora": [*EXPERIMENT["corpora"], CROWD],
    "protocol": {**EXPERIMENT["protocol"], "held_speakers": 1},
}
"""Sections under which a recipe may use held speakers and unlabelled speech; four speakers train.
"""
PRETRAINED = {"kind": "pretrained", "root": "encoder", "training": TRAINING}


def experiment(overrides: Mapping[str, Any] | None = None, **sections: Any) -> Experiment:
    """The experiment with other sections, then with dotted overrides of its recipe."""
    built = Experiment.model_validate({**EXPERIMENT, **sections})
    return override_recipe(built, overrides) if overrides else built


def recipe_of(teacher: Mapping[str, Any], **parts: Any) -> dict[str, Any]:
    """The ``recipe`` section with another teacher."""
    return {**EXPERIMENT["recipe"], "teacher": dict(teacher), **parts}


@dataclass(frozen=True)
class Home:
    """Features made once; every test gets a store that has them and nothing else."""

    source: Path
    prepared: Prepared
    crowded: Prepared
    """The same corpus beside unlabelled speech."""

    @classmethod
    def build(cls, folder: Path) -> Home:
        """Extract the features of the tiny corpus, and of the crowd, into ``folder``."""
        wanted = experiment({"recipe.unlabelled": {"kind": "mixed"}}, **RICH)
        (crowded,) = prepare(wanted, Store(folder))
        crowded = with_votes(crowded)
        prepared = dataclasses.replace(crowded, unlabelled=None)
        return cls(source=folder, prepared=prepared, crowded=crowded)

    def store(self, folder: Path) -> Store:
        """A new store with the features, and encoder outputs if there are any."""
        shutil.copytree(self.source / "artifacts", folder / "artifacts")
        return Store(folder)

    def fold(self, name: str = "speaker=s1m", *, seed: int = 0, **recipe: Any) -> PlannedFold:
        """A fold of the tiny corpus; ``recipe`` overrides by dotted name, dots as ``__``."""
        wanted = experiment({f"recipe.{k.replace('__', '.')}": v for k, v in recipe.items()})
        return fold_of(wanted, self.prepared, name, seed=seed)

    def task(self, name: str = "speaker=s1m", *, seed: int = 0, **recipe: Any) -> FoldTask:
        """The task of :meth:`fold`."""
        return self.fold(name, seed=seed, **recipe).task

    def rich_task(self, name: str = "speaker=s1m", *, seed: int = 0, **recipe: Any) -> FoldTask:
        """The same with a held speaker and unlabelled speech."""
        named = {f"recipe.{k.replace('__', '.')}": v for k, v in recipe.items()}
        return fold_of(experiment(named, **RICH), self.crowded, name, seed=seed).task


def with_votes(prepared: Prepared) -> Prepared:
    """The corpus as if two listeners of three had heard the label, and one anger."""
    table = prepared.corpus.table
    votes = [votes_text(Counter([emotion, emotion, "anger"])) for emotion in table["emotion"]]
    corpus = dataclasses.replace(prepared.corpus, table=table.assign(votes=votes))
    return dataclasses.replace(prepared, corpus=corpus)


def fold_of(
    wanted: Experiment, prepared: Prepared, name: str = "speaker=s1m", *, seed: int = 0
) -> PlannedFold:
    """One fold of a prepared corpus."""
    (fold,) = plan_folds(wanted, [prepared], protocol=wanted.protocol, seeds=[seed], only=[name])
    return fold


def disturbed(corpus: Corpus, speakers: Collection[str]) -> Corpus:
    """The corpus in which ``speakers`` say something else, each utterance under another label."""
    table = corpus.table.copy()
    those = table["speaker"].isin(speakers)
    assert those.any()
    # a session that the corpus has not, in the voice of someone else
    paths = ["synthetic:s9" + path.removeprefix("synthetic:s")[1:] for path in table["path"][those]]
    table.loc[those, "path"] = paths
    table.loc[those, "content"] = [corpus.source.content(path) for path in paths]  # type: ignore[attr-defined]
    return relabelled(dataclasses.replace(corpus, table=table), speakers)


def relabelled(corpus: Corpus, speakers: Collection[str]) -> Corpus:
    """The corpus in which every utterance of ``speakers`` has another of their labels."""
    table = corpus.table.copy()
    those = table["speaker"].isin(speakers)
    before = table.loc[those, "emotion"].to_numpy()
    # each speaker has each of four emotions once, in the same order
    table.loc[those, "emotion"] = np.roll(before, 1)
    assert (table.loc[those, "emotion"].to_numpy() != before).all()
    return dataclasses.replace(corpus, table=table)


def prepared_again(corpus: Corpus, wanted: Experiment, store: Store) -> Prepared:
    """What :func:`prepare` gives for a corpus that no section describes."""
    frames = extract_features(corpus, wanted.features, store=store)
    encoder = None
    if isinstance(wanted.recipe.teacher, PretrainedTeacher):
        encoder = encode_corpus(corpus, wanted.recipe.teacher, store=store)
    return Prepared(corpus=corpus, frames=frames, encoder=encoder, parts=(corpus,))


def tensors(artifact: Artifact) -> dict[str, Tensor]:
    """Weights and statistics of a fitted network, as they lie in the store."""
    return load_file(artifact.path / "weights.safetensors")


def assert_same_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """Bitwise."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def pack_of(*utterances: Sequence[Sequence[float]]) -> tuple[PackedFrames, Unlabelled]:
    """Given frames as a pack, without a store, and the utterances ``u0``, ``u1`` ... in it."""
    arrays = [np.asarray(frames, dtype=np.float32) for frames in utterances]
    ids = tuple(f"u{place}" for place in range(len(arrays)))
    offsets = np.cumsum([0, *map(len, arrays)])
    pack = PackedFrames([(ids, offsets, np.concatenate(arrays))])
    return pack, Unlabelled(ids=ids, contents=tuple(f"content of {name}" for name in ids))


def speakers_of(table: pd.DataFrame, ids: Collection[str]) -> set[str]:
    """Who says the utterances ``ids``, by the corpus table."""
    return set(table["speaker"][table["id"].isin(ids)])


class Encoder:
    """A frozen encoder of two layers: level and roughness of each tenth of a second."""

    sample_rate, layers, width, seconds_per_frame = 16000, 2, 3, 0.1

    def hidden_states(self, waveforms: Sequence[NDArray[np.float32]]) -> list[Tensor]:
        """``(layers, frames, width)`` of each waveform."""
        found = []
        for wave in waveforms:
            count = math.ceil(len(wave) / 1600)
            blocks = torch.zeros(count * 1600)
            blocks[: len(wave)] = torch.from_numpy(np.asarray(wave))
            blocks = blocks.view(count, 1600)
            level = blocks.square().mean(1).sqrt()
            rough = blocks.diff(dim=1).square().mean(1).sqrt()
            frame = torch.stack([level, rough, rough / (level + 0.01)], dim=1)
            found.append(torch.stack([frame, frame.tanh()]))
        return found
