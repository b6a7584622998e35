"""After Zhao et al. 2025: curricula, temperatures, meta-learning and the weights of the loss.

For experiments with a teacher of any kind. The paper's values are not public, so every range is
ours. Whatever only one choice reads is proposed under that choice alone: no pacing without a
curriculum, no meta-learning rate without meta-learning.

Meta-learning needs training speakers kept apart (``held_speakers`` in the protocol of the search).
"""

from __future__ import annotations

from typing import Any

import optuna


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Propose weights, contrast, temperature, data curriculum, meta-learning and learning rate."""
    overrides: dict[str, Any] = {"recipe.objectives.cross_entropy": 1.0}
    overrides |= _log(trial, "recipe.objectives.distillation", 0.1, 5.0)
    overrides |= contrast(trial)
    learns = meta(trial, overrides)
    if learns in ("temperatures", "both"):
        overrides["recipe.temperature.kind"] = "fixed"
        overrides |= _log(trial, "recipe.temperature.value", 2.0, 8.0)
    else:
        overrides |= temperature(trial)
    overrides |= curriculum(trial)
    overrides |= _log(trial, "recipe.training.lr", 5.0e-4, 5.0e-3)
    return overrides


def contrast(trial: optuna.Trial) -> dict[str, Any]:
    """Propose whether supervised contrast joins in, and how.

    With it batches are class-balanced, without it the weights of classes in the loss are: so the
    emotions count alike either way.
    """
    weight = "recipe.objectives.supervised_contrastive"
    joins = trial.suggest_categorical("contrast", [False, True])
    batches = "class-balanced" if joins else "shuffled"
    balance = {"recipe.training.batches": batches, "recipe.training.class_weights": not joins}
    if not joins:
        return {weight: 0.0, **balance}
    return {
        **balance,
        **_log(trial, weight, 0.05, 1.0),
        **_log(trial, "recipe.supervised_contrastive.temperature", 0.05, 0.5),
    }


def temperature(trial: optuna.Trial) -> dict[str, Any]:
    """Propose a fixed temperature, or one that is trained against the student."""
    kind = trial.suggest_categorical("recipe.temperature.kind", ["fixed", "curriculum"])
    overrides: dict[str, Any] = {"recipe.temperature.kind": kind}
    if kind == "fixed":
        return overrides | _log(trial, "recipe.temperature.value", 2.0, 8.0)
    per_instance = "recipe.temperature.per_instance"
    return {
        **overrides,
        per_instance: trial.suggest_categorical(per_instance, [False, True]),
        **_log(trial, "recipe.temperature.span", 5.0, 20.0),
        **_log(trial, "recipe.temperature.strength", 0.1, 1.0),
    }


def curriculum(trial: optuna.Trial) -> dict[str, Any]:
    """Propose whether easy utterances come first, who says what is easy, and the pacing."""
    kind = trial.suggest_categorical("recipe.curriculum.kind", ["none", "data"])
    overrides: dict[str, Any] = {"recipe.curriculum.kind": kind}
    if kind == "none":
        return overrides
    difficulty = "recipe.curriculum.difficulty"
    overrides[difficulty] = trial.suggest_categorical(difficulty, ["teacher-loss", "own-loss"])
    kinds = ["linear", "root", "geometric", "exponential", "baby-steps", "one-step"]
    return overrides | pacing(trial, kinds)


def pacing(trial: optuna.Trial, kinds: list[str]) -> dict[str, Any]:
    """Propose one of some pacing functions and its parameters."""
    key = "recipe.curriculum.pacing"
    kind = trial.suggest_categorical(f"{key}.kind", kinds)
    overrides: dict[str, Any] = {f"{key}.kind": kind} | _even(trial, f"{key}.start", 0.1, 0.6)
    if kind in ("linear", "root", "geometric"):
        overrides |= _even(trial, f"{key}.grow_share", 0.2, 0.9)
    else:
        overrides |= _even(trial, f"{key}.step_share", 0.05, 0.5)
    if kind == "root":
        overrides |= _even(trial, f"{key}.power", 1.5, 5.0)
    if kind == "exponential":
        name = f"{key}.increase"
        overrides[name] = trial.suggest_float("pacing_factor", 1.2, 3.0)
    if kind == "baby-steps":
        name = f"{key}.increase"
        overrides[name] = trial.suggest_float("pacing_added", 0.05, 0.4)
    return overrides


def meta(trial: optuna.Trial, overrides: dict[str, Any]) -> str:
    """Propose meta-learning into ``overrides``; what it learns: ``temperatures``, ... or ``""``."""
    kinds = ["none", "bilevel", "learning-to-teach"]
    kind = trial.suggest_categorical("recipe.meta.kind", kinds)
    overrides["recipe.meta.kind"] = kind
    if kind == "none":
        return ""
    interval = "recipe.meta.interval"
    overrides[interval] = trial.suggest_categorical(interval, [2, 4, 8])
    overrides |= _log(trial, "recipe.meta.inner_lr", 0.01, 0.2)
    if kind == "learning-to-teach":
        overrides["recipe.meta.lr"] = trial.suggest_float("teacher_lr", 1.0e-5, 1.0e-3, log=True)
        # the teacher that is updated is the fold's own
        overrides["recipe.knowledge"] = "in-sample"
        return ""
    overrides |= _log(trial, "recipe.meta.lr", 1.0e-3, 0.1)
    learns: str = trial.suggest_categorical("learns", ["temperatures", "weights", "both"])
    overrides["recipe.meta.learn"] = ["temperatures", "weights"] if learns == "both" else [learns]
    return learns


def _log(trial: optuna.Trial, key: str, low: float, high: float) -> dict[str, Any]:
    return {key: trial.suggest_float(key, low, high, log=True)}


def _even(trial: optuna.Trial, key: str, low: float, high: float) -> dict[str, Any]:
    return {key: trial.suggest_float(key, low, high)}
