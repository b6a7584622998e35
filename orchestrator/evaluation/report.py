"""What an evaluation says: tables for the terminal, markdown for RESULTS.md, and plots.

Everything is made from the stored result (``evaluation.json``), so that a table can be printed
again, anywhere, without computing anything. Scores are stored as fractions and printed in percent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.evaluation.metrics import METRICS, PAPER_NAMES
from orchestrator.evaluation.statistics import FEW_UNITS, in_order

Result = Mapping[str, Any]

SELECTIONS = {
    "fixed": "fixed (the recipe as written)",
    "same-corpus": "same-corpus (the best trial of a sweep on this corpus: its speakers' labels "
    "were seen as validation, so these figures are optimistic)",
}


@dataclass(frozen=True)
class _Grid:
    """A table before it becomes terminal or markdown."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def percent(value: float | None) -> str:
    """A fraction in percent with one decimal; a dash where there is none.

    >>> percent(0.7534)
    '75.3'
    """
    return "-" if value is None else f"{100 * value:.1f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.1f}"


def _count(value: int | None) -> str:
    """A count in three digits: 1.3 M.

    >>> _count(1_310_000), _count(950), _count(None)
    ('1.31 M', '950', '-')
    """
    if value is None:
        return "-"
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return str(value)


def _corpora(result: Result) -> list[str]:
    return sorted(result["protocols"])


def provenance(result: Result, corpus: str) -> list[str]:
    """The lines that every table carries: what was measured, how, and by which code (law 7)."""
    variant = result.get("variant")
    name = result["experiment"] + (f" (variant {variant})" if variant else "")
    selection = result["selection"]
    return [
        f"experiment: {name}",
        f"protocol: {result['protocols'][corpus]}",
        f"emotions: {', '.join(result['emotions'][corpus])}",
        f"selection: {SELECTIONS.get(selection, selection)}",
        f"corpus fingerprint: {result['fingerprints'][corpus]}",
        "code: " + ", ".join(f"{key} {value}" for key, value in sorted(result["code"].items())),
        f"training seeds: {', '.join(map(str, result['seeds']))}",
    ]


def _scores_grid(result: Result, corpus: str) -> _Grid:
    rows = []
    for entry in result["summary"]:
        if entry["corpus"] != corpus:
            continue
        rows.append(
            (
                entry["system"],
                *(
                    f"{percent(entry[f'{metric}_mean'])} ± {percent(entry[f'{metric}_std'])}"
                    for metric in METRICS
                ),
                percent(entry["macro_recall_seed_std"]),
                str(entry["n"]),
                f"{entry['folds']} x {entry['seeds']}",
                _count(entry["parameters"]),
                _count(entry.get("macs")),
            )
        )
    header = (
        "system",
        *(PAPER_NAMES[metric] for metric in METRICS),
        "std over seeds",
        "n",
        "folds x seeds",
        "parameters",
        "MACs",
    )
    notes = (
        "percent, mean ± standard deviation over folds (seeds averaged inside each fold); "
        "std over seeds is that of macro_recall; n: test utterances of each seed",
    )
    return _Grid(f"{corpus}: sealed test scores", header, tuple(rows), notes)


def _differences_grid(result: Result, corpus: str) -> _Grid | None:
    rows, few = [], False
    for entry in result["differences"]:
        if entry["corpus"] != corpus:
            continue
        small = entry["n"] < FEW_UNITS
        few = few or small
        rows.append(
            (
                f"{entry['a']} - {entry['b']}",
                PAPER_NAMES.get(entry["metric"], entry["metric"]),
                _signed(entry["mean"]),
                f"[{_signed(entry['low'])}, {_signed(entry['high'])}]",
                f"{entry['n']} {entry['unit']}s" + (" (!)" if small else ""),
            )
        )
    if not rows:
        return None
    notes = ["percentage points; seeds averaged inside each unit, Student's t interval over units"]
    if few:
        notes.append(
            f"(!) the interval rests on fewer than {FEW_UNITS} units: it says little, and leans on "
            "the differences being normally distributed"
        )
    header = ("difference", "metric", "mean", "95 % interval", "units")
    return _Grid(f"{corpus}: differences", header, tuple(rows), tuple(notes))


def _sweep_grid(sweep: Mapping[str, Any]) -> _Grid:
    states = ", ".join(f"{count} {state}" for state, count in sorted(sweep["states"].items()))
    best = sweep.get("best")
    rows = [
        ("trials", f"{sum(sweep['states'].values())} of {sweep['trials']} ({states or 'none'})")
    ]
    if best is None:
        rows.append(("best", "no trial is complete yet"))
    else:
        rows.append((f"best {sweep['metric']} on validation", percent(best["value"])))
        rows.append(("best trial", str(best["number"])))
        rows += [(key, str(value)) for key, value in sorted(best["overrides"].items())]
    return _Grid(f"{sweep['experiment']}: sweep", ("what", "value"), tuple(rows))


def _table(grid: _Grid) -> Table:
    table = Table(
        title=Text(grid.title), caption=Text("\n".join(grid.notes)) if grid.notes else None
    )
    for place, head in enumerate(grid.header):
        table.add_column(Text(head), justify="left" if place == 0 else "right", overflow="fold")
    for row in grid.rows:
        # Text, not markup: a corpus may be called "[mine]".
        table.add_row(*(Text(cell) for cell in row))
    return table


def render(result: Result | None, sweep: Mapping[str, Any] | None = None) -> list[RenderableType]:
    """The report as rich renderables, to be printed one after another.

    Args:
        result: The evaluation as stored in ``evaluation.json``; None while there is none.
        sweep: A sweep's summary: ``experiment``, ``metric``, ``trials`` (planned), ``states``
            (count by trial state) and ``best`` (None, or ``number``, ``value`` as a fraction and
            ``overrides`` by dotted key); None if there was no sweep.
    """
    parts: list[RenderableType] = []
    if sweep is not None:
        parts.append(_table(_sweep_grid(sweep)))
    if result is not None:
        for corpus in _corpora(result):
            parts.append(Text("\n".join(provenance(result, corpus))))
            parts += [_table(grid) for grid in _grids(result, corpus)]
    if not parts:
        parts.append(Text("nothing to report yet: run the sweep or the evaluation first"))
    return parts


def _grids(result: Result, corpus: str) -> list[_Grid]:
    grids = (_scores_grid(result, corpus), _differences_grid(result, corpus))
    return [grid for grid in grids if grid is not None]


def markdown(result: Result) -> str:
    """The report as markdown, for benchmarks/RESULTS.md; ends with a newline."""
    lines: list[str] = []
    for corpus in _corpora(result):
        lines += [f"- {line}" for line in provenance(result, corpus)] + [""]
        for grid in _grids(result, corpus):
            lines += [f"**{grid.title}**", "", _cells(grid.header)]
            lines.append(_cells(["---"] + ["---:"] * (len(grid.header) - 1)))
            lines += [_cells(row) for row in grid.rows]
            lines += ["", *(f"{note}." for note in grid.notes), ""]
    return "\n".join(lines).rstrip() + "\n"


def _cells(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


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
    for corpus in _corpora(result):
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
