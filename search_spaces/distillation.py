"""How to weigh a teacher's word: for any teacher and any student.

After no single paper: logits are listened to as in Hinton et al. 2015; the ranges are ours.
"""

from __future__ import annotations

from typing import Any

import optuna


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Propose objective weights, temperature, learning rate and label smoothing.

    Cross-entropy keeps weight 1, since only the ratios of the weights matter beside the learning
    rate. Every trial listens to the teacher, by its logits, its features or both.
    """
    listens = trial.suggest_categorical("listens", ["logits", "features", "both"])
    overrides: dict[str, Any] = {
        "recipe.objectives.cross_entropy": 1.0,
        "recipe.objectives.distillation": 0.0,
        "recipe.objectives.feature_map": 0.0,
    }
    if listens != "features":
        weight = "recipe.objectives.distillation"
        overrides[weight] = trial.suggest_float(weight, 0.05, 5.0, log=True)
        value = "recipe.temperature.value"
        overrides[value] = trial.suggest_float(value, 1.0, 8.0, log=True)
    if listens != "logits":
        weight = "recipe.objectives.feature_map"
        overrides[weight] = trial.suggest_float(weight, 0.05, 5.0, log=True)
    rate = "recipe.training.lr"
    overrides[rate] = trial.suggest_float(rate, 2.0e-4, 3.0e-3, log=True)
    smoothing = "recipe.training.label_smoothing"
    overrides[smoothing] = trial.suggest_float(smoothing, 0.0, 0.2, step=0.05)
    return overrides
