"""What the teacher passes on for each training utterance, and of speech without labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.canonical import digest
from orchestrator.packing import open_array
from orchestrator.protocols import inner_folds
from orchestrator.store import Artifact, Store
from orchestrator.training.residency import data_share
from orchestrator.training.scratch import mapped_tensor
from orchestrator.training.task import FoldTask, Reporter, Silent, UnlabelledSpeech, Utterances
from orchestrator.training.teacher import load_teacher, teacher_artifact, teacher_inputs
from orchestrator.training.tokens import Tokens
from orchestrator.training.vectors import Vectors

Kind = Literal["in-sample", "cross-fitted"]
INNER_FOLDS = 4
"""Inner speaker folds of cross-fitted logits: each teacher hears three quarters of the speakers."""


@dataclass(frozen=True)
class Scale:
    """Each feature to mean 0 and deviation 1 over the training utterances (inferred).

    Teachers' features differ in scale by orders of magnitude, and the weight of the feature-map
    objective should mean the same for all; a ViT's are layer-normalised, so little changes there.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Scale:
        """That of training features ``(n, width)``; what does not vary is only centred."""
        deviation, mean = torch.std_mean(features, dim=0, correction=0)
        return cls(mean, deviation.clamp(min=1e-5))

    def __call__(self, features: Tensor) -> Tensor:
        """Standardise ``(n, width)``."""
        return (features - self.mean) / self.deviation


@dataclass(frozen=True)
class Knowledge:
    """Teacher's words on some utterances, in their order."""

    logits: Tensor
    """``(utterances, classes)``."""
    pooled: Vectors | Tensor
    """``(utterances, width)``, standardised."""
    tokens: Tokens | None
    """Standardised, and only where they are matched: they are large, so they are computed beside
    the student."""
    scale: Scale
    """Of the pooled vectors."""
    token_scale: Scale | None

    @property
    def matched_width(self) -> int:
        """Of the features that a student's are compared with."""
        # an encoder's pooled mean and deviation are twice as wide as its frames
        matched = self.pooled if self.tokens is None else self.tokens.flat
        return matched.shape[1]


def knowledge_artifact(
    task: FoldTask,
    store: Store,
    *,
    reporter: Reporter,
    kind: Kind | None = None,
) -> Artifact:
    """Logits and pooled vectors for the fold's training utterances, from the store or now.

    Logits are the fold's own teacher's (``in-sample``) or those of teachers of inner speaker folds
    that did not train on the utterance (``cross-fitted``, law 2); pooled vectors are always the
    fold's own teacher's, since two teachers' vectors are not comparable.

    Args:
        kind: of the logits; default: what the recipe's student hears.
    """
    teacher = teacher_artifact(task, store, train=task.train, reporter=reporter)
    inputs = _inputs(task, teacher.key, kind or _heard(task))
    kind = inputs["kind"]

    def build(folder: Path) -> None:
        own = load_teacher(task, store, teacher)
        logits = (
            _cross_fitted_logits(task, store) if kind == "cross-fitted" else own.logits(task.train)
        )
        np.save(folder / "logits.npy", logits)
        np.save(folder / "pooled.npy", own.pooled(task.train))

    return store.obtain("knowledge", inputs, build)


def knowledge_key(task: FoldTask, store: Store, *, kind: Kind | None = None) -> str:
    """The store key of :func:`knowledge_artifact`; nothing is fitted or looked for."""
    teacher = store.key("teacher", teacher_inputs(task, task.train))
    return store.key("knowledge", _inputs(task, teacher, kind or _heard(task)))


def _heard(task: FoldTask) -> Kind:
    """The kind of logits that the student hears; without distillation nobody reads them."""
    return task.recipe.knowledge if task.recipe.objectives.distillation else "in-sample"


def _inputs(task: FoldTask, teacher: str, kind: Kind) -> dict[str, Any]:
    """The store inputs of knowledge, from the key of the fold's own teacher."""
    inputs: dict[str, Any] = {"teacher": teacher, "kind": kind, "train": task.train.key()}
    if kind == "cross-fitted":
        # the inner folds depend on who speaks which utterance
        inputs["inner_folds"] = {
            "folds": INNER_FOLDS,
            "speakers": digest(list(task.train.speakers)),
            "seed": task.seed,
        }
    return inputs


