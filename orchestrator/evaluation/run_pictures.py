"""How fold runs learned and what they confuse, as pictures to look at beside the runs."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, float]]
"""A row of named values an epoch, as a fold run's ``history.json`` has them."""

DPI = 100
COLUMNS = 3
"""Panels side by side."""

_LETTERS_AN_INCH = 10
_RIGHT, _NAME, _LINE = 0.15, 0.3, 0.2
"""Inches: right of the last panel, a panel's title, a line of the picture's."""
# at a height that is given, since to look for a free one lays out every tick a second time
_HEADING: dict[str, Any] = {"fontsize": 10, "parse_math": False, "y": 1.0}
_MANY_FOLD = 30.0
"""Positive values that span more than this are drawn on a logarithmic scale."""

_PANELS = {
    "train": "training: terms of the loss",
    "loss": "validation: loss",
    "score": "validation: scores, %",
    "temperature": "temperature",
    "weight": "weights that are learned",
    "schedule": "schedules, %",
}
"""Titles, in the order of the picture; values of any other kind come after, under their own."""
_KINDS = {
    "validation/cross_entropy": "loss",
    "validation/ctc": "loss",
    "meta/held_cross_entropy": "loss",
    "temperature/reversal": "schedule",
    "curriculum/share": "schedule",
    "validation": "score",
}
"""Of values, by name or by what stands before the slash; that itself where it is not here."""
_SAID = {
    "meta/held_cross_entropy": "cross_entropy of held speakers (outer loss)",
    "temperature/reversal": "strength of the temperature's reversal",
    "curriculum/share": "utterances of the curriculum",
}
_PERCENT = {"score", "schedule"}


def curves_picture(
    histories: Mapping[str, History],
    *,
    title: str,
    chosen: Mapping[str, int] | None = None,
) -> bytes:
    """What was measured after every epoch: the loss's terms, validation, and whatever moves.

    A thin line is a fold run, a bold one their mean; the mean is dotted from where some of them
    have ended. There is a panel for each kind of values that the rows hold.

    Args:
        histories: By fold run, its epochs.
        title: What the picture is of, such as the experiment and the trial.
        chosen: By fold run, the epoch that was kept, counted from 1, which is marked in its
            validation curves. Default: none is marked.

    Returns:
        A PNG file; the same bytes for the same input.

    Raises:
        ValueError: If there is no epoch to draw, or ``chosen`` names one that is not there.
    """
    return _png(_curves(histories, title=title, chosen=chosen or {}))


