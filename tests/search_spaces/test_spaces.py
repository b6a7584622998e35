from __future__ import annotations

import optuna
import pytest

from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.overrides import apply_overrides
from search_spaces import SpaceError, get_space, list_spaces

EXPERIMENT = {
    "name": "spaces",
    "corpora": [
        {"kind": "synthetic"},
        {"kind": "folder", "root": "speech", "role": "unlabelled", "speakers_apart": True},
    ],
    "protocol": {"kind": "leave-one-session-out", "held_speakers": 1},
    "recipe": {
        "teacher": {"kind": "vertical-vit"},
        "student": {"kind": "vertical-vit"},
        "objectives": {"cross_entropy": 0.5, "feature_map": 1.0},
    },
}


ATTENDING = {
    "name": "spaces",
    "corpora": [{"kind": "synthetic"}, {"kind": "fsdd", "root": "digits"}],
    "protocol": {"kind": "leave-one-session-out"},
    "recipe": {
        "student": {"kind": "satn", "depth": 2, "heads": 8},
        "source": {"kind": "recogniser", "network": {"depth": 3, "heads": 8}},
        "objectives": {"cross_entropy": 0.5, "attention_transfer": 1.0},
        # what is left of it in a draw without
        "attention_transfer": {"match": "relations", "relation_heads": 4},
    },
}


def copied(name: str) -> dict:
    experiment = ATTENDING if name == "satn2021" else EXPERIMENT
    return Experiment.model_validate(experiment).model_dump()


def test_spaces_are_listed_by_file_name() -> None:
    assert list_spaces() == (
        "distillation",
        "kim2024",
        "satn2021",
        "zhao2025",
        "zhao2025_schedules",
        "zhao2025_unlabelled",
    )


def test_unknown_space_suggests_the_nearest() -> None:
    with pytest.raises(SpaceError, match="'kim2042'; did you mean 'kim2024'"):
        get_space("kim2042")


def test_space_unlike_any_other_lists_them() -> None:
    with pytest.raises(SpaceError, match="known: distillation, kim2024, satn2021, zhao2025"):
        get_space("zzz")


@pytest.mark.parametrize("name", list_spaces())
def test_every_draw_makes_a_valid_experiment(name: str) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(300):
        overrides = get_space(name)(study.ask())
        data = copied(name)
        apply_overrides(data, overrides)
        recipe = Experiment.model_validate(data).recipe

        assert recipe.learns_from_another
        assert recipe.objectives.cross_entropy == 1.0
        for key, value in overrides.items():
            found: object = recipe
            for part in key.split(".")[1:]:
                found = getattr(found, part)
            assert found == _tuples(value), key


def _tuples(value: object) -> object:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@pytest.mark.parametrize("name", list_spaces())
def test_every_axis_is_drawn_in_all_its_values(name: str) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    seen: dict[str, set[object]] = {}
    choices: dict[str, set[object]] = {}
    for _ in range(300):
        trial = study.ask()
        get_space(name)(trial)
        for axis, value in trial.params.items():
            seen.setdefault(axis, set()).add(value)
        choices |= {
            axis: set(distribution.choices)
            for axis, distribution in trial.distributions.items()
            if isinstance(distribution, optuna.distributions.CategoricalDistribution)
        }

    assert all(seen[axis] == values for axis, values in choices.items())


def drawn(name: str, times: int = 200) -> list[dict[str, object]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    return [get_space(name)(study.ask()) for _ in range(times)]


def test_satn2021_proposes_what_only_one_match_reads_under_it_alone() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=4))
    for _ in range(50):
        trial = study.ask()
        match = get_space("satn2021")(trial)["recipe.attention_transfer.match"]
        axes = {name.removeprefix("recipe.attention_transfer.") for name in trial.params}

        assert ("values" in axes) == (match == "kl")
        assert ("relation_heads" in axes) == (match == "relations")


def test_zhao2025_proposes_what_only_one_choice_reads_under_it_alone() -> None:
    for overrides in drawn("zhao2025"):
        has = {key.removeprefix("recipe.") for key in overrides}

        assert ("curriculum.pacing.kind" in has) == (overrides["recipe.curriculum.kind"] == "data")
        assert ("meta.lr" in has) == (overrides["recipe.meta.kind"] != "none")
        assert ("meta.learn" in has) == (overrides["recipe.meta.kind"] == "bilevel")
        assert ("temperature.value" in has) == (overrides["recipe.temperature.kind"] == "fixed")
        assert ("supervised_contrastive.temperature" in has) == (
            overrides["recipe.objectives.supervised_contrastive"] != 0.0
        )
        assert "unlabelled.kind" not in has


def test_zhao2025_learns_a_temperature_from_a_fixed_one_only() -> None:
    learning = [o for o in drawn("zhao2025") if "temperatures" in o.get("recipe.meta.learn", [])]  # type: ignore[operator]

    assert learning
    assert {o["recipe.temperature.kind"] for o in learning} == {"fixed"}


def test_zhao2025_unlabelled_adds_unlabelled_speech_to_zhao2025() -> None:
    found = drawn("zhao2025_unlabelled")

    assert {o["recipe.unlabelled.kind"] for o in found} == {"none", "first", "mixed"}
    for overrides in found:
        assert ("recipe.unlabelled.epochs" in overrides) == (
            overrides["recipe.unlabelled.kind"] == "first"
        )


def test_zhao2025_schedules_has_the_same_axes_in_every_trial() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    axes = set()
    for _ in range(50):
        trial = study.ask()
        get_space("zhao2025_schedules")(trial)
        axes.add(tuple(sorted(trial.params)))

    assert len(axes) == 1
    assert len(axes.pop()) == 6


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