def load_knowledge(task: FoldTask, store: Store, *, reporter: Reporter) -> Knowledge:
    """The knowledge a student's objectives need, on the task's device."""
    logits, pooled = _read(knowledge_artifact(task, store, reporter=reporter), task)
    scale, tokens, token_scale = Scale.of(mapped_tensor(pooled)), None, None
    if _matches_tokens(task):
        teacher = teacher_artifact(task, store, train=task.train, reporter=reporter)
        tokens = load_teacher(task, store, teacher).tokens(task.train)
        token_scale = Scale.of(tokens.flat)
        tokens = _on_device(tokens, token_scale, task)
    return Knowledge(logits, _vectors(pooled, scale, task), tokens, scale, token_scale)


def load_unlabelled_knowledge(
    task: FoldTask, speech: UnlabelledSpeech, store: Store, *, labelled: Knowledge
) -> Knowledge:
    """What the fold's own teacher says of speech without labels, on the task's device.

    It was not fitted to that speech, so nothing is to be cross-fitted. Features are standardised as
    those of the training utterances are.
    """
    teacher = teacher_artifact(task, store, train=task.train, reporter=Silent())
    # the same teacher, listening to other packs
    there = replace(task, frames=speech.frames, encoder=speech.encoder, waveforms=speech.waveforms)
    inputs: dict[str, Any] = {
        "teacher": teacher.key,
        "kind": "unlabelled",
        "utterances": speech.utterances.key(),
    }

    def build(folder: Path) -> None:
        own = load_teacher(there, store, teacher)
        np.save(folder / "logits.npy", own.logits(speech.utterances))
        np.save(folder / "pooled.npy", own.pooled(speech.utterances))

    logits, pooled = _read(store.obtain("knowledge", inputs, build), task)
    tokens = None
    if labelled.token_scale is not None:
        tokens = load_teacher(there, store, teacher).tokens(speech.utterances)
        tokens = _on_device(tokens, labelled.token_scale, task)
    vectors = _vectors(pooled, labelled.scale, task)
    return replace(labelled, logits=logits, pooled=vectors, tokens=tokens)


def _matches_tokens(task: FoldTask) -> bool:
    return bool(task.recipe.objectives.feature_map) and task.recipe.feature_map.match == "tokens"


def _read(artifact: Artifact, task: FoldTask) -> tuple[Tensor, NDArray[np.float32]]:
    """Logits on the device, and pooled vectors, mapped."""
    logits = torch.from_numpy(np.load(artifact.path / "logits.npy")).to(task.device)
    return logits, np.asarray(open_array(artifact.path / "pooled.npy"))


def _vectors(pooled: NDArray[np.float32], scale: Scale, task: FoldTask) -> Vectors:
    return Vectors(pooled, change=scale, device=task.device, share=data_share(task))


def _on_device(tokens: Tokens, scale: Scale, task: FoldTask) -> Tokens:
    return tokens.changed(scale, device=task.device, share=data_share(task))


def inner_parts(task: FoldTask) -> Iterator[tuple[Utterances, Utterances]]:
    """The training utterances split by inner speaker folds: those to fit to, and those held out."""
    # inner folds are dealt by speaker alone
    table = pd.DataFrame({"id": task.train.ids, "speaker": task.train.speakers}).assign(
        session="", emotion=""
    )
    for fit_ids, held_ids in inner_folds(table, task.train.ids, folds=INNER_FOLDS, seed=task.seed):
        yield task.train.subset(fit_ids), task.train.subset(held_ids)


def _cross_fitted_logits(task: FoldTask, store: Store) -> np.ndarray:
    place = {name: row for row, name in enumerate(task.train.ids)}
    logits = np.full((len(place), task.classes), np.nan, dtype=np.float32)
    for train, held in inner_parts(task):
        artifact = teacher_artifact(task, store, train=train, reporter=Silent())
        logits[[place[name] for name in held.ids]] = load_teacher(task, store, artifact).logits(
            held
        )
    assert np.isfinite(logits).all(), "inner folds hold every training utterance once"
    return logits
