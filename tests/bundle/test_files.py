"""The files of a student's folder."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load

from orchestrator.bundle.files import bundle_files
from tests.bundle.small_student import FACTS, Trained


def test_the_page_says_all_that_hearing_takes_and_where_the_student_is_from(
    trained: Trained,
) -> None:
    told = json.loads(trained.files["student.json"])

    assert told["format"] == 1
    assert told["network"]["kind"] == "vertical-vit"
    assert told["network"]["dim"] == 8
    assert told["features"]["bins"] == 8
    assert told["features"]["window_seconds"] == 0.025  # a default is written out
    assert told["emotions"] == ["anger", "happiness", "neutral", "sadness"]
    assert told["protocol"] == FACTS["protocol"]
    assert told["provenance"] == {
        "experiment": "take-away",
        "corpus": "synthetic",
        "fold": trained.task.fold,
        "seed": 0,
        "student": trained.artifact.key,
        "epoch": 1,
        "parameters": sum(
            value.numel()
            for name, value in load(trained.files["student.safetensors"]).items()
            if name.startswith("network.")
        ),
    }


def test_nothing_but_tensors_and_a_page_of_json(trained: Trained) -> None:
    assert trained.files.keys() == {"student.safetensors", "student.json"}


def test_the_same_student_gives_the_same_bytes(trained: Trained) -> None:
    turned = dict(reversed(FACTS.items()))

    assert bundle_files(trained.task, trained.artifact, facts=turned) == trained.files


@pytest.mark.parametrize("facts", [{}, {"experiment": "take-away"}, {"protocol": ""}])
def test_a_student_without_its_protocol_is_not_given_away(
    trained: Trained, facts: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="need its protocol"):
        bundle_files(trained.task, trained.artifact, facts=facts)
