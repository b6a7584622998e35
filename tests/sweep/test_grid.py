from __future__ import annotations

from typing import Any

import optuna
import pytest

from orchestrator.errors import ExperimentError
from orchestrator.experiment.search import Search
from orchestrator.sweep import grid
from orchestrator.sweep.drawing import Choose, ChosenTrial
from orchestrator.sweep.grid import following, grid_scripts
from orchestrator.sweep.space import SearchSpace


def conditional(choose: Choose) -> tuple[object, ...]:
    trial = ChosenTrial(choose)
    if trial.suggest_categorical("more", [False, True]):
        return ("more", trial.suggest_int("depth", 1, 5, step=2))
    return ("less", trial.suggest_float("share", 0.1, 0.2, step=0.1), trial.params["more"])


def test_every_point_of_a_conditional_space_stands_once_depth_first() -> None:
    scripts = grid_scripts(conditional)

    assert [conditional(following(script)) for script in scripts] == [
        ("less", 0.1, False),
        ("less", 0.2, False),
        ("more", 1),
        ("more", 3),
        ("more", 5),
    ]


def test_a_space_without_parameters_has_one_point() -> None:
    assert grid_scripts(lambda choose: None) == [()]


def test_a_continuous_parameter_is_refused_with_the_mend() -> None:
    def continuous(choose: Choose) -> None:
        trial = ChosenTrial(choose)
        trial.suggest_categorical("kind", ["a", "b"])
        trial.suggest_float("recipe.training.lr", 1e-4, 1e-2, log=True)

    with pytest.raises(
        ExperimentError,
        match=r"recipe\.training\.lr is continuous \(0\.0001 to 0\.01\); give "
        r"search\.parameters\.recipe\.training\.lr a list of values, or a step",
    ):
        grid_scripts(continuous)


def test_more_points_than_a_sweep_could_try_are_refused_with_the_count_so_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grid, "LIMIT", 50)

    def wide(choose: Choose) -> None:
        ChosenTrial(choose).suggest_int("n", 0, 10**9)

    with pytest.raises(ExperimentError, match=r"more than 50 points \(stopped counting at 51\)"):
        grid_scripts(wide)
    assert len(grid_scripts(lambda choose: ChosenTrial(choose).suggest_int("n", 1, 50))) == 50


def test_a_sweep_goes_through_a_grid_once_in_an_order_that_its_seed_shuffles() -> None:
    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        if trial.suggest_categorical("more", [False, True]):
            return {"depth": trial.suggest_int("depth", 1, 6)}
        return {"share": trial.suggest_float("share", 0.1, 0.4, step=0.1)}

    orders = []
    for seed in (0, 1):
        space = SearchSpace(Search(space="own", sampler="grid", seed=seed), suggest)
        assert space.size == 10
        study = optuna.create_study()
        found = []
        for number in range(10):
            study.sampler = space.sampler(number)
            found.append(tuple(space.suggest(study.ask()).items()))
        orders.append(found)
        with pytest.raises(ExperimentError, match="no trial 10 of a grid of 10 points"):
            space.sampler(10)

    expected = {(("depth", n),) for n in range(1, 7)} | {
        (("share", n),) for n in (0.1, 0.2, 0.3, 0.4)
    }
    assert set(orders[0]) == set(orders[1]) == expected
    assert orders[0] != orders[1]
