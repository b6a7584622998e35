"""Plots of an evaluation, drawn from its stored result (``evaluation.json``)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.evaluation.statistics import SYSTEMS, in_order

Result = Mapping[str, Any]
"""An evaluation as stored in ``evaluation.json``."""

PANELS = 4
"""Confusion matrices side by side."""

LINES = 6
"""More systems than these are told apart by rows of a grid, not by colours."""


def plot(result: Result, folder: str | Path) -> list[Path]:
    """Draw the confusion matrices and the fold scores of every corpus, and what ablations differ.

    Args:
        result: The evaluation as stored in ``evaluation.json``.
        folder: Where the PNG files go; made if missing.

    Returns:
        The files: ``<corpus>-confusion.png`` and ``<corpus>-folds.png`` of each corpus, and
        ``<corpus>-ablations.png`` where there are ablations and something to compare them with.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for corpus in sorted(result["protocols"]):
        stem = re.sub(r"[^\w.-]+", "_", corpus)
        drawn = {"confusion": _draw_confusion, "folds": _draw_folds}
        if compared(result, corpus):
            drawn["ablations"] = _draw_ablations
        for name, draw in drawn.items():
            # Figures of our own, not pyplot's: no global state, and no display is asked for.
            figure = Figure(layout="constrained")
            FigureCanvasAgg(figure)
            draw(figure, result, corpus)
            file = home / f"{stem}-{name}.png"
            figure.savefig(file, dpi=120)
            files.append(file)
    return files


def compared(result: Result, corpus: str) -> list[dict[str, Any]]:
    """How each other system differs from ``distilled``, or else from ``student-alone``.

    Returns:
        For each system in order, ``system``, ``reference``, ``metric``, ``mean``, ``low``, ``high``
        (fractions), ``n`` and ``unit``; none where there are no ablations.
    """
    order = _order(result)
    if not set(order) - set(SYSTEMS):
        return []
    entries = [entry for entry in result["differences"] if entry["corpus"] == corpus]
    metrics = {entry["metric"] for entry in entries}
    # of single dialogues there is accuracy only
    metric = "macro_recall" if "macro_recall" in metrics else "accuracy"
    found: list[dict[str, Any]] = []
    for reference in ("distilled", "student-alone"):
        for system in order:
            for entry in entries:
                if entry["metric"] == metric and {entry["a"], entry["b"]} == {system, reference}:
                    found.append(_towards(reference, entry))
        if found:
            break
    return found


