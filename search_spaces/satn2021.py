"""SATN, Zhao et al. 2021: which of the source's attention is learned, how, and how much of it.

For experiments whose student is ``satn`` and whose recipe has a source. That attention is learned
on speech recognition and transferred is the paper's; how it is compared, the grids and the ranges
are inferred.
"""

from __future__ import annotations

from typing import Any

import optuna


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Propose what is compared, its weight, which layer teaches, segment pooling, dropout and rate.

    Cross-entropy keeps weight 1. ``layers`` chooses among the student's last two self-attention
    layers and the source's last two, so both need two or more.
    """
    overrides: dict[str, Any] = {"recipe.objectives.cross_entropy": 1.0}
    match = "recipe.attention_transfer.match"
    overrides[match] = trial.suggest_categorical(match, ["kl", "l2", "relations", "similarity"])
    # what one match alone reads goes back to its default with the others
    values, heads = (f"recipe.attention_transfer.{name}" for name in ("values", "relation_heads"))
    overrides |= {values: False, heads: None}
    if overrides[match] == "kl":
        overrides[values] = trial.suggest_categorical(values, [False, True])
    if overrides[match] == "relations":
        overrides[heads] = trial.suggest_categorical(heads, [2, 4, 8])
    strength = trial.suggest_float("strength", 0.02, 20.0, log=True)
    overrides["recipe.objectives.attention_transfer"] = strength * SCALES[overrides[match]]
    layers = trial.suggest_categorical("layers", list(PAIRS))
    overrides["recipe.attention_transfer.pairs"] = [list(pair) for pair in PAIRS[layers]]
    pooling = "recipe.student.segment_pooling"
    overrides[pooling] = trial.suggest_categorical(pooling, ["mean", "max"])
    dropout = "recipe.student.dropout"
    overrides[dropout] = trial.suggest_float(dropout, 0.0, 0.4, step=0.1)
    rate = "recipe.training.lr"
    overrides[rate] = trial.suggest_float(rate, 2.0e-4, 3.0e-3, log=True)
    return overrides


SCALES = {"kl": 1.0, "l2": 1.0, "relations": 1.0, "similarity": 50.0}
"""Weights at which each begins about as large as cross-entropy (measured on EmoDB)."""

PAIRS: dict[str, tuple[tuple[int, int], ...]] = {
    "last to last": ((-1, -1),),
    "last to first": ((-1, -2),),
    "lower to last": ((-2, -1),),
    "lower to first": ((-2, -2),),
    "both": ((-2, -2), (-1, -1)),
}
"""Which of the source's last two self-attention layers teaches which of the student's."""
