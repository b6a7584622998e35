"""Kim & Lee 2024 (arXiv 2403.17327): patches, positions, stem, and what the student matches.

For experiments whose teacher and student are both ``vertical-vit``. The paper names the axes (patch
shape, coordinate encoding, convolutional stem, matching); their grids, and the ranges of weights,
temperature and learning rate, are inferred: the paper's values are not public.
"""

from __future__ import annotations

from typing import Any

import optuna

PATCHES: dict[str, tuple[int, int | None]] = {
    "vertical 1": (1, None),
    "vertical 2": (2, None),
    "vertical 4": (4, None),
    "vertical 8": (8, None),
    "square 8": (8, 8),
}
"""Patch shapes by name: frames, and Mel bins (``None``: all of them). The square patch, which needs
a number of bins that 8 divides, is the usual vision transformer's, for comparison."""


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Propose patch shape, coordinates, stem, match, schedule, weights, temperature and rate.

    Teacher and student share the patch shape; coordinates are tried on each by itself; only the
    teacher may have the stem. Cross-entropy keeps weight 1.
    """
    frames, bins = PATCHES[trial.suggest_categorical("patch", list(PATCHES))]
    overrides: dict[str, Any] = {"recipe.objectives.cross_entropy": 1.0}
    for net in ("teacher", "student"):
        overrides[f"recipe.{net}.patch_frames"] = frames
        overrides[f"recipe.{net}.patch_bins"] = bins
        placed = f"recipe.{net}.coordinates"
        overrides[placed] = trial.suggest_categorical(placed, [False, True])
    stem = "recipe.teacher.conv_stem"
    overrides[stem] = trial.suggest_categorical(stem, [False, True])
    match = "recipe.feature_map.match"
    overrides[match] = trial.suggest_categorical(match, ["pooled", "tokens"])
    weight = "recipe.objectives.feature_map"
    overrides[weight] = trial.suggest_float(weight, 0.05, 5.0, log=True)
    schedule = "recipe.schedule.kind"
    overrides[schedule] = trial.suggest_categorical(schedule, ["joint", "matching-first"])
    overrides["recipe.objectives.distillation"] = 0.0
    if trial.suggest_categorical("logits", [False, True]):
        weight = "recipe.objectives.distillation"
        overrides[weight] = trial.suggest_float(weight, 0.05, 5.0, log=True)
        value = "recipe.temperature.value"
        overrides[value] = trial.suggest_float(value, 1.0, 8.0, log=True)
    rate = "recipe.training.lr"
    overrides[rate] = trial.suggest_float(rate, 1.0e-4, 2.0e-3, log=True)
    return overrides
