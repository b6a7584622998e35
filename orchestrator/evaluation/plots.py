"""Plots of an evaluation, drawn from its stored result (``evaluation.json``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.evaluation.statistics import in_order

Result = Mapping[str, Any]
"""An evaluation as stored in ``evaluation.json``."""


def plot(result: Result, folder: str | Path) -> list[Path]:
    """Draw the confusion matrices and the fold scores of every corpus.

    Args:
        result: The evaluation as stored in ``evaluation.json``.
        folder: Where the PNG files go; made if missing.

    Returns:
        The files: ``<corpus>-confusion.png`` and ``<corpus>-folds.png`` of each corpus.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for corpus in sorted(result["protocols"]):
        stem = re.sub(r"[^\w.-]+", "_", corpus)
        for name, draw in (("confusion", _draw_confusion), ("folds", _draw_folds)):
            # Figures of our own, not pyplot's: no global state, and no display is asked for.
            figure = Figure(layout="constrained")
            FigureCanvasAgg(figure)
            draw(figure, result, corpus)
            file = home / f"{stem}-{name}.png"
            figure.savefig(file, dpi=120)
            files.append(file)
    return files


def _draw_confusion(figure: Any, result: Result, corpus: str) -> None:
    """One matrix a system: share of each reference class, counts averaged over seeds."""
    import numpy as np

    matrices = result["confusion"][corpus]
    emotions = result["emotions"][corpus]
    systems = in_order(matrices)
    side = max(3.0, 0.55 * len(emotions) + 1.5)
    figure.set_size_inches(side * len(systems), side + 0.6)
    figure.suptitle(f"{corpus}: share of each emotion's utterances (%), mean over seeds")
    panels = figure.subplots(1, len(systems), squeeze=False)[0]
    for panel, system in zip(panels, systems, strict=True):
        counts = np.mean([np.asarray(matrix) for matrix in matrices[system].values()], axis=0)
        shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        panel.imshow(shares, vmin=0, vmax=100, cmap="Blues")
        for row in range(len(emotions)):
            for column in range(len(emotions)):
                share = shares[row, column]
                panel.text(
                    column,
                    row,
                    f"{share:.0f}",
                    ha="center",
                    va="center",
                    color="white" if share > 50 else "black",
                    fontsize=8,
                )
        panel.set_xticks(range(len(emotions)), emotions, rotation=45, ha="right")
        panel.set_yticks(range(len(emotions)), emotions)
        panel.set_xlabel("predicted")
        panel.set_title(system)
    panels[0].set_ylabel("reference")


def _draw_folds(figure: Any, result: Result, corpus: str) -> None:
    """macro_recall of each fold and system: a dot a seed, a line through the seeds' means."""
    rows = [row for row in result["rows"] if row["corpus"] == corpus]
    folds = sorted({row["fold"] for row in rows})
    figure.set_size_inches(max(6.0, 0.7 * len(folds) + 2.0), 4.0)
    panel = figure.subplots()
    for place, system in enumerate(in_order(row["system"] for row in rows)):
        mine = [row for row in rows if row["system"] == system]
        color = f"C{place}"
        panel.scatter(
            [folds.index(row["fold"]) for row in mine],
            [100 * row["macro_recall"] for row in mine],
            color=color,
            s=14,
            alpha=0.6,
        )
        means = []
        for fold in folds:
            values = [row["macro_recall"] for row in mine if row["fold"] == fold]
            means.append(100 * sum(values) / len(values) if values else float("nan"))
        panel.plot(range(len(folds)), means, color=color, label=system, linewidth=1)
    panel.set_xticks(range(len(folds)), folds, rotation=45, ha="right")
    panel.set_ylabel("macro_recall (UA), %")
    panel.set_title(f"{corpus}: test scores by fold")
    panel.grid(axis="y", alpha=0.3)
    panel.legend()
