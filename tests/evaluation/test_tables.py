"""How numbers and overrides stand in tables."""

from __future__ import annotations

import pytest

from orchestrator.evaluation.tables import Grid, changes, count, markdown_table, plain, signed


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (999_400, "999 k"),
        # three digits make a whole million of it
        (999_500, "1 M"),
        (12_345_678, "12.3 M"),
        (4.2e9, "4.2 G"),
        (None, "-"),
    ],
)
def test_counts_have_three_digits(value: float | None, told: str) -> None:
    assert count(value) == told


def test_a_difference_has_its_sign() -> None:
    assert [signed(value) for value in (0.025, -0.1, 0.0, None)] == ["+2.5", "-10.0", "+0.0", "-"]


def test_values_of_parameters_are_short_and_as_in_yaml() -> None:
    told = [plain(value) for value in (0.00123456, 3, False, None, "joint", [1, 2])]

    assert told == ["0.001235", "3", "false", "null", "joint", "[1, 2]"]


def test_overrides_stand_by_name_and_only_those_that_are_there() -> None:
    overrides = {"recipe.training.lr": 0.5, "recipe.student.depth": 3, "features.bins": 64}

    assert changes(overrides) == "features.bins 64, student.depth 3, training.lr 0.5"
    assert changes(overrides, ["recipe.training.lr", "recipe.none"]) == "training.lr 0.5"
    assert changes({}) == ""


def test_words_stand_to_the_left_and_numbers_to_the_right() -> None:
    plainly = Grid("t", ("what", "n", "m"), (("a", "1", "2"),))
    wordy = Grid("t", ("what", "n", "why"), (("a", "1", "two\nlines | here"),), wordy=True)

    assert markdown_table(plainly)[3] == "| --- | ---: | ---: |"
    assert markdown_table(wordy)[3:5] == [
        "| --- | ---: | --- |",
        "| a | 1 | two lines \\| here |",
    ]
