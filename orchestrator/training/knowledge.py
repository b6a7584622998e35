"""What the teacher passes on for each training utterance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from orchestrator.canonical import digest
from orchestrator.protocols import inner_folds
from orchestrator.store import Artifact, Store
from orchestrator.training.task import FoldTask, Reporter, Silent
from orchestrator.training.teacher import load_teacher, teacher_artifact
from orchestrator.training.tokens import Tokens

INNER_FOLDS = 4
"""Inner speaker folds of cross-fitted logits: each teacher hears three quarters of the speakers."""


@dataclass(frozen=True)
class Knowledge:
    """Teacher's words on the training utterances, in their order."""

    logits: Tensor
    """``(utterances, classes)``."""
    pooled: Tensor
    """``(utterances, width)``."""
    tokens: Tokens | None
    """Only where they are matched: they are large, so they are computed beside the student."""


def knowledge_artifact(task: FoldTask, store: Store, *, reporter: Reporter) -> Artifact:
    """Logits and pooled vectors for the fold's training utterances, from the store or now.

    Logits are the fold's own teacher's (``in-sample``) or those of teachers of inner speaker folds
    that did not train on the utterance (``cross-fitted``, law 2); pooled vectors are always the
    fold's own teacher's, since two teachers' vectors are not comparable.
    """
    teacher = teacher_artifact(task, store, train=task.train, reporter=reporter)
    recipe = task.recipe
    # without distillation nobody reads the logits
    cross_fitted = recipe.knowledge == "cross-fitted" and recipe.objectives.distillation > 0
    inputs: dict[str, Any] = {
        "teacher": teacher.key,
        "kind": "cross-fitted" if cross_fitted else "in-sample",
        "train": task.train.key(),
    }
    if cross_fitted:
        # the inner folds depend on who speaks which utterance
        inputs["inner_folds"] = {
            "folds": INNER_FOLDS,
            "speakers": digest(list(task.train.speakers)),
            "seed": task.seed,
        }

    def build(folder: Path) -> None:
        own = load_teacher(task, store, teacher)
        logits = _cross_fitted_logits(task, store) if cross_fitted else own.logits(task.train)
        np.save(folder / "logits.npy", logits)
        np.save(folder / "pooled.npy", own.pooled(task.train))

    return store.obtain("knowledge", inputs, build)


def load_knowledge(task: FoldTask, store: Store, *, reporter: Reporter) -> Knowledge:
    """The knowledge a student's objectives need, on the task's device."""
    artifact = knowledge_artifact(task, store, reporter=reporter)
    tokens = None
    if task.recipe.objectives.feature_map and task.recipe.feature_map.match == "tokens":
        teacher = teacher_artifact(task, store, train=task.train, reporter=reporter)
        tokens = load_teacher(task, store, teacher).tokens(task.train)
        tokens = replace(tokens, flat=_standardised(tokens.flat))
    return Knowledge(
        logits=torch.from_numpy(np.load(artifact.path / "logits.npy")).to(task.device),
        pooled=_standardised(
            torch.from_numpy(np.load(artifact.path / "pooled.npy")).to(task.device)
        ),
        tokens=tokens,
    )


def _standardised(features: Tensor) -> Tensor:
    """Each feature to mean 0 and deviation 1 over the training utterances (inferred).

    Teachers' features differ in scale by orders of magnitude, and the weight of the feature-map
    objective should mean the same for all; a ViT's are layer-normalised, so little changes there.
    """
    deviation, mean = torch.std_mean(features, dim=0, correction=0)
    return (features - mean) / deviation.clamp(min=1e-5)


def _cross_fitted_logits(task: FoldTask, store: Store) -> np.ndarray:
    # inner folds are dealt by speaker alone
    table = pd.DataFrame({"id": task.train.ids, "speaker": task.train.speakers}).assign(
        session="", emotion=""
    )
    place = {name: row for row, name in enumerate(task.train.ids)}
    logits = np.full((len(place), task.classes), np.nan, dtype=np.float32)
    for fit_ids, held_ids in inner_folds(table, task.train.ids, folds=INNER_FOLDS, seed=task.seed):
        train = task.train.subset(fit_ids)
        held = task.train.subset(held_ids)
        artifact = teacher_artifact(task, store, train=train, reporter=Silent())
        logits[[place[name] for name in held.ids]] = load_teacher(task, store, artifact).logits(
            held
        )
    assert np.isfinite(logits).all(), "inner folds hold every training utterance once"
    return logits
