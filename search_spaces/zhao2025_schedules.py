"""Six axes of ``zhao2025`` that every trial has: pacing, the meta-learning rate, loss weights.

After Zhao et al. 2025, whose values are not public: the ranges are ours.
Small enough for a few dozen trials to say something of each. Every trial has a data curriculum,
bilevel meta-learning and all three objectives; so its protocol needs ``held_speakers``.
"""

from __future__ import annotations

from typing import Any

import optuna

SHARE = {"linear": "grow_share", "geometric": "grow_share", "one-step": "step_share"}
"""Pacing functions, and the parameter of each that says how long the easy ones are alone."""


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Propose pacing, its start and length, the meta-learning rate, and two weights."""
    pacing = "recipe.curriculum.pacing"
    kind = trial.suggest_categorical(f"{pacing}.kind", list(SHARE))
    start = trial.suggest_float(f"{pacing}.start", 0.1, 0.9)
    share = trial.suggest_float("easy_share", 0.1, 0.9)
    rate = trial.suggest_float("recipe.meta.lr", 1.0e-3, 0.3, log=True)
    distillation, contrast = (
        trial.suggest_float(f"recipe.objectives.{name}", 0.05, 5.0, log=True)
        for name in ("distillation", "supervised_contrastive")
    )
    return {
        "recipe.curriculum.kind": "data",
        f"{pacing}.kind": kind,
        f"{pacing}.start": start,
        f"{pacing}.{SHARE[kind]}": share,
        "recipe.meta.kind": "bilevel",
        "recipe.meta.lr": rate,
        "recipe.objectives.cross_entropy": 1.0,
        "recipe.objectives.distillation": distillation,
        "recipe.objectives.supervised_contrastive": contrast,
        "recipe.training.batches": "class-balanced",
        "recipe.training.class_weights": False,
    }
