from __future__ import annotations

import optuna
import pytest

from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.overrides import apply_overrides
from search_spaces import SpaceError, get_space, list_spaces

EXPERIMENT = {
    "name": "spaces",
    "corpora": [{"kind": "synthetic"}],
    "protocol": {"kind": "leave-one-session-out"},
    "recipe": {
        "teacher": {"kind": "vertical-vit"},
        "student": {"kind": "vertical-vit"},
        "objectives": {"cross_entropy": 0.5, "feature_map": 1.0},
    },
}


def copied() -> dict:
    return Experiment.model_validate(EXPERIMENT).model_dump()


def test_spaces_are_listed_by_file_name() -> None:
    assert list_spaces() == ("distillation", "kim2024")


def test_unknown_space_suggests_the_nearest() -> None:
    with pytest.raises(SpaceError, match="'kim2042'; did you mean 'kim2024'"):
        get_space("kim2042")


def test_space_unlike_any_other_lists_them() -> None:
    with pytest.raises(SpaceError, match="known: distillation, kim2024"):
        get_space("zzz")


@pytest.mark.parametrize("name", ["distillation", "kim2024"])
def test_every_draw_makes_a_valid_experiment(name: str) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(100):
        overrides = get_space(name)(study.ask())
        data = copied()
        apply_overrides(data, overrides)
        recipe = Experiment.model_validate(data).recipe

        assert recipe.needs_teacher
        assert recipe.objectives.cross_entropy == 1.0
        assert recipe.training.lr == overrides["recipe.training.lr"]


@pytest.mark.parametrize("name", ["distillation", "kim2024"])
def test_every_axis_is_drawn_in_all_its_values(name: str) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    seen: dict[str, set[object]] = {}
    for _ in range(100):
        trial = study.ask()
        get_space(name)(trial)
        for axis, value in trial.params.items():
            seen.setdefault(axis, set()).add(value)
        choices = {
            axis: set(distribution.choices)
            for axis, distribution in trial.distributions.items()
            if isinstance(distribution, optuna.distributions.CategoricalDistribution)
        }

    assert all(seen[axis] == values for axis, values in choices.items())


def test_kim2024_gives_teacher_and_student_one_patch_shape() -> None:
    trial = optuna.trial.FixedTrial(
        {
            "patch": "square 8",
            "recipe.teacher.coordinates": True,
            "recipe.student.coordinates": False,
            "recipe.teacher.conv_stem": True,
            "recipe.feature_map.match": "tokens",
            "recipe.objectives.feature_map": 0.5,
            "recipe.schedule.kind": "matching-first",
            "logits": False,
            "recipe.training.lr": 5e-4,
        }
    )

    assert get_space("kim2024")(trial) == {
        "recipe.objectives.cross_entropy": 1.0,
        "recipe.teacher.patch_frames": 8,
        "recipe.teacher.patch_bins": 8,
        "recipe.teacher.coordinates": True,
        "recipe.student.patch_frames": 8,
        "recipe.student.patch_bins": 8,
        "recipe.student.coordinates": False,
        "recipe.teacher.conv_stem": True,
        "recipe.feature_map.match": "tokens",
        "recipe.objectives.feature_map": 0.5,
        "recipe.schedule.kind": "matching-first",
        "recipe.objectives.distillation": 0.0,
        "recipe.training.lr": 5e-4,
    }
