"""The plot of what a sweep found, drawn from its facts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

MOST_TRIALS = 40
"""Trials after the best that are drawn."""


def plot_sweep(sweep: Mapping[str, Any], folder: str | Path) -> Path | None:
    """Draw the parameters' importances, and beside them the trials against the best.

    Args:
        sweep: as for :func:`orchestrator.evaluation.report.render`, with its findings.
        folder: Where the PNG file goes; made if missing.

    Returns:
        The file, ``<experiment>-sweep.png``; None where fewer than two trials are complete.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = sweep["findings"]
    if not found["comparisons"]:
        return None
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    rows = max(len(found["importances"]), min(len(found["comparisons"]), MOST_TRIALS), 6)
    # a figure of our own, not pyplot's: no global state, and no display is asked for
    figure = Figure(figsize=(13.0, 1.6 + 0.24 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{sweep['experiment']}: what {found['complete']} complete trials say")
    left, right = figure.subplots(1, 2)
    _draw_importances(left, found)
    _draw_trials(right, found, sweep["metric"])
    file = home / f"{sweep['experiment']}-sweep.png"
    figure.savefig(file, dpi=120)
    return file


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