def confusion_picture(confusion: ArrayLike, emotions: Sequence[str], *, title: str) -> bytes:
    """A confusion matrix in utterances, and beside it in shares of each reference emotion.

    Args:
        confusion: ``(classes, classes)``: row = reference, column = predicted; fractions where it
            is a mean, such as over seeds.
        emotions: The classes' names.
        title: What the picture is of.

    Returns:
        A PNG file; the same bytes for the same input.

    Raises:
        ValueError: If the matrix is not square with a row an emotion, holds a value that is
            negative or not finite, or is empty.
    """
    return _png(_confusion(confusion, emotions, title=title))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _grid(
    title: str, *, columns: int, lines: int, panel: tuple[float, float], left: float, below: float
) -> tuple[Figure, list[Any]]:
    """A figure and its panels, line by line, all lengths in inches.

    Laid out by hand, since to have it worked out takes longer than the drawing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wide, high = panel
    width = columns * (left + wide) + _RIGHT
    title = textwrap.fill(title, int(width * _LETTERS_AN_INCH))
    head = 0.15 + _LINE * (title.count("\n") + 1)
    height = lines * (below + high + _NAME) + head
    # A figure of our own, not pyplot's: no global state, and no display is asked for.
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.suptitle(title, y=1 - 0.12 / height, va="top", fontsize=12, parse_math=False)
    panels = figure.subplots(
        lines,
        columns,
        squeeze=False,
        gridspec_kw={
            "left": left / width,
            "right": 1 - _RIGHT / width,
            "bottom": below / height,
            "top": 1 - (head + _NAME) / height,
            "wspace": left / wide,
            "hspace": (below + _NAME) / high,
        },
    )
    return figure, list(panels.flat)


def _curves(histories: Mapping[str, History], *, title: str, chosen: Mapping[str, int]) -> Figure:
    """The picture before it is encoded."""
    _check_histories(histories, chosen)
    panels = _panels(histories)
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    runs = len(histories)
    figure, grid = _grid(
        title if runs == 1 else f"{title}: {runs} fold runs (thin) and their mean (bold)",
        columns=columns,
        lines=lines,
        panel=(3.8, 2.3),
        left=0.6,
        below=0.5,
    )
    for panel in grid[len(panels) :]:
        panel.remove()
    for panel, (kind, names) in zip(grid, panels.items(), strict=False):
        values = {name: _values(histories, name) for name in names}
        if kind in _PERCENT:
            values = {name: 100 * found for name, found in values.items()}
        _draw_curves(panel, kind, values)
        judged = [found for name, found in values.items() if name.startswith("validation/")]
        if judged and chosen:
            _mark(panel, judged, [chosen.get(run) for run in histories])
        panel.legend(fontsize=8, framealpha=0.7)
    return figure


def _check_histories(histories: Mapping[str, History], chosen: Mapping[str, int]) -> None:
    if not any(row for rows in histories.values() for row in rows):
        raise ValueError("there is nothing to draw: no fold run has an epoch")
    for run, epoch in chosen.items():
        epochs = len(histories.get(run, ()))
        if not 1 <= epoch <= epochs:
            raise ValueError(f"chosen: {run!r} has {epochs} epochs, and none is number {epoch}")


def _panels(histories: Mapping[str, History]) -> dict[str, list[str]]:
    """The names of the values by kind, both in the order of the picture."""
    # a dictionary and no set, so that the order is that of the first time
    names = {name: None for rows in histories.values() for row in rows for name in row}
    found: dict[str, list[str]] = {kind: [] for kind in _PANELS}
    for name in names:
        prefix = name.partition("/")[0]
        found.setdefault(_KINDS.get(name, _KINDS.get(prefix, prefix)), []).append(name)
    return {kind: sorted(held) for kind, held in found.items() if held}


def _values(histories: Mapping[str, History], name: str) -> NDArray[np.float64]:
    """``(fold runs, epochs)``, NaN where there is none."""
    longest = max(len(rows) for rows in histories.values())
    values = np.full((len(histories), longest), np.nan)
    for place, rows in enumerate(histories.values()):
        values[place, : len(rows)] = [row.get(name, np.nan) for row in rows]
    values[~np.isfinite(values)] = np.nan
    return values


def _draw_curves(panel: Any, kind: str, values: Mapping[str, NDArray[np.float64]]) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.ticker import MaxNLocator

    for place, (name, found) in enumerate(values.items()):
        color = f"C{place % 10}"
        epochs = np.arange(1, found.shape[1] + 1)
        if len(found) > 1:
            thin = [np.column_stack([epochs, one]) for one in found]
            faint = max(0.12, min(0.45, 4 / len(found)))
            panel.add_collection(LineCollection(thin, colors=color, linewidths=0.7, alpha=faint))
        here = np.isfinite(found).sum(axis=0)
        mean = np.where(here > 0, np.nansum(found, axis=0) / np.maximum(here, 1), np.nan)
        whole = np.where(here == here.max(), mean, np.nan)
        # a single epoch makes no line, so it is a dot
        mark = "o" if found.shape[1] == 1 else None
        said = _SAID.get(name, name.rpartition("/")[2])
        panel.plot(epochs, whole, color=color, linewidth=2.2, marker=mark, label=said, zorder=3)
        if (here > 0).sum() > (here == here.max()).sum():
            panel.plot(epochs, mean, ":", color=color, linewidth=1.4, zorder=3)
    panel.set_title(_PANELS.get(kind, kind), **_HEADING)
    panel.set_xlabel("epoch", fontsize=9)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.tick_params(labelsize=8)
    panel.grid(alpha=0.25)
    # the same in every panel, whatever is measured from later on only
    aside = max(0.5, 0.02 * len(epochs))
    panel.set_xlim(1 - aside, len(epochs) + aside)
    every = np.concatenate([found.ravel() for found in values.values()])
    every = every[np.isfinite(every)]
    if len(every) and every.min() > 0 and every.max() > _MANY_FOLD * every.min():
        panel.set_yscale("log")


def _mark(panel: Any, judged: Sequence[NDArray[np.float64]], kept: Sequence[int | None]) -> None:
    """A ring on each fold run's curve at the epoch that was kept."""
    at = [
        (epoch, found[run, epoch - 1])
        for found in judged
        for run, epoch in enumerate(kept)
        if epoch
    ]
    panel.plot(
        *zip(*at, strict=True),
        "o",
        markersize=4,
        markerfacecolor="white",
        markeredgecolor="black",
        linestyle="none",
        label="kept epoch",
        zorder=4,
    )


