"""What a result says of the recipes behind its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.evaluation.result import ablation_changes
from tests.models.encoders import save_whisper
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


def test_a_source_of_an_ablation_is_told_by_its_weights_wherever_it_lies(tmp_path: Path) -> None:
    told = []
    for folder in ("here", "there"):
        root = save_whisper(tmp_path / folder)
        listens = {
            "recipe.student": {"kind": "satn"},
            "recipe.source": {"kind": "pretrained", "root": str(root)},
            "recipe.objectives.attention_transfer": 1.0,
        }
        told.append(changes_of(listens=listens)["listens"])

    assert told[0] == told[1]
    source = told[0]["recipe.source"]
    assert source["kind"] == "pretrained"
    assert len(source["weights"]) >= 32
    assert not {"root", "revision"} & source.keys()
    assert told[0]["recipe.student"] == {"kind": "satn"}
