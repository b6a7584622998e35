"""A student of a few hundred weights, taught by nobody, and the files of its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.bundle.files import bundle_files
from orchestrator.corpora import Corpus
from orchestrator.experiment import Experiment
from orchestrator.preparation import plan_folds, prepare
from orchestrator.store import Artifact, Store
from orchestrator.training.fold_run import predict, run_fold
from orchestrator.training.task import FoldTask, Silent, Unlabelled
from tests.training.tiny import TRAINING, VIT

FACTS = {"protocol": "leave one speaker out", "experiment": "take-away"}
SYNTHETIC = {"kind": "synthetic", "sessions": 2, "utterances_per_emotion": 1}


@dataclass(frozen=True)
class Trained:
    """A student as a fold run leaves it."""

    task: FoldTask
    artifact: Artifact
    files: Mapping[str, bytes]
    corpus: Corpus
    sealed: Unlabelled
    """What it is tested on."""
    logits: NDArray[np.float32]
    """What the evaluation makes of that."""


def train(corpus: Mapping[str, Any], folder: Path) -> Trained:
    """The student of the first fold of a corpus, its store in ``folder``."""
    wanted = Experiment.model_validate(
        {
            "name": "take-away",
            "corpora": [dict(corpus)],
            "protocol": {"kind": "leave-one-speaker-out", "validation_speakers": 1},
            "features": {"bins": 8, "hop_seconds": 0.02},
            "recipe": {
                "student": {**VIT, "dim": 8, "patch_frames": 8},
                "objectives": {"cross_entropy": 1.0},
                "training": {**TRAINING, "epochs": 1},
            },
        }
    )
    store = Store(folder)
    (prepared,) = prepare(wanted, store)
    planned = plan_folds(wanted, [prepared], protocol=wanted.protocol, seeds=[0])[0]
    artifact = run_fold(planned.task, store=store, reporter=Silent()).artifact
    sealed = Unlabelled.of_table(prepared.corpus.table, planned.fold.test)
    scored = predict(planned.task, sealed, store=store, trained=artifact)
    return Trained(
        task=planned.task,
        artifact=artifact,
        files=bundle_files(planned.task, artifact, facts=FACTS),
        corpus=prepared.corpus,
        sealed=sealed,
        logits=np.load(scored.path / "logits.npy"),
    )


def write(files: Mapping[str, bytes], folder: Path) -> Path:
    """Files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
