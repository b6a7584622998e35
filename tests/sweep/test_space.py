"""A space changed by the experiment file, and where its trials begin."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution

from orchestrator.errors import ExperimentError
from orchestrator.experiment.search import Search
from orchestrator.sweep.space import SearchSpace
from orchestrator.sweep.space_changes import Fixed
from search_spaces import get_space

SCALES = {"kl": 1.0, "l2": 50.0}


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    found: dict[str, Any] = {"recipe.objectives.cross_entropy": 1.0}
    match = trial.suggest_categorical("match", ["kl", "l2"])
    strength = trial.suggest_float("strength", 0.1, 10.0, log=True)
    found["recipe.objectives.attention_transfer"] = strength * SCALES[match]
    if match == "l2":
        key = "recipe.training.epochs"
        found[key] = trial.suggest_int(key, 2, 8)
    found["recipe.training.lr"] = trial.suggest_float("rate", 0.1, 0.9)
    return found


def space(search: dict[str, Any] | None = None, **parameters: Any) -> SearchSpace:
    data = {"space": "own", "parameters": parameters, **(search or {})}
    return SearchSpace(
        Search.model_validate(data), suggest, {"recipe.training.dropout": 0.1, "recipe.depth": 2}
    )


def drawn(found: SearchSpace, number: int = 0, **given: Any) -> tuple[dict[str, Any], Any]:
    study = optuna.create_study()
    study.sampler = found.sampler(number, **given)
    trial = study.ask()
    return found.suggest(trial), trial


def test_an_unchanged_space_proposes_what_its_function_does() -> None:
    overrides, trial = drawn(space())

    assert overrides["recipe.training.lr"] == trial.params["rate"]
    assert set(trial.params) - {"recipe.training.epochs"} == {"match", "strength", "rate"}


def test_a_fixed_value_is_used_and_optuna_is_not_asked() -> None:
    overrides, trial = drawn(space(match="l2", strength="2e-1"))

    assert overrides["recipe.objectives.attention_transfer"] == 50.0 * 0.2
    assert set(trial.params) == {"recipe.training.epochs", "rate"}


def test_a_list_and_a_range_take_the_place_of_what_is_drawn() -> None:
    found = space(match=["l2"], strength={"low": 5}, rate=[0.2, 0.4])
    for number in range(8):
        overrides, trial = drawn(found, number)
        assert trial.params["match"] == "l2"
        assert overrides["recipe.training.lr"] in (0.2, 0.4)
        assert 5 <= trial.params["strength"] <= 10
        assert trial.distributions["strength"] == FloatDistribution(5.0, 10.0, log=True)


def test_a_key_of_the_recipe_that_the_space_leaves_alone_is_proposed_too() -> None:
    found = space(
        **{
            "recipe.training.dropout": {"low": 0, "high": 1},
            "recipe.depth": {"low": 1, "high": 3},
            "recipe.kind": ["a", "b"],
            "recipe.batch": 8,
        }
    )
    overrides, trial = drawn(found)

    assert overrides["recipe.batch"] == 8
    assert isinstance(overrides["recipe.training.dropout"], float)
    assert overrides["recipe.depth"] in (1, 2, 3)
    assert overrides["recipe.kind"] in ("a", "b")
    extended = {"recipe.training.dropout", "recipe.depth", "recipe.kind"}
    assert extended <= set(trial.params)
    assert set(found.extensions) == extended | {"recipe.batch"}


def test_without_a_function_the_parameters_are_all_that_is_searched() -> None:
    search = Search.model_validate({"parameters": {"recipe.depth": [1, 2]}})
    found = SearchSpace(search, lambda trial: {})

    assert {drawn(found, number)[0]["recipe.depth"] for number in range(9)} == {1, 2}
    assert found.told == "search.parameters"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("recipe.objectives.cross_entropy", r"sets recipe\.objectives\.cross_entropy itself, \(to"),
        ("recipe.training.lr", r"sets recipe\.training\.lr itself, by its parameter 'rate'"),
        ("recipe.training", r"sets recipe\.training\.(lr|epochs) itself"),
        ("recipe.training.lr.high", r"sets recipe\.training\.lr itself"),
    ],
)
def test_a_key_that_the_space_sets_under_another_name_is_no_addition(
    name: str, message: str
) -> None:
    with pytest.raises(ExperimentError, match=rf"search\.parameters\.{name} .*'own', .*{message}"):
        _ = space(**{name: [0.1, 0.2]}).draws


def test_conditional_parameters_are_told_from_those_that_every_trial_has() -> None:
    found = space({"sampler": "gp"})

    assert set(found.names) == {"match", "strength", "rate", "recipe.training.epochs"}
    assert list(found.always) == ["match", "rate", "strength"]
    assert found.independent == ("recipe.training.epochs",)
    assert space({"sampler": "tpe"}).independent == ()
    # under one match alone it is in every trial
    assert space({"sampler": "gp"}, match="l2").independent == ()


def test_what_a_draw_asked_for_tells_the_fixed() -> None:
    asked = space(match="l2").draws[0].asked

    assert asked["match"] == Fixed("search.parameters.match", "l2")
    assert list(asked) == ["match", "strength", "recipe.training.epochs", "rate"]


def test_a_point_to_start_from_gives_its_values_to_the_trial_of_its_number() -> None:
    found = space({"start": [{"match": "l2", "recipe.training.epochs": "5e0"}, {"rate": 0.5}]})
    first, second, third = (drawn(found, number) for number in range(3))

    assert first[0]["recipe.training.epochs"] == 5
    assert first[1].params["match"] == "l2"
    # what a point leaves out is drawn as without it
    assert first[1].params["rate"] == drawn(space(), 0)[1].params["rate"]
    assert second[0]["recipe.training.lr"] == 0.5
    assert third[1].params == drawn(space(), 2)[1].params


@pytest.mark.parametrize("kind", ["tpe", "gp", "nsga2", "random", "qmc"])
def test_carried_parameters_go_before_points_to_start_from(kind: str) -> None:
    found = space({"start": [{"rate": 0.5}] * 2, "sampler": kind})
    carried = [{"match": "kl", "strength": 3.5, "rate": 0.25}]

    assert drawn(found, 0, carried=carried)[1].params == carried[0]
    assert drawn(found, 1, carried=carried)[1].params["rate"] == 0.5


@pytest.mark.parametrize("kind", ["tpe", "gp", "nsga2", "qmc"])
def test_a_point_holds_against_what_a_sampler_draws_together(kind: str) -> None:
    found = space({"start": [{"rate": 0.5}] * 16, "sampler": kind, "trials": 20})
    study = optuna.create_study(direction="maximize")
    for number in range(13):
        study.sampler = found.sampler(number)
        trial = study.ask()
        assert found.suggest(trial)["recipe.training.lr"] == 0.5
        study.tell(trial, trial.params["strength"])


def test_the_choices_of_a_shipped_space_are_narrowed_by_name() -> None:
    search = Search.model_validate(
        {
            "space": "satn2021",
            "parameters": {
                "recipe.attention_transfer.match": ["kl", "relations"],
                "layers": "both",
            },
        }
    )
    found = SearchSpace(search, get_space("satn2021"))

    matches = {draw.overrides["recipe.attention_transfer.match"] for draw in found.draws}
    assert matches == {"kl", "relations"}
    assert found.draws[0].overrides["recipe.attention_transfer.pairs"] == [[-2, -2], [-1, -1]]
