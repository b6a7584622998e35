"""The plots of a sweep: which there are, and what stands in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from orchestrator.evaluation.search_plots import (
    SLICES,
    draw_front,
    draw_history,
    draw_slice,
    drawn_parameters,
)
from orchestrator.evaluation.sweep_plots import plot_sweep
from tests.evaluation.made_sweep import SWEEP, importance, other, row, with_front


def names(files: list[Path]) -> list[str]:
    return [file.name.removeprefix("demo-").removesuffix(".png") for file in files]


@pytest.fixture
def panel() -> Any:
    return Figure().subplots()


def lines(panel: Any, label: str) -> list[tuple[float, float]]:
    """The points of what has a label in the legend."""
    (found,) = [line for line in panel.get_lines() if line.get_label() == label]
    return [(float(x), pytest.approx(float(y))) for x, y in found.get_xydata()]


def test_a_sweep_is_drawn_in_three_files(tmp_path: Path) -> None:
    files = plot_sweep(SWEEP, tmp_path / "plots")

    assert names(files) == ["history", "sweep", "slices"]
    for file in files:
        assert file.parent == tmp_path / "plots"
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size > 5000


@pytest.mark.parametrize("costs", [("macs",), ("macs", "parameters")])
def test_several_objectives_have_a_front(tmp_path: Path, costs: tuple[str, ...]) -> None:
    files = plot_sweep(with_front(costs), tmp_path)

    # nothing was drawn there, so there is nothing to slice
    assert names(files) == ["history", "sweep", "front"]


@pytest.mark.parametrize(
    "change",
    [
        {"importances": [], "without_importance": "fewer than 8 trials are complete"},
        {"comparisons": [other(1, apart=False) | {"low": None, "high": None, "folds": 1}]},
        {"comparisons": [other(number, apart=True) for number in range(60)]},
    ],
    ids=["no importances", "no interval", "many"],
)
def test_a_sweep_that_says_little_or_much_is_drawn_too(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    files = plot_sweep(
        SWEEP | {"findings": SWEEP["findings"] | change, "rows": SWEEP["rows"][:1]}, tmp_path
    )

    assert names(files) == ["history", "sweep"]


def test_where_nothing_is_complete_nothing_is_drawn(tmp_path: Path) -> None:
    none = SWEEP["findings"] | {"best": None}

    assert plot_sweep(SWEEP | {"findings": none}, tmp_path / "plots") == []
    # the searches inside folds have no findings
    assert plot_sweep({"experiment": "demo", "inner": []}, tmp_path / "plots") == []
    assert not (tmp_path / "plots").exists()


def test_a_history_marks_each_state_and_the_best_so_far(panel: Any) -> None:
    rows = [
        row(3, value=0.7),
        row(0, value=0.6),
        row(1, value=0.5),
        row(2, "pruned", value=0.4),
        row(4, "failed"),
        row(5, "infeasible"),
        row(6, "running"),
        row(7, value=0.65),
    ]

    draw_history(panel, SWEEP | {"rows": rows})

    # by number, whatever the order of the rows
    assert lines(panel, "best so far") == [(0, 60.0), (1, 60.0), (3, 70.0), (7, 70.0)]
    assert lines(panel, "complete") == [(0, 60.0), (1, 50.0), (3, 70.0), (7, 65.0)]
    assert lines(panel, "pruned (as then expected)") == [(2, 40.0)]
    assert [x for x, _ in lines(panel, "failed")] == [4]
    assert [x for x, _ in lines(panel, "not run")] == [5]


def test_ranks_are_not_drawn_in_percent(panel: Any) -> None:
    draw_history(panel, SWEEP | {"rows": [row(0, value=0.6)], "aggregate": "rank"})

    assert lines(panel, "complete") == [(0, 0.6)]
    assert panel.get_ylabel() == "macro_recall on validation, as a mean rank"


def test_a_front_stands_out_from_the_rest_with_its_numbers(panel: Any) -> None:
    draw_front(panel, with_front(), "macs")

    assert lines(panel, "front (with 95 % intervals over folds)") == [
        (1e6 * number, 50.0 + number) for number in range(1, 9)
    ]
    assert lines(panel, "not on the front") == [(9e6, 40.0)]
    assert {text.get_text() for text in panel.texts} == {str(number) for number in range(1, 9)}


def test_numbers_are_not_written_over_one_another(panel: Any) -> None:
    sweep = with_front()
    crowd = [one | {"values": one["values"] | {"macs": 1e6}} for one in sweep["front"]]
    for one in crowd:
        one["values"] = one["values"] | {"macro_recall": 0.5}

    draw_front(panel, sweep | {"front": crowd}, "macs")

    assert len(panel.texts) == 1


def test_the_most_important_parameters_are_sliced_first_and_constant_ones_are_not() -> None:
    many = {f"p{place:02d}": place for place in range(20)}
    rows = [row(0, drawn=many | {"same": 1}), row(1, drawn={k: -v for k, v in many.items()})]
    rows.append(row(2, "pruned", drawn={"same": 2}))
    found = {"importances": [importance("p07", share=0.4), importance("p19", share=0.6)]}

    names = drawn_parameters({"rows": rows, "findings": found})

    # of p00 the values are 0 and -0, which are equal
    assert names[:4] == ["p19", "p07", "p01", "p02"]
    assert len(names) == SLICES


@pytest.mark.parametrize(
    ("parameter", "scale"),
    [("recipe.training.lr", "log"), ("recipe.student.depth", "linear"), ("patch", "linear")],
)
def test_a_slice_is_logarithmic_where_the_draw_was(panel: Any, parameter: str, scale: str) -> None:
    dots = draw_slice(panel, SWEEP, parameter)

    assert panel.get_xscale() == scale
    assert len(dots.get_offsets()) == 9


def test_choices_stand_in_their_order_with_numbers_by_size(panel: Any) -> None:
    rows = [row(n, drawn={"size": size}) for n, size in enumerate([16, None, 8, 128, 16])]
    found = SWEEP["findings"] | {"parameters": {"size": "choice"}}

    dots = draw_slice(panel, SWEEP | {"rows": rows, "findings": found}, "size")

    assert [label.get_text() for label in panel.get_xticklabels()] == ["8", "16", "128", "null"]
    places = [round(float(x)) for x, _ in dots.get_offsets()]
    assert places == [1, 3, 0, 2, 1]
    # equal ones are set aside from one another
    assert dots.get_offsets()[0][0] != dots.get_offsets()[4][0]