def _confusion(confusion: ArrayLike, emotions: Sequence[str], *, title: str) -> Figure:
    """The picture before it is encoded: counts, then shares."""
    counts = _checked(confusion, emotions)
    support = counts.sum(axis=1, keepdims=True)
    shares = np.full_like(counts, np.nan)
    np.divide(100 * counts, support, out=shares, where=support > 0)
    side = max(2.2, 0.62 * len(emotions))
    room = 0.08 * max(len(emotion) for emotion in emotions)
    figure, (left, right) = _grid(
        title,
        columns=2,
        lines=1,
        panel=(side, side),
        left=0.5 + room,
        below=0.5 + 0.75 * room,
    )
    digits = 0 if np.array_equal(counts, counts.round()) else 1
    _draw_matrix(left, counts, emotions, digits=digits, most=counts.max())
    _draw_matrix(right, shares, emotions, digits=0, most=100.0)
    total = f"{counts.sum():.{digits}f}"
    left.set_title(f"utterances, of {total}", **_HEADING)
    right.set_title("% of each reference emotion", **_HEADING)
    return figure


def _checked(confusion: ArrayLike, emotions: Sequence[str]) -> NDArray[np.float64]:
    counts = np.asarray(confusion, dtype=np.float64)
    if counts.shape != (len(emotions), len(emotions)):
        raise ValueError(
            f"the confusion matrix of {len(emotions)} emotions must have as many rows and columns, "
            f"not shape {counts.shape}"
        )
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError("the confusion matrix holds a count that is negative or not finite")
    if not counts.any():
        raise ValueError("there is nothing to draw: the confusion matrix counts no utterance")
    return counts


def _draw_matrix(
    panel: Any, values: NDArray[np.float64], emotions: Sequence[str], *, digits: int, most: float
) -> None:
    """Numbers on coloured cells, a dash where there is no reference utterance to be a share of."""
    panel.imshow(values, vmin=0.0, vmax=most, cmap="Blues", aspect="equal")
    for (row, column), value in np.ndenumerate(values):
        panel.text(
            column,
            row,
            f"{value:.{digits}f}" if np.isfinite(value) else "–",
            ha="center",
            va="center",
            color="white" if value > most / 2 else "black",
            fontsize=9,
            fontweight="bold" if row == column else "normal",
        )
    panel.set_xticks(range(len(emotions)), emotions, rotation=45, ha="right", parse_math=False)
    panel.set_yticks(range(len(emotions)), emotions, parse_math=False)
    panel.set_xlabel("predicted")
    panel.set_ylabel("reference")
