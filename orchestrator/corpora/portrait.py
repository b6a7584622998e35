"""A picture of a corpus: utterances of each emotion or with each word, and how long they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.corpora.listing import SPLITS, text_of
from orchestrator.corpora.table import Corpus
from orchestrator.errors import CorpusError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES: Final = (".png", ".svg", ".pdf")
"""What a picture can be written as."""
TABLE_SUFFIXES: Final = (".csv", ".parquet")
"""What a table can be written as."""

# Distinct also to the colour-blind, and in print.
_COLOURS: Final = ("#33638d", "#e08e45", "#3c9d8c", "#9a9a9a")
_INK, _FAINT = "#333333", "#dddddd"
_BINS: Final = 40
_WORDS: Final = 20
"""Bars of a corpus of words at most."""
_WIDE: Final = 12.0
"""From this ratio of the longest utterance to the median, durations stand on a logarithmic axis."""


def check_suffixes(*, plot: str | Path | None = None, table: str | Path | None = None) -> None:
    """Refuse files that cannot be written as they are called, before a corpus is listened to.

    Raises:
        CorpusError: naming the file and the suffixes there are.
    """
    for what, path, known in (("plot", plot, SUFFIXES), ("table", table, TABLE_SUFFIXES)):
        if path is not None and Path(path).suffix.lower() not in known:
            raise CorpusError(
                f"the {what} {str(path)!r} ends in {Path(path).suffix!r}; give one of "
                f"{', '.join(known)}"
            )


def draw(corpus: Corpus, path: str | Path) -> Path:
    """Draw class balance and durations into a file of one of ``SUFFIXES``.

    Where there are transcripts and no emotions, the most frequent words stand in place of these.
    The bars are stacked by official split, or by gender where there is no split.

    Returns:
        The file; its folder is made if missing.

    Raises:
        CorpusError: the suffix is another one, or the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    check_suffixes(plot=path)
    file = Path(path)
    table = corpus.table
    by, counts = stacks(table)
    height = max(3.4, 0.42 * min(len(counts), _WORDS) + 1.7)
    # A figure of our own, not pyplot's: no global state, and no display is asked for.
    figure = Figure(
        figsize=(10.5, height), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08, wspace=0.06)
    )
    FigureCanvasAgg(figure)
    speakers = table["speaker"][table["speaker"] != ""].nunique()
    who = f"{speakers} speaker{'' if speakers == 1 else 's'}" if speakers else "speakers unknown"
    figure.suptitle(
        f"{corpus.name}: {len(table)} utterances, {who}, {_length(float(table['duration'].sum()))}",
        fontsize=13,
        fontweight="bold",
        color=_INK,
    )
    balance, lengths = figure.subplots(1, 2, width_ratios=[1.15, 1.0])
    title = "Class balance"
    if _by_words(table):
        title = "Words" if len(counts) <= _WORDS else f"Most frequent of {len(counts)} words"
        counts = counts[:_WORDS]
    _draw_balance(balance, counts, title=title, by=by, among=len(table))
    _draw_durations(lengths, table["duration"].to_numpy(dtype=np.float64))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=130)
    except OSError as error:
        raise CorpusError(
            f"the plot {file} cannot be written ({error.strerror}); name another place"
        ) from error
    return file


def write_table(corpus: Corpus, path: str | Path) -> Path:
    """Write the table of a corpus as CSV or Parquet; the kind ``table`` reads either.

    Returns:
        The file; its folder is made if missing.

    Raises:
        CorpusError: the suffix is another one, or the file cannot be written.
    """
    check_suffixes(table=path)
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix.lower() == ".csv":
            corpus.table.to_csv(file, index=False)
        else:
            corpus.table.to_parquet(file, index=False)
    except OSError as error:
        raise CorpusError(
            f"the table {file} cannot be written ({error.strerror}); name another place"
        ) from error
    return file


def stacks(table: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """By what the bars are stacked ("" by nothing), and the counts by emotion and its values.

    Emotions are in the order of their number, the most frequent first; equal ones by name. Where
    all have transcripts and none an emotion, they are utterances in which a word is said.
    """
    by = next((name for name in ("split", "gender") if (table[name] != "").any()), "")
    values = table[by].replace("", "unknown") if by else pd.Series("all", index=table.index)
    bars = table["emotion"].replace("", "unlabelled")
    if _by_words(table):
        bars = table["transcript"].map(lambda said: sorted(set(text_of(said).split()))).explode()
        values = values.loc[bars.index]
    counts = pd.crosstab(bars.to_numpy(), values.to_numpy())
    known = [*SPLITS, "female", "male", "unknown", "all"]
    # A value that no code of ours writes goes last.
    order = sorted(counts.columns, key=lambda one: (known + [one]).index(one))
    totals = counts.sum(axis=1)
    rows = sorted(totals.index, key=lambda one: (-int(totals[one]), str(one)))
    return by, counts.loc[rows, order]


def _by_words(table: pd.DataFrame) -> bool:
    """Whether its words are what there is to show of a corpus."""
    return bool((table["emotion"] == "").all() and (table["transcript"] != "").all())


def _draw_balance(axes: Axes, counts: pd.DataFrame, *, title: str, by: str, among: int) -> None:
    """Horizontal bars, the most frequent one on top, each with its number and share ``among``."""
    places = np.arange(len(counts))
    left = np.zeros(len(counts))
    for place, value in enumerate(counts.columns):
        widths = counts[value].to_numpy(dtype=np.float64)
        colour = _COLOURS[min(place, len(_COLOURS) - 1)]
        axes.barh(places, widths, left=left, height=0.7, color=colour, label=str(value))
        left += widths
    for height, total in zip(places, left, strict=True):
        axes.annotate(
            f"{total:.0f}  ({100 * total / among:.1f} %)",
            (total, height),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=_INK,
            fontsize=9,
        )
    axes.set_yticks(places, [str(name) for name in counts.index])
    axes.invert_yaxis()
    # Room for the numbers behind the longest bar.
    axes.set_xlim(0, 1.28 * float(left.max()))
    _plain(axes, title + (f" by {by}" if by else ""))
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    if by:
        # On the line of the title: bars of a balanced corpus fill the axes to the last corner.
        axes.legend(
            frameon=False,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            borderaxespad=0.1,
            ncols=counts.shape[1],
            fontsize=9,
            handlelength=1.0,
            columnspacing=1.2,
        )


def _draw_durations(axes: Axes, seconds: NDArray[np.float64]) -> None:
    """A histogram with the median; logarithmic where a few utterances are far longer than most."""
    middle, longest = float(np.median(seconds)), float(seconds.max())
    wide = longest > _WIDE * middle
    if wide:
        edges = np.geomspace(seconds.min() * 0.98, longest * 1.02, _BINS + 1)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        edges = np.linspace(0.0, longest * 1.02, _BINS + 1)
    axes.hist(seconds, bins=edges.tolist(), color=_COLOURS[0], edgecolor="white", linewidth=0.5)
    axes.axvline(middle, color=_COLOURS[1], linewidth=1.8)
    axes.set_xlabel("seconds" + (", logarithmic" if wide else ""))
    axes.set_ylabel("utterances")
    _plain(axes, f"Durations: {seconds.min():.2f} to {longest:.2f} s, median {middle:.2f} s")
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)


def _plain(axes: Axes, title: str) -> None:
    """Only the lines that carry something."""
    axes.set_title(title, loc="left", fontsize=11, color=_INK)
    axes.tick_params(colors=_INK, length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _length(seconds: float) -> str:
    return f"{seconds / 3600:.2f} hours" if seconds >= 360 else f"{seconds / 60:.1f} minutes"