def _towards(reference: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """A difference as the other system minus ``reference``."""
    kept = {name: entry[name] for name in ("metric", "n", "unit")} | {"reference": reference}
    mean, low, high = entry["mean"], entry["low"], entry["high"]
    if entry["b"] == reference:
        return kept | {"system": entry["a"], "mean": mean, "low": low, "high": high}
    turned = [None if end is None else -end for end in (high, low)]
    return kept | {"system": entry["b"], "mean": -mean, "low": turned[0], "high": turned[1]}


def _order(result: Result) -> Sequence[str]:
    """The systems in the order of the tables; results of before there were ablations lack it."""
    order: Sequence[str] = result.get("systems", SYSTEMS)
    return order


def _draw_confusion(figure: Any, result: Result, corpus: str) -> None:
    """One matrix a system: share of each reference class, counts averaged over seeds."""
    import numpy as np

    matrices = result["confusion"][corpus]
    emotions = result["emotions"][corpus]
    systems = in_order(matrices, _order(result))
    side = max(3.0, 0.55 * len(emotions) + 1.5)
    columns = min(PANELS, len(systems))
    lines = math.ceil(len(systems) / columns)
    figure.set_size_inches(side * columns, side * lines + 0.6)
    figure.suptitle(f"{corpus}: share of each emotion's utterances (%), mean over seeds")
    panels = figure.subplots(lines, columns, squeeze=False)
    for panel in panels.flat[len(systems) :]:
        panel.set_axis_off()
    for place, (panel, system) in enumerate(zip(panels.flat, systems, strict=False)):
        counts = np.mean([np.asarray(matrix) for matrix in matrices[system].values()], axis=0)
        shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        _draw_grid(panel, shares, columns=emotions, rows=emotions, digits=0, range_=(0.0, 100.0))
        panel.set_xlabel("predicted")
        panel.set_title(system)
        if place % columns == 0:
            panel.set_ylabel("reference")


def _draw_grid(
    panel: Any,
    values: Any,
    *,
    columns: Sequence[str],
    rows: Sequence[str],
    digits: int,
    range_: tuple[float, float],
) -> None:
    """Numbers on coloured cells."""
    low, high = range_
    panel.imshow(values, vmin=low, vmax=high, cmap="Blues", aspect="auto")
    for row in range(len(rows)):
        for column in range(len(columns)):
            value = values[row, column]
            panel.text(
                column,
                row,
                f"{value:.{digits}f}",
                ha="center",
                va="center",
                color="white" if value > (low + high) / 2 else "black",
                fontsize=8,
            )
    panel.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    panel.set_yticks(range(len(rows)), rows)


def _draw_folds(figure: Any, result: Result, corpus: str) -> None:
    """macro_recall of each fold and system."""
    rows = [row for row in result["rows"] if row["corpus"] == corpus]
    folds = sorted({row["fold"] for row in rows})
    systems = in_order((row["system"] for row in rows), _order(result))
    draw = _draw_fold_lines if len(systems) <= LINES else _draw_fold_grid
    draw(figure, rows, folds, systems)
    figure.axes[0].set_title(f"{corpus}: macro_recall (UA) of each fold, %")


def _scores(rows: Sequence[Mapping[str, Any]], system: str, fold: str) -> list[float]:
    """One a seed, in percent."""
    return [
        100 * row["macro_recall"] for row in rows if (row["system"], row["fold"]) == (system, fold)
    ]


def _draw_fold_lines(
    figure: Any,
    rows: Sequence[Mapping[str, Any]],
    folds: Sequence[str],
    systems: Sequence[str],
) -> None:
    """A dot a seed, a line through the seeds' means."""
    figure.set_size_inches(max(6.0, 0.7 * len(folds) + 2.0), 4.0)
    panel = figure.subplots()
    for place, system in enumerate(systems):
        color = f"C{place}"
        means = []
        for at, fold in enumerate(folds):
            values = _scores(rows, system, fold)
            panel.scatter([at] * len(values), values, color=color, s=14, alpha=0.6)
            means.append(sum(values) / len(values) if values else math.nan)
        panel.plot(range(len(folds)), means, color=color, label=system, linewidth=1)
    panel.set_xticks(range(len(folds)), folds, rotation=45, ha="right")
    panel.grid(axis="y", alpha=0.3)
    panel.legend()


def _draw_fold_grid(
    figure: Any,
    rows: Sequence[Mapping[str, Any]],
    folds: Sequence[str],
    systems: Sequence[str],
) -> None:
    """A cell a fold and system, the mean over seeds."""
    import numpy as np

    figure.suptitle("mean over seeds", fontsize=9)

    figure.set_size_inches(max(6.0, 0.5 * len(folds) + 3.5), 0.32 * len(systems) + 2.0)
    values = np.asarray(
        [[np.mean(_scores(rows, s, f) or [np.nan]) for f in folds] for s in systems]
    )
    ends = (float(np.nanmin(values)), float(np.nanmax(values)))
    _draw_grid(figure.subplots(), values, columns=folds, rows=systems, digits=0, range_=ends)


def _draw_ablations(figure: Any, result: Result, corpus: str) -> None:
    """How far each system is from the reference, with its interval."""
    found = compared(result, corpus)
    figure.set_size_inches(8.0, 0.32 * len(found) + 1.8)
    panel = figure.subplots()
    for place, one in enumerate(found):
        if one["low"] is not None:
            ends = [100 * one["low"], 100 * one["high"]]
            panel.plot(ends, [place, place], color="C0", linewidth=1.5)
        panel.plot([100 * one["mean"]], [place], "o", color="C0", markersize=5)
    panel.axvline(0.0, color="black", linewidth=0.8)
    panel.invert_yaxis()
    panel.set_yticks(range(len(found)), [one["system"] for one in found])
    panel.grid(axis="x", alpha=0.3)
    first = found[0]
    panel.set_xlabel(
        f"{first['metric']} minus that of {first['reference']}, points; "
        f"95 % intervals over {first['n']} {first['unit']}s"
    )
    panel.set_title(f"{corpus}: against {first['reference']}")
