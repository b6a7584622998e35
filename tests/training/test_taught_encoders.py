"""Learning to teach with a teacher whose encoder was fine-tuned."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from orchestrator.preparation import prepare
from orchestrator.training.fold_run import run_fold
from tests.models.encoders import save_waveform_model, save_whisper
from tests.training.tiny import EXPERIMENT, TRAINING, Home, experiment, fold_of, recipe_of

STRIDES = {"conv_kernel": (20, 8, 8), "conv_stride": (10, 8, 8)}


class Told:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def metrics(self, values: Any, *, step: int) -> None:
        self.rows.append(dict(values))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("wav2vec2", {"kind": "top-n", "layers": 1}),
        ("wavlm", {"kind": "top-n", "layers": 1}),
        ("hubert", {"kind": "lora", "rank": 2}),
        ("wavlm", {"kind": "full"}),
        ("whisper", {"kind": "top-n", "layers": 1}),
    ],
)
def test_a_fine_tuned_teacher_learns_to_teach(
    home: Home, tmp_path: Path, kind: str, mode: dict[str, Any]
) -> None:
    root = tmp_path / "encoder"
    if kind == "whisper":
        save_whisper(root)
    else:
        save_waveform_model(root, kind, **STRIDES)
    short = {**TRAINING, "epochs": 1}
    teacher = {"kind": "pretrained", "root": str(root), "mode": mode, "training": short}
    meta = {"kind": "learning-to-teach", "lr": 1e-2, "interval": 1}
    parts = {"objectives": {"cross_entropy": 1.0, "distillation": 1.0}, "training": short}
    protocol = EXPERIMENT["protocol"] | {"held_speakers": 1}
    store = home.store(tmp_path / "store")
    wanted = experiment(recipe=recipe_of(teacher, meta=meta, **parts), protocol=protocol)
    (prepared,) = prepare(wanted, store)
    task = fold_of(wanted, prepared).task
    still = experiment(recipe=recipe_of(teacher, **parts), protocol=protocol).recipe
    told, told_still = Told(), Told()
    run_fold(task, store=store, reporter=told)
    run_fold(task.with_recipe(still), store=store, reporter=told_still)

    (row,), (row_still,) = told.rows, told_still.rows
    assert math.isfinite(row["meta/held_cross_entropy"])
    # the student heard another teacher than the one in the store
    assert row["train/distillation"] != row_still["train/distillation"]
