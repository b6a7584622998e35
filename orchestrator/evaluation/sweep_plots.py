"""The plots of a sweep, drawn from its facts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.evaluation.search_plots import (
    COLUMNS,
    draw_front,
    draw_history,
    draw_slice,
    drawn_parameters,
    scale,
)

Facts = Mapping[str, Any]

MOST_TRIALS = 40
"""Trials after the best that are drawn."""


def plot_sweep(sweep: Facts, folder: str | Path) -> list[Path]:
    """Draw what a sweep found.

    Args:
        sweep: as for :func:`orchestrator.evaluation.report.render`, with its findings.
        folder: Where the PNG files go; made if missing.

    Returns:
        The files, none where nothing is complete: ``<experiment>-history.png``, the scores in their
        order; ``-sweep.png``, importances, and beside them the trials against the best;
        ``-slices.png``, the scores by each parameter; and, where there are several objectives,
        ``-front.png``, the scores against the costs. What cannot be told from so few trials is
        left out.
    """
    found = sweep.get("findings")
    if found is None or found["best"] is None:
        return []
    drawn = {"history": _history}
    if found["comparisons"]:
        drawn["sweep"] = _findings
    if drawn_parameters(sweep):
        drawn["slices"] = _slices
    if sweep.get("front"):
        drawn["front"] = _front
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for name, draw in drawn.items():
        # a figure of our own, not pyplot's: no global state, and no display is asked for
        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure, sweep)
        files.append(home / f"{sweep['experiment']}-{name}.png")
        figure.savefig(files[-1], dpi=120)
    return files


def _history(figure: Any, sweep: Facts) -> None:
    last = max(row["number"] for row in sweep["rows"])
    figure.set_size_inches(min(9.0 + 0.02 * last, 16.0), 4.5)
    figure.suptitle(f"{sweep['experiment']}: the trials in their order")
    draw_history(figure.subplots(), sweep)


def _findings(figure: Any, sweep: Facts) -> None:
    found = sweep["findings"]
    rows = max(len(found["importances"]), min(len(found["comparisons"]), MOST_TRIALS), 6)
    figure.set_size_inches(13.0, 1.6 + 0.24 * rows)
    figure.suptitle(f"{sweep['experiment']}: what {found['complete']} complete trials say")
    left, right = figure.subplots(1, 2)
    _draw_importances(left, found)
    _draw_trials(right, found, sweep["metric"])


def _slices(figure: Any, sweep: Facts) -> None:
    names = drawn_parameters(sweep)
    columns = min(COLUMNS, len(names))
    lines = math.ceil(len(names) / columns)
    figure.set_size_inches(3.4 * columns + 1.2, 2.8 * lines + 0.7)
    figure.suptitle(f"{sweep['experiment']}: complete trials by each parameter")
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for panel in panels.flat[len(names) :]:
        panel.set_axis_off()
    for name, panel in zip(names, panels.flat, strict=False):
        dots = draw_slice(panel, sweep, name)
    figure.supylabel(scale(sweep)[1], fontsize=10)
    bar = figure.colorbar(dots, ax=panels, label="trial", aspect=15 * lines, pad=0.01)
    bar.ax.set_ylim(0, max(1, *(row["number"] for row in sweep["rows"])))


def _front(figure: Any, sweep: Facts) -> None:
    costs = sweep["objectives"][1:]
    figure.set_size_inches(7.0 * len(costs), 5.4)
    on, every = len(sweep["front"]), sweep["findings"]["complete"]
    figure.suptitle(f"{sweep['experiment']}: {on} of {every} complete trials are on the front")
    panels = figure.subplots(1, len(costs), squeeze=False, sharey=True)
    for cost, panel in zip(costs, panels.flat, strict=True):
        draw_front(panel, sweep, cost)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)


def _draw_importances(panel: Any, found: Mapping[str, Any]) -> None:
    """A bar a parameter, the most important on top, with what chance gives as a mark."""
    panel.set_title("importance")
    if not found["importances"]:
        panel.text(0.5, 0.5, found["without_importance"], ha="center", va="center", wrap=True)
        panel.set_axis_off()
        return
    ones = found["importances"][::-1]
    places = range(len(ones))
    names = [one["parameter"] + (" *" if one["conditional"] else "") for one in ones]
    panel.barh(places, [100 * one["share"] for one in ones], color="C0")
    chances = [100 * one["chance"] for one in ones]
    mark = {"color": "C3", "markersize": 12, "markeredgewidth": 2}
    panel.plot(chances, places, "|", **mark, label="most by chance, of 19")
    panel.set_yticks(places, names)
    panel.set_xlabel(
        "% of the scores' variance"
        + ("   (*: in some trials only)" if "*" in "".join(names) else "")
    )
    panel.grid(axis="x", alpha=0.3)
    panel.legend(loc="lower right")


def _draw_trials(panel: Any, found: Mapping[str, Any], metric: str) -> None:
    """How far the best is ahead of each trial, with the interval over folds."""
    others = found["comparisons"][:MOST_TRIALS]
    for place, other in enumerate(others):
        color = "C0" if other["apart"] else "C1"
        if other["low"] is not None:
            ends = [100 * other["low"], 100 * other["high"]]
            panel.plot(ends, [place, place], color=color, linewidth=1.5)
        panel.plot([100 * other["difference"]], [place], "o", color=color, markersize=4)
    panel.axvline(0.0, color="black", linewidth=0.8)
    panel.invert_yaxis()
    panel.set_yticks(range(len(others)), [f"trial {other['number']}" for other in others])
    panel.set_xlabel(f"{metric} on validation: trial {found['best']} minus it, points")
    close, every = len(found["indistinguishable"]), len(found["comparisons"])
    more = f" ({every - len(others)} not drawn)" if every > len(others) else ""
    panel.set_title(f"{close} of {every} cannot be told apart (orange){more}")
    panel.grid(axis="x", alpha=0.3)
