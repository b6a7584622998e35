from __future__ import annotations

from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from orchestrator.errors import ExperimentError
from orchestrator.sweep.space_changes import Change, Ranged, changes_of, value_in

FLOAT = FloatDistribution(0.1, 10.0, log=True)
EVEN = FloatDistribution(0.0, 1.0, step=0.25)
INT = IntDistribution(2, 8, step=2)
KINDS = CategoricalDistribution(["linear", "root", None])
NUMBERS = CategoricalDistribution([2, 4, 8])
SWITCH = CategoricalDistribution([False, True])


def change(value: Any) -> Change:
    return changes_of({"p": value})["p"]


@pytest.mark.parametrize(
    ("given", "own", "value"),
    [
        (20, FLOAT, 20.0),
        ("1e-3", FLOAT, 0.001),
        (3.0, INT, 3),
        ("root", KINDS, "root"),
        (None, KINDS, None),
        (4, NUMBERS, 4),
        (4.0, NUMBERS, 4),
        (True, SWITCH, True),
    ],
)
def test_a_plain_value_is_fixed_as_the_space_has_it(given: Any, own: Any, value: Any) -> None:
    found = change(given).over(own)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("given", "own", "choices"),
    [
        (["1e-3", 1], FLOAT, (0.001, 1.0)),
        ([3, 5.0], INT, (3, 5)),
        ([None, "linear"], KINDS, (None, "linear")),
        ([8, 2], NUMBERS, (8, 2)),
        ([True], SWITCH, (True,)),
    ],
)
def test_a_list_takes_the_place_of_the_values(given: Any, own: Any, choices: Any) -> None:
    found = change(given).over(own)

    assert found == CategoricalDistribution(choices)
    assert [type(c) for c in found.choices] == [type(c) for c in choices]


@pytest.mark.parametrize(
    ("given", "own", "range"),
    [
        ({"low": 1}, FLOAT, FloatDistribution(1.0, 10.0, log=True)),
        ({"high": "1e2"}, FLOAT, FloatDistribution(0.1, 100.0, log=True)),
        ({"log": False, "step": 0.3}, FLOAT, FloatDistribution(0.1, 10.0, step=0.3)),
        ({"step": None}, EVEN, FloatDistribution(0.0, 1.0)),
        ({"low": 0.5}, EVEN, FloatDistribution(0.5, 1.0, step=0.25)),
        ({"high": 12}, INT, IntDistribution(2, 12, step=2)),
        ({"step": None, "log": True}, INT, IntDistribution(2, 8, log=True)),
    ],
)
def test_a_range_takes_the_place_and_keeps_what_it_leaves_out(
    given: Any, own: Any, range: Any
) -> None:
    assert change(given).over(own) == range


@pytest.mark.parametrize(
    ("given", "own", "message"),
    [
        ("rot", KINDS, r"holds 'rot', which is not among its choices; did you mean 'root'\?"),
        (["root", "lin"], KINDS, r"holds 'lin', which is not .*; did you mean 'linear'\?"),
        (1, SWITCH, r"holds 1, which is not among its choices; known: False, True"),
        (True, NUMBERS, r"holds True, which is not among"),
        ({"low": 1}, KINDS, r"is a range, \{'low': 1\}, but the space chooses among linear, root"),
        ("fast", FLOAT, r"holds 'fast'; it should be a number"),
        (True, FLOAT, r"holds True; it should be a number"),
        (float("nan"), FLOAT, r"holds nan; it should be a number"),
        (2.5, INT, r"holds 2\.5; it should be a whole number"),
        ({"low": 2.5}, INT, r"holds 2\.5; it should be a whole number"),
        ({"low": 20}, FLOAT, r"low \(20\) is above high \(10\); give high, too"),
        ({"low": 0}, FLOAT, r"logarithmic range begins above 0 and this one at 0; .*log: false"),
        ({"step": 0.1}, FLOAT, r"logarithmic range has no steps; add log: false, or step: null"),
        ({"log": True}, INT, r"logarithmic range has no steps"),
        ({"step": 0}, INT, r"step \(0\) has to be above 0"),
    ],
)
def test_a_change_that_does_not_fit_the_parameter_is_refused(
    given: Any, own: Any, message: str
) -> None:
    with pytest.raises(ExperimentError, match=rf"^search\.parameters\.p .*{message}"):
        change(given).over(own)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], r"p is an empty list"),
        ([1, 1.0], r"p holds 1\.0 twice"),
        (["1e-3", 0.001], r"p holds 0\.001 twice"),
        ([[1], [2]], r"p holds \[1\]; what is searched is text, a number"),
        ({}, r"p is empty"),
        ({"low": 1, "hihg": 2}, r"p is a range with the unknown key 'hihg'; .*'high'"),
        ({"low": "a"}, r"p\.low holds 'a'; it should be a number"),
        ({"log": 1}, r"p\.log is 1; it should be true or false"),
    ],
)
def test_what_is_no_change_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ExperimentError, match=rf"^search\.parameters\.{message}"):
        change(given)


