"""What a student costs to use: its parameters, and its multiply-accumulates."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from models.macs import count_parameters, multiply_accumulates
from orchestrator.experiment.features import LogMelFeatures
from orchestrator.experiment.recipe import Recipe
from orchestrator.experiment.search import Cost
from orchestrator.training.networks import build_network


def student_costs(
    recipe: Recipe, *, features: LogMelFeatures, classes: int, frames: int
) -> dict[str, int]:
    """The costs of a recipe's student, by name (``macs``, ``parameters``).

    Args:
        recipe: whose student is built, and forgotten.
        features: that it listens to.
        classes: emotions.
        frames: of the utterance that multiply-accumulates are counted for.
    """
    with torch.random.fork_rng():
        network = build_network(recipe.student, features=features, classes=classes)
    width = features.bins * (features.deltas + 1)
    return {
        "macs": multiply_accumulates(network, frames=frames, width=width),
        "parameters": count_parameters(network),
    }


def beyond(costs: Mapping[str, float], limits: Mapping[Cost, float]) -> str:
    """Which of ``search.constraints`` are not met, as a clause for people; empty if all are."""
    return " and ".join(
        f"{cost} {costs[cost]:,.0f} is above search.constraints.{cost} {limit:,.0f}"
        for cost, limit in limits.items()
        if costs[cost] > limit
    )
