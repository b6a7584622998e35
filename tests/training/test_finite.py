"""The first term that is not finite is found, however seldom one looks."""

from __future__ import annotations

import math

import pytest
import torch

from orchestrator.training.finite import Place, Watch


def see(watch: Watch, update: int, *values: float) -> None:
    names = ("cross_entropy", "distillation")
    sums = {name: torch.tensor(value) for name, value in zip(names, values, strict=True)}
    place = Place("student", 1 + update // 10, update)
    watch.see(sums, place=place, ids=lambda: [f"u{update}", "v"])


def test_finite_terms_are_nothing_to_say() -> None:
    watch = Watch("recipe.training")
    for update in range(5):
        see(watch, update, 1.0, 2.0)
        assert watch.wrong(update) == ""


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_at_every_update_the_first_term_in_order_is_named(value: float) -> None:
    watch = Watch("recipe.training")
    see(watch, 3, 1.0, value)

    said = watch.wrong(3)
    assert said.startswith(f"distillation became {value} at update 3 of stage 'student' (epoch 1)")
    assert "utterances of the batch: u3, v." in said
    assert "recipe.training.lr" in said


def test_looking_seldom_finds_the_first_of_all_since() -> None:
    watch = Watch("recipe.teacher.training", every=16)
    for update in range(17, 32):
        see(watch, update, 1.0, math.nan if update in (21, 25) else 0.0)
        assert watch.wrong(update) == ""
    see(watch, 32, math.nan, math.nan)

    assert watch.wrong(32).startswith("distillation became nan at update 21 of stage")


def test_one_may_look_at_any_time() -> None:
    watch = Watch("recipe.training", every=16)
    see(watch, 5, math.nan, 0.0)

    assert watch.wrong(5) == ""
    assert "cross_entropy became nan at update 5" in watch.wrong()
    assert watch.wrong() == ""


def test_opposite_infinities_do_not_hide_each_other() -> None:
    watch = Watch("recipe.training")
    see(watch, 1, math.inf, -math.inf)

    assert "cross_entropy became inf" in watch.wrong(1)


def test_finite_terms_whose_sum_is_not_are_let_pass() -> None:
    watch = Watch("recipe.training")
    watch.see(
        {name: torch.tensor(1e308, dtype=torch.float64) for name in ("a", "b")},
        place=Place("student", 1, 0),
        ids=list,
    )

    assert watch.wrong(0) == ""


def test_nothing_was_seen() -> None:
    watch = Watch("recipe.training")
    watch.see({}, place=Place("student", 1, 0), ids=list)

    assert watch.wrong() == ""