def test_one_is_not_true_in_a_list() -> None:
    assert change([1, True]).over(CategoricalDistribution([True, 1])).choices == (1, True)


def test_keys_of_the_recipe_may_stand_as_sections_and_the_later_counts() -> None:
    found = changes_of(
        {
            "recipe.training.lr": 0.1,
            "recipe": {"training": {"lr": {"low": 1}, "epochs": [1, 2]}, "meta": {"kind": "none"}},
        }
    )

    assert list(found) == ["recipe.training.lr", "recipe.training.epochs", "recipe.meta.kind"]
    assert isinstance(found["recipe.training.lr"], Ranged)


@pytest.mark.parametrize(
    ("given", "recipes", "range"),
    [
        ({"low": 1, "high": 8}, 4.0, FloatDistribution(1, 8)),
        ({"low": 1, "high": 8}, 4, IntDistribution(1, 8)),
        ({"low": 1, "high": 7, "step": 2}, None, IntDistribution(1, 7, step=2)),
        ({"low": 1, "high": 8, "step": 0.5}, None, FloatDistribution(1, 8, step=0.5)),
        ({"low": "1e-4", "high": 1, "log": True}, None, FloatDistribution(1e-4, 1, log=True)),
    ],
)
def test_a_range_of_a_new_key_is_whole_where_the_recipe_is(
    given: Any, recipes: Any, range: Any
) -> None:
    found = change(given)

    assert isinstance(found, Ranged)
    assert found.anew(recipes) == range


def test_a_range_of_a_new_key_has_to_have_both_ends() -> None:
    found = change({"low": 1})

    assert isinstance(found, Ranged)
    with pytest.raises(ExperimentError, match=r"no range of its own for it; add high"):
        found.anew(1)


@pytest.mark.parametrize(
    ("given", "distribution", "value"),
    [("2e0", FLOAT, 2.0), (0.75, EVEN, 0.75), (4.0, INT, 4), ("root", KINDS, "root")],
)
def test_a_value_of_a_point_is_as_the_parameter_has_it(
    given: Any, distribution: Any, value: Any
) -> None:
    found = value_in("k", given, distribution)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("given", "distribution", "message"),
    [
        (20, FLOAT, r"k is 20\.0, outside its range of 0\.1 to 10; .*search\.parameters"),
        (0.3, EVEN, r"k is 0\.3, between the steps of 0\.25 from 0"),
        (3, INT, r"k is 3, between the steps of 2 from 2"),
        ("x", KINDS, r"k holds 'x', which is not among its choices; known: None, linear, root"),
        (None, INT, r"k holds None; it should be a number"),
    ],
)
def test_a_value_that_cannot_be_drawn_is_refused(
    given: Any, distribution: Any, message: str
) -> None:
    with pytest.raises(ExperimentError, match=f"^{message}"):
        value_in("k", given, distribution)


def test_a_key_of_a_range_that_is_mistyped_is_named() -> None:
    with pytest.raises(
        ExperimentError, match=r"recipe\.training\.lr is a range with the unknown key"
    ):
        changes_of({"recipe.training.lr": {"hihg": 1e-3}})


def test_a_bound_that_the_file_does_not_give_cannot_be_swapped() -> None:
    (change,) = changes_of({"x": {"low": 0.5}}).values()
    assert isinstance(change, Ranged)

    with pytest.raises(ExperimentError, match="low .0.5. is above high .0.1.; give high, too"):
        change.over(FloatDistribution(0.0, 0.1))
