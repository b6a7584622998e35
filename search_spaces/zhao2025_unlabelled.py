"""The space ``zhao2025`` and how unlabelled speech is used, for experiments that have some.

After Zhao et al. 2025, whose values are not public: the ranges are ours.
"""

from __future__ import annotations

from typing import Any

import optuna

from search_spaces import zhao2025


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Propose all that ``zhao2025`` does, and unlabelled speech: not at all, first, or mixed in."""
    overrides = zhao2025.suggest(trial)
    kind = trial.suggest_categorical("recipe.unlabelled.kind", ["none", "first", "mixed"])
    overrides["recipe.unlabelled.kind"] = kind
    if kind == "first":
        epochs = "recipe.unlabelled.epochs"
        overrides[epochs] = trial.suggest_int(epochs, 2, 20, log=True)
    if kind == "mixed":
        weight = "recipe.unlabelled.weight"
        overrides[weight] = trial.suggest_float(weight, 0.1, 2.0, log=True)
    return overrides
