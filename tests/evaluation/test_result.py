"""What a result says of the recipes behind its rows."""

from __future__ import annotations

from typing import Any

from orchestrator.evaluation.result import ablation_changes
from tests.training.tiny import PRETRAINED, experiment, recipe_of


def changes_of(**ablations: dict[str, Any]) -> dict[str, dict[str, Any]]:
    recipe = recipe_of(PRETRAINED)
    return ablation_changes(experiment(recipe=recipe, evaluate={"ablations": ablations}))


def test_the_changes_of_each_ablation_are_told_as_they_were_written() -> None:
    softer = {"recipe.temperature": {"kind": "fixed", "value": 8.0}, "recipe.training.lr": 0.1}

    assert changes_of(softer=softer, same={}) == {"softer": softer, "same": {}}
    assert changes_of() == {}


def test_where_the_encoder_lies_is_told_of_no_ablation() -> None:
    """Results are the same on every machine."""
    lr = {"training": {"lr": 0.1}}
    told = changes_of(
        whole={"recipe.teacher": {"kind": "pretrained", "root": "encoder", **lr}},
        part={"recipe.teacher.root": "encoder", "recipe.teacher.training.lr": 0.1},
        none={"recipe.teacher": None},
    )

    assert told == {
        "whole": {"recipe.teacher": {"kind": "pretrained", **lr}},
        "part": {"recipe.teacher.training.lr": 0.1},
        "none": {"recipe.teacher": None},
    }
