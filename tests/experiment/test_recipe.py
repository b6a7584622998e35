"""Sections of the recipe whose defaults depend on what they train."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from orchestrator.experiment.recipe import PretrainedTeacher, Training


def test_a_head_over_a_frozen_encoder_has_defaults_of_its_own() -> None:
    teacher = PretrainedTeacher(kind="pretrained", root="/whisper")

    own = {
        "epochs": 100,
        "lr": 3e-3,
        "weight_decay": 0.1,
        "warmup_share": 0.0,
        "label_smoothing": 0.1,
    }
    # the order of keys too: it is the order of the file that records what was run
    expected = Training().model_dump(mode="json") | own
    assert list(teacher.training.model_dump(mode="json").items()) == list(expected.items())


def test_setting_one_key_of_the_heads_training_keeps_the_others() -> None:
    teacher = PretrainedTeacher.model_validate(
        {"kind": "pretrained", "root": "/whisper", "training": {"epochs": 7}}
    )

    assert (teacher.training.epochs, teacher.training.lr, teacher.training.weight_decay) == (
        7,
        3e-3,
        0.1,
    )


def test_augmentation_of_a_frozen_encoder_is_refused() -> None:
    with pytest.raises(ValidationError, match="augment has no effect on a frozen encoder"):
        PretrainedTeacher.model_validate(
            {"kind": "pretrained", "root": "/whisper", "training": {"augment": {"noise": 0.1}}}
        )
