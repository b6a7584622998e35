"""What is wrong with a space is said before anything runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from orchestrator.errors import ExperimentError
from orchestrator.experiment import Experiment
from orchestrator.sweep import space_checks
from orchestrator.sweep.space_checks import checked_space, open_space
from search_spaces import list_spaces
from tests import small
from tests.search_spaces.test_spaces import copied


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return small.load(tmp_path)


def searching(experiment: Experiment, **search: Any) -> Experiment:
    data = experiment.model_dump()
    data["search"] |= search
    return Experiment.model_validate(data)


def use(monkeypatch: pytest.MonkeyPatch, suggest: Any) -> None:
    monkeypatch.setattr(space_checks, "get_space", lambda name: suggest)


@pytest.mark.parametrize("name", list_spaces())
def test_a_shipped_space_is_right_and_checked_at_once(name: str) -> None:
    checked_space(Experiment.model_validate(copied(name) | {"search": {"space": name}}))
    started = time.process_time()
    checked_space(Experiment.model_validate(copied(name) | {"search": {"space": name}}))

    assert time.process_time() - started < 1.0


def test_parameters_may_be_all_that_is_searched(experiment: Experiment) -> None:
    parameters = {
        "recipe.training.lr": {"low": "1e-4", "high": "1e-2", "log": True},
        "recipe.training.epochs": {"low": 1, "high": 3},
        "recipe.objectives.distillation": [0.5, 1],
        "recipe.training.label_smoothing": 0.1,
    }
    space = checked_space(searching(experiment, space=None, parameters=parameters))

    overrides = [draw.overrides for draw in space.draws]
    assert {found["recipe.training.epochs"] for found in overrides} == {1, 2, 3}
    assert all(1e-4 <= found["recipe.training.lr"] <= 1e-2 for found in overrides)
    assert list(overrides[0]) == list(parameters)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"space": "distilation"}, r"search\.space: .*did you mean 'distillation'\?"),
        (
            {"parameters": {"lisens": "both"}},
            r"parameters\.lisens: 'lisens' is neither a parameter .* did you mean 'listens'\?",
        ),
        (
            {"parameters": {"listens": "bot"}},
            r"parameters\.listens holds 'bot', .*did you mean 'both'\?",
        ),
        (
            {"parameters": {"recipe.training.label_smothing": [0, 0.1]}},
            r"search\.parameters\.recipe\.training\.label_smothing makes no valid recipe: .*"
            r"unknown key 'recipe\.training\.label_smothing'.*did you mean 'label_smoothing'\?",
        ),
        (
            {"parameters": {"training.lr": 1e-3}},
            r"'training\.lr' is neither .*did you mean 'recipe\.training\.lr'\?",
        ),
        (
            {"parameters": {"recipe.objectives.cross_entropy": 2.0}},
            r"recipe\.objectives\.cross_entropy is no parameter of search\.space 'distillation', "
            r"which sets .* itself, \(to 1\.0",
        ),
        (
            {"parameters": {"listens": "logits", "recipe.objectives.feature_map": 1.0}},
            r"recipe\.objectives\.feature_map changes what no trial asks for",
        ),
        (
            {"parameters": {"recipe.training.lr": {"low": -1, "log": False}}},
            r"search\.parameters\.recipe\.training\.lr makes no valid recipe: .*greater than 0",
        ),
        (
            {"space": None, "parameters": {"recipe.training.epochs": 3}},
            r"search\.parameters fixes every parameter",
        ),
        (
            {"sampler": "grid"},
            r"'grid', but recipe\.objectives\.\w+ is continuous .*give search\.parameters\.recipe",
        ),
        ({"sampler": "gp", "trials": 4}, r"'gp' draws its first 10 trials at random"),
    ],
)
def test_a_wrong_search_is_refused_with_key_value_and_mend(
    experiment: Experiment, search: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExperimentError, match=message):
        checked_space(searching(experiment, **search))


def test_a_space_file_with_a_key_that_the_recipe_has_not_is_refused(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        if trial.suggest_categorical("rare", [True, *([False] * 3)]):
            return {"recipe.student.dpeth": trial.suggest_int("layers", 1, 2)}
        return {}

    use(monkeypatch, suggest)

    with pytest.raises(
        ExperimentError,
        match=r"search\.space 'distillation': a draw \(\{'rare': True, 'layers': \d\}\) makes no "
        r"valid recipe: .*unknown key 'recipe\.student\.dpeth'.*did you mean 'depth'\?",
    ):
        checked_space(experiment)


def test_a_sampler_of_joint_draws_is_refused_where_no_parameter_is_in_every_trial(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(10_000))

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        key = "recipe.training.epochs"
        return {key: trial.suggest_int(f"epochs {next(calls) % 2}", 1, 2)}

    use(monkeypatch, suggest)
    experiment = searching(experiment, trials=20)

    for kind in ("gp", "nsga2", "qmc"):
        with pytest.raises(ExperimentError, match=rf"'{kind}' knows the parameters that every"):
            checked_space(searching(experiment, sampler=kind))
    checked_space(searching(experiment, sampler="tpe"))


def test_a_grid_is_counted(experiment: Experiment) -> None:
    parameters = {
        "recipe.objectives.distillation": [0.5, 1.0],
        "recipe.objectives.feature_map": 1.0,
        "recipe.temperature.value": {"low": 2, "high": 4, "step": 2, "log": False},
        "recipe.training.lr": ["1e-3", "2e-3"],
        "recipe.training.label_smoothing": 0.0,
    }
    experiment = searching(experiment, parameters=parameters, sampler="grid")

    # logits and both: 2 weights x 2 temperatures x 2 rates each; features: 2 rates
    assert checked_space(experiment).size == 8 + 8 + 2


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({}, r"search\.start\.0 is empty"),
        ({"lisens": "both"}, r"start\.0\.lisens: there is no such parameter; .*'listens'"),
        ({"listens": "bot"}, r"start\.0\.listens holds 'bot', .*did you mean 'both'"),
        ({"recipe.training.lr": 1.0}, r"start\.0\.recipe\.training\.lr is 1\.0, outside its range"),
        (
            {"recipe.training.label_smoothing": 0.07},
            r"start\.0\.recipe\.training\.label_smoothing is 0\.07, between the steps of 0\.05",
        ),
        (
            {"listens": "features", "recipe.temperature.value": 2},
            r"start\.0\.recipe\.temperature\.value is a parameter that a trial with this point's "
            r"other values does not have",
        ),
        (
            {"recipe.temperature.value": 2},
            r"start\.0\.recipe\.temperature\.value is 2, but whether .* a value of listens too",
        ),
        ({"recipe.training.epochs": 2}, r"start\.0\.recipe\.training\.epochs is 2, but .*at 3;"),
    ],
)
def test_a_wrong_point_to_start_from_is_refused(
    experiment: Experiment, point: dict[str, Any], message: str
) -> None:
    parameters = {"recipe.training.epochs": 3}

    with pytest.raises(ExperimentError, match=message):
        checked_space(searching(experiment, start=[point], parameters=parameters))


def test_points_to_start_from_may_be_whole_or_in_part(experiment: Experiment) -> None:
    whole = {
        "listens": "logits",
        "recipe.objectives.distillation": 1,
        "recipe.temperature.value": "4e0",
        "recipe.training.lr": 1e-3,
        "recipe.training.label_smoothing": 0.15,
    }
    checked_space(searching(experiment, start=[whole, {"listens": "both"}]))


def test_a_point_that_makes_no_recipe_is_refused(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where random draws would hardly find it."""

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        share = trial.suggest_float("share", 0.0, 1.0)
        return {"recipe.training.epochs": 0 if share == 0.5 else 1}

    use(monkeypatch, suggest)
    checked_space(experiment)

    with pytest.raises(ExperimentError, match=r"'share': 0\.5.*recipe\.training\.epochs"):
        checked_space(searching(experiment, start=[{"share": 0.5}]))


def test_an_opened_space_says_nothing_of_recipes(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, lambda trial: {"recipe.nothing": trial.suggest_int("n", 0, 1)})

    assert open_space(experiment).names == ("n",)
