"""What a sweep and an evaluation say: tables for the terminal, markdown for documents, and plots.

An evaluation's are made from its stored result (``evaluation.json``), so that a table can be
printed again, anywhere, without computing anything; a sweep's from its study. Scores are stored as
fractions and printed in percent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.evaluation.metrics import METRICS, PAPER_NAMES
from orchestrator.evaluation.plots import Result, plot
from orchestrator.evaluation.statistics import FEW_UNITS, SYSTEMS, in_order
from orchestrator.evaluation.sweep_plots import plot_sweep

__all__ = ["markdown", "percent", "plot", "plot_sweep", "provenance", "render"]

_NEXT = 5
"""Trials after the best that the report shows; the JSON has all."""

_NAMED = 3
"""Utterances set aside that the report names; the result names all."""

SELECTIONS = {
    "fixed": "fixed (the recipe as written)",
    "same-corpus": "same-corpus (the best trial of a sweep on this corpus: its speakers' labels "
    "were seen as validation, so these figures are optimistic)",
}
UNSEEN = (
    "same-corpus (the best trial of a sweep on this corpus, which neither trained nor validated on "
    "any of the tested utterances)"
)


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
    selection = SELECTIONS.get(result["selection"], result["selection"])
    if result.get("seen_by_sweep", {}).get(corpus) == 0:
        selection = UNSEEN
    return [
        f"experiment: {name}",
        f"protocol: {result['protocols'][corpus]}",
        f"emotions: {', '.join(result['emotions'][corpus])}",
        f"selection: {selection}",
        f"corpus fingerprint: {result['fingerprints'][corpus]}",
        "code: " + ", ".join(f"{key} {value}" for key, value in sorted(result["code"].items())),
        f"training seeds: {', '.join(map(str, result['seeds']))}",
        *(f"source of attention, recogniser on {line}" for line in result.get("recognisers", ())),
        *_left_out(result, corpus),
    ]


def _left_out(result: Result, corpus: str) -> list[str]:
    """Utterances that are in no role, or in fewer than one would think, and why."""
    lines = []
    aside = result.get("set_aside", {}).get(corpus, [])
    if aside:
        kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(p["kind"] for p in aside).items())
        named = "; ".join(problem["text"] for problem in aside[:_NAMED])
        more = f"; and {len(aside) - _NAMED} more" if len(aside) > _NAMED else ""
        lines.append(f"set aside: {len(aside)} utterances ({kinds}): {named}{more}")
    accepted = result.get("accepted", {}).get(corpus, [])
    if accepted:
        found = Counter(problem["kind"] for problem in accepted)
        told = ", ".join(f"{n} {kind}" for kind, n in found.items())
        lines.append(f"used all the same: {told}")
    dropped = [entry["utterances"] for entry in result.get("dropped", {}).get(corpus, [])]
    if dropped:
        few, many = min(dropped), max(dropped)
        lines.append(
            f"text-disjoint: {few if few == many else f'{few} to {many}'} utterances a fold are in "
            "no role, since its test set has their texts, or another fold's their speaker"
        )
    return lines


def _scores_grid(result: Result, corpus: str) -> _Grid:
    rows = [
        (
            entry["system"],
            *(
                f"{percent(entry[f'{metric}_mean'])} ± {percent(entry[f'{metric}_std'])}"
                for metric in METRICS
            ),
            str(entry["n"]),
        )
        for entry in result["summary"]
        if entry["corpus"] == corpus
    ]
    header = ("system", *(PAPER_NAMES[metric] for metric in METRICS), "n")
    notes = (
        "percent, mean ± standard deviation over folds (seeds averaged inside each fold); "
        "n: test utterances of each seed",
    )
    return _Grid(f"{corpus}: sealed test scores", header, tuple(rows), notes)


def _networks_grid(result: Result, corpus: str) -> _Grid:
    rows = [
        (
            entry["system"],
            str(entry["folds"]),
            str(entry["seeds"]),
            percent(entry["macro_recall_seed_std"]),
            _count(entry["parameters"]),
            _count(entry.get("macs")),
        )
        for entry in result["summary"]
        if entry["corpus"] == corpus
    ]
    header = ("system", "folds", "seeds", "std over seeds", "parameters", "MACs")
    notes = (
        "std over seeds: of macro_recall, averaged over folds; "
        "MACs: multiply-accumulates of one utterance",
    )
    return _Grid(f"{corpus}: fold runs and networks", header, tuple(rows), notes)


def _differences_grids(result: Result, corpus: str) -> list[_Grid]:
    """The systems that every evaluation has, then ablations by what they are compared with."""
    entries = [entry for entry in result["differences"] if entry["corpus"] == corpus]
    grids = []
    if plain := [entry for entry in entries if entry["a"] in SYSTEMS]:
        grids.append(_differences_grid(f"{corpus}: differences", plain))
    for other in in_order(entry["b"] for entry in entries):
        if ours := [e for e in entries if e["b"] == other and e["a"] not in SYSTEMS]:
            title = f"{corpus}: differences of ablations to {other}"
            grids.append(_differences_grid(title, ours, ablations=True))
    return grids


def _differences_grid(
    title: str, entries: Sequence[Mapping[str, Any]], *, ablations: bool = False
) -> _Grid:
    """Their table; what ablations are compared with is named by the title alone."""
    rows = tuple(
        (
            entry["a"] if ablations else f"{entry['a']} - {entry['b']}",
            PAPER_NAMES.get(entry["metric"], entry["metric"]),
            _signed(entry["mean"]),
            f"[{_signed(entry['low'])}, {_signed(entry['high'])}]",
            str(entry["n"]) + (" (!)" if entry["n"] < FEW_UNITS else ""),
        )
        for entry in entries
    )
    units = ", ".join(sorted({f"{entry['unit']}s" for entry in entries}))
    notes = [
        f"percentage points; n: {units}; seeds averaged inside each of the {units} first, then "
        f"Student's t interval over {units}"
    ]
    if any(entry["n"] < FEW_UNITS for entry in entries):
        notes.append(
            f"(!) the interval rests on fewer than {FEW_UNITS} {units}: it says little, and leans "
            "on the differences being normally distributed"
        )
    header = ("difference", "metric", "mean", "95 % interval", "n")
    if ablations:
        notes.append(
            "each interval stands for itself: of twenty ablations that change nothing, one is "
            "expected to show a difference"
        )
    return _Grid(title, header, rows, tuple(notes))


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
        if found := sweep.get("findings"):
            close, others = len(found["indistinguishable"]), len(found["comparisons"])
            told = f"{close} of {others} other complete trials"
            rows.append(("cannot be told apart from it", told))
    return _Grid(f"{sweep['experiment']}: sweep", ("what", "value"), tuple(rows))


def _importance_grid(sweep: Mapping[str, Any]) -> _Grid:
    found = sweep["findings"]
    rows = tuple(
        (
            one["parameter"] + (" (conditional)" if one["conditional"] else ""),
            percent(one["share"]),
            percent(one["chance"]),
            str(one["trials"]),
        )
        for one in found["importances"]
    )
    notes = []
    if rows:
        notes.append(
            "importance: percent of the variance of scores that the parameter alone explains "
            "(fANOVA over complete trials)"
        )
        notes.append(
            "by chance: the most it gets in 19 shufflings of the scores; of parameters without "
            "effect one in twenty gets more"
        )
    if any(one["conditional"] for one in found["importances"]):
        notes.append("conditional: occurs in some trials only, and the figure is of these alone")
    if found["without_importance"]:
        notes.append(f"without importance: {found['without_importance']}")
    header = ("parameter", "importance", "by chance", "trials")
    return _Grid(f"{sweep['experiment']}: what mattered", header, rows, tuple(notes))


def _next_grid(sweep: Mapping[str, Any]) -> _Grid | None:
    others = sweep["findings"]["comparisons"]
    if not others:
        return None
    rows = tuple(
        (
            str(other["number"]),
            percent(other["value"]),
            _signed(other["difference"]),
            f"[{_signed(other['low'])}, {_signed(other['high'])}]",
            str(other["folds"]),
        )
        for other in others[:_NEXT]
    )
    left = len(others) - len(rows)
    notes = [
        "percentage points, the best trial minus this one, with Student's t interval over folds; "
        "one that holds zero shows no difference",
        "the intervals are too narrow: the best trial won many comparisons on the same folds, "
        "partly by luck, and folds share training speakers",
    ]
    if left:
        notes.append(f"and {left} more (all of them with --json)")
    header = ("trial", "score", "best minus it", "95 % interval", "folds")
    return _Grid(f"{sweep['experiment']}: the next ones", header, rows, tuple(notes))


def _sweep_grids(sweep: Mapping[str, Any]) -> list[_Grid]:
    grids = [_sweep_grid(sweep)]
    if sweep.get("best") is not None and sweep.get("findings"):
        grids.append(_importance_grid(sweep))
        following = _next_grid(sweep)
        grids += [] if following is None else [following]
    return grids


def _table(grid: _Grid) -> Table:
    table = Table(
        title=Text(grid.title, style="bold"),
        caption=Text("\n".join(grid.notes)) if grid.notes else None,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
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
            (count by trial state), ``best`` (None, or ``number``, ``value`` as a fraction and
            ``overrides`` by dotted key), and ``findings`` as in
            :meth:`orchestrator.sweep.findings.Findings.facts`, if they were looked for; None if
            there was no sweep.

    Returns:
        The parts; none where there is neither.
    """
    parts: list[RenderableType] = []
    if sweep is not None:
        parts += [_table(grid) for grid in _sweep_grids(sweep)]
    if result is not None:
        for corpus in _corpora(result):
            parts.append(Text("\n".join(provenance(result, corpus))))
            parts += [_table(grid) for grid in _grids(result, corpus)]
    return parts


def _grids(result: Result, corpus: str) -> list[_Grid]:
    grids = [_scores_grid(result, corpus), _networks_grid(result, corpus)]
    return [*grids, *_differences_grids(result, corpus)]


def markdown(result: Result | None, sweep: Mapping[str, Any] | None = None) -> str:
    """The report as markdown, for benchmarks/RESULTS.md; ends with a newline.

    Args:
        result: as for :func:`render`.
        sweep: as for :func:`render`.
    """
    lines: list[str] = []
    for grid in () if sweep is None else _sweep_grids(sweep):
        lines += _markdown_table(grid)
    for corpus in () if result is None else _corpora(result):
        assert result is not None
        lines += [f"- {line}" for line in provenance(result, corpus)] + [""]
        for grid in _grids(result, corpus):
            lines += _markdown_table(grid)
    return "\n".join(lines).rstrip() + "\n"


def _markdown_table(grid: _Grid) -> list[str]:
    lines = [f"**{grid.title}**", "", _cells(grid.header)]
    lines.append(_cells(["---"] + ["---:"] * (len(grid.header) - 1)))
    lines += [_cells(row) for row in grid.rows]
    return [*lines, "", *(f"{note}." for note in grid.notes), ""]


def _cells(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
