"""Pictures of fold runs: what is drawn where, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from orchestrator.evaluation.run_pictures import (
    _confusion,
    _curves,
    confusion_picture,
    curves_picture,
)

Rows = Sequence[Mapping[str, float]]


def epochs(*values: float, name: str = "validation/cross_entropy") -> list[dict[str, float]]:
    return [{name: value} for value in values]


def drawn(histories: Mapping[str, Rows], **kept: int) -> dict[str, Any]:
    """The panels by their titles."""
    figure = _curves(histories, title="t", chosen=kept)
    return {panel.get_title(): panel for panel in figure.axes}


def line(panel: Any, label: str) -> list[tuple[float, Any]]:
    """The points of what has a label in the legend, those that are not there left out."""
    (found,) = [one for one in panel.get_lines() if one.get_label() == label]
    return [(float(x), pytest.approx(float(y))) for x, y in found.get_xydata() if not math.isnan(y)]


def dotted(panel: Any) -> list[Any]:
    return [one for one in panel.get_lines() if one.get_linestyle() == ":"]


def texts(panel: Any) -> list[str]:
    return [text.get_text() for text in panel.texts]


def test_curves_are_a_png_the_same_for_the_same_input() -> None:
    histories = {"session=1": epochs(2.0, 1.0), "session=2": epochs(1.5, 0.5)}

    data = curves_picture(histories, title="demo, trial 7", chosen={"session=1": 2})

    assert data.startswith(b"\x89PNG")
    assert data == curves_picture(histories, title="demo, trial 7", chosen={"session=1": 2})
    assert data != curves_picture(histories, title="demo, trial 7")


def test_every_kind_of_value_has_its_panel_in_order() -> None:
    row = {
        "somewhere/else": 1.0,
        "curriculum/share": 0.5,
        "temperature/reversal": 0.1,
        "weight/distillation": 2.0,
        "temperature/mean": 4.0,
        "validation/macro_recall": 0.25,
        "validation/accuracy": 0.5,
        "validation/cross_entropy": 1.0,
        "meta/held_cross_entropy": 1.2,
        "train/distillation": 3.0,
    }

    panels = drawn({"a": [row]})

    assert list(panels) == [
        "training: terms of the loss",
        "validation: loss",
        "validation: scores, %",
        "temperature",
        "weights that are learned",
        "schedules, %",
        "somewhere",
    ]
    assert line(panels["training: terms of the loss"], "distillation") == [(1, 3.0)]
    assert line(panels["validation: loss"], "cross_entropy of held speakers (outer loss)") == [
        (1, 1.2)
    ]
    assert line(panels["validation: scores, %"], "macro_recall") == [(1, 25.0)]
    assert line(panels["schedules, %"], "utterances of the curriculum") == [(1, 50.0)]
    assert line(panels["temperature"], "mean") == [(1, 4.0)]


def test_a_recogniser_has_a_loss_and_a_rate_of_errors() -> None:
    panels = drawn({"a": [{"validation/ctc": 3.0, "validation/error_rate": 0.4}]})

    assert line(panels["validation: loss"], "ctc") == [(1, 3.0)]
    assert line(panels["validation: scores, %"], "error_rate") == [(1, 40.0)]


def test_the_bold_line_is_the_mean_of_the_thin_ones() -> None:
    (panel,) = drawn({"a": epochs(2.0, 1.0), "b": epochs(1.0, 0.0)}).values()

    assert line(panel, "cross_entropy") == [(1, 1.5), (2, 0.5)]
    thin = [path.vertices.tolist() for path in panel.collections[0].get_paths()]
    assert thin == [[[1, 2.0], [2, 1.0]], [[1, 1.0], [2, 0.0]]]
    assert not dotted(panel)


def test_one_fold_run_is_no_mean() -> None:
    figure = _curves({"a": epochs(2.0, 1.0)}, title="the fold", chosen={})

    assert figure.get_suptitle() == "the fold"
    assert not figure.axes[0].collections
    both = _curves({"a": epochs(2.0), "b": epochs(1.0)}, title="the fold", chosen={})
    said = both.get_suptitle().replace("\n", " ")
    assert said == "the fold: 2 fold runs (thin) and their mean (bold)"


def test_where_some_have_ended_the_mean_is_of_the_others_and_dotted() -> None:
    (panel,) = drawn({"a": epochs(2.0, 1.0, 0.5), "b": epochs(1.0)}).values()

    assert line(panel, "cross_entropy") == [(1, 1.5)]
    (rest,) = dotted(panel)
    assert rest.get_xydata().tolist() == [[1, 1.5], [2, 1.0], [3, 0.5]]


def test_what_is_measured_from_later_on_begins_there_on_the_same_axis() -> None:
    rows = [{"train/feature_map": 1.0}, {"train/feature_map": 0.5, "temperature/mean": 4.0}]

    panels = drawn({"a": rows, "b": rows})

    assert line(panels["temperature"], "mean") == [(2, 4.0)]
    assert panels["temperature"].get_xlim() == panels["training: terms of the loss"].get_xlim()
    assert not dotted(panels["temperature"])


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_a_gap(odd: float) -> None:
    (panel,) = drawn({"a": epochs(2.0, odd, 1.0), "b": epochs(4.0, 3.0, 2.0)}).values()

    assert line(panel, "cross_entropy") == [(1, 3.0), (3, 1.5)]
    (rest,) = dotted(panel)  # of the other alone, between the two
    assert rest.get_xydata().tolist() == [[1, 3.0], [2, 3.0], [3, 1.5]]
    assert math.isfinite(panel.get_ylim()[1])


def test_nothing_but_gaps_is_drawn_as_an_empty_panel() -> None:
    assert curves_picture({"a": epochs(math.nan), "b": epochs(math.nan)}, title="t")


def test_the_kept_epoch_is_a_ring_on_the_validation_curves_of_its_fold_run() -> None:
    history = [
        {"train/cross_entropy": 9.0, "validation/cross_entropy": value, "temperature/mean": 1.0}
        | {"meta/held_cross_entropy": 7.0}
        for value in (3.0, 1.0, 2.0)
    ]

    panels = drawn({"a": history, "b": epochs(5.0, 4.0), "c": epochs(6.0)}, a=2, b=1)

    assert line(panels["validation: loss"], "kept epoch") == [(2, 1.0), (1, 5.0)]
    for other in ("training: terms of the loss", "temperature"):
        labels = [one.get_label() for one in panels[other].get_lines()]
        assert "kept epoch" not in labels


@pytest.mark.parametrize(("values", "scale"), [((20.0, 0.5), "log"), ((20.0, 1.0), "linear")])
def test_terms_of_very_different_sizes_are_on_a_logarithmic_scale(
    values: tuple[float, float], scale: str
) -> None:
    rows = [{"train/distillation": values[0], "train/feature_map": values[1]}]

    assert drawn({"a": rows})["training: terms of the loss"].get_yscale() == scale


def test_a_zero_keeps_the_scale_linear() -> None:
    rows = [{"train/distillation": 100.0, "train/feature_map": 0.0}]

    assert drawn({"a": rows})["training: terms of the loss"].get_yscale() == "linear"


def test_a_long_title_is_wrapped_and_no_formula() -> None:
    title = "price $ of a fold run " * 12
    figure = _curves({"a": epochs(1.0)}, title=title, chosen={})

    assert figure.get_suptitle().count("\n") >= 3
    assert curves_picture({"a": epochs(1.0)}, title=title)


@pytest.mark.parametrize("histories", [{}, {"a": []}, {"a": [{}]}])
def test_no_epoch_is_refused(histories: Mapping[str, Rows]) -> None:
    with pytest.raises(ValueError, match="no fold run has an epoch"):
        curves_picture(histories, title="t")


@pytest.mark.parametrize("kept", [{"a": 0}, {"a": 3}, {"b": 1}])
def test_a_kept_epoch_that_is_not_there_is_refused(kept: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="none is number"):
        curves_picture({"a": epochs(1.0, 2.0)}, title="t", chosen=kept)


def test_a_confusion_is_drawn_as_counts_and_as_shares_of_the_rows() -> None:
    figure = _confusion([[3, 1], [0, 5]], ["anger", "neutral"], title="emodb")
    counts, shares = figure.axes

    assert texts(counts) == ["3", "1", "0", "5"]
    assert texts(shares) == ["75", "25", "0", "100"]
    assert counts.get_title() == "utterances, of 9"
    for panel in (counts, shares):
        assert [label.get_text() for label in panel.get_yticklabels()] == ["anger", "neutral"]
        assert [label.get_text() for label in panel.get_xticklabels()] == ["anger", "neutral"]
        assert (panel.get_xlabel(), panel.get_ylabel()) == ("predicted", "reference")
    assert confusion_picture([[3, 1], [0, 5]], ["a", "b"], title="t").startswith(b"\x89PNG")


def test_an_emotion_that_nobody_spoke_has_no_shares() -> None:
    _, shares = _confusion([[0, 0], [1, 3]], ["anger", "neutral"], title="t").axes

    assert texts(shares) == ["–", "–", "25", "75"]


def test_means_over_seeds_have_a_decimal() -> None:
    counts, shares = _confusion([[1.5, 0.5], [0, 2]], ["a", "b"], title="t").axes

    assert texts(counts) == ["1.5", "0.5", "0.0", "2.0"]
    assert texts(shares) == ["75", "25", "0", "100"]
    assert counts.get_title() == "utterances, of 4.0"


@pytest.mark.parametrize(
    ("confusion", "message"),
    [
        ([[1, 2, 3], [4, 5, 6]], r"shape \(2, 3\)"),
        ([[1]], r"shape \(1, 1\)"),
        ([[1, -1], [0, 0]], "negative or not finite"),
        ([[1, np.nan], [0, 0]], "negative or not finite"),
        ([[0, 0], [0, 0]], "counts no utterance"),
    ],
)
def test_what_is_no_confusion_is_refused(confusion: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_picture(confusion, ["a", "b"], title="t")


def test_names_of_emotions_are_no_formulas() -> None:
    assert confusion_picture([[1, 0], [0, 1]], ["$a_1$", "b_{c$"], title="$")
