"""What a sweep and an evaluation say: tables for the terminal, markdown for documents, and plots.

An evaluation's are made from its stored result (``evaluation.json``), so that a table can be
printed again, anywhere, without computing anything; a sweep's from its study. Scores are stored as
fractions and printed in percent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from orchestrator.evaluation.metrics import METRICS, PAPER_NAMES
from orchestrator.evaluation.plots import Result, plot
from orchestrator.evaluation.selection import selection_told
from orchestrator.evaluation.statistics import FEW_UNITS, SYSTEMS, in_order
from orchestrator.evaluation.sweep_plots import plot_sweep
from orchestrator.evaluation.sweep_report import choices_grid, sweep_grids
from orchestrator.evaluation.tables import Grid, count, markdown_table, percent, signed, table

__all__ = ["markdown", "percent", "plot", "plot_sweep", "provenance", "render"]

_NAMED = 3
"""Utterances set aside that the report names; the result names all."""


def _corpora(result: Result) -> list[str]:
    return sorted(result["protocols"])


def provenance(result: Result, corpus: str) -> list[str]:
    """The lines that every table carries: what was measured, how, and by which code (law 7)."""
    variant = result.get("variant")
    name = result["experiment"] + (f" (variant {variant})" if variant else "")
    return [
        f"experiment: {name}",
        f"protocol: {result['protocols'][corpus]}",
        f"emotions: {', '.join(result['emotions'][corpus])}",
        *selection_told(result, corpus),
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


def _scores_grid(result: Result, corpus: str) -> Grid:
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
    return Grid(f"{corpus}: sealed test scores", header, tuple(rows), notes)


def _networks_grid(result: Result, corpus: str) -> Grid:
    rows = [
        (
            entry["system"],
            str(entry["folds"]),
            str(entry["seeds"]),
            percent(entry["macro_recall_seed_std"]),
            count(entry["parameters"]),
            count(entry.get("macs")),
        )
        for entry in result["summary"]
        if entry["corpus"] == corpus
    ]
    header = ("system", "folds", "seeds", "std over seeds", "parameters", "MACs")
    notes = (
        "std over seeds: of macro_recall, averaged over folds; "
        "MACs: multiply-accumulates of one utterance",
    )
    return Grid(f"{corpus}: fold runs and networks", header, tuple(rows), notes)


def _differences_grids(result: Result, corpus: str) -> list[Grid]:
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
) -> Grid:
    """Their table; what ablations are compared with is named by the title alone."""
    rows = tuple(
        (
            entry["a"] if ablations else f"{entry['a']} - {entry['b']}",
            PAPER_NAMES.get(entry["metric"], entry["metric"]),
            signed(entry["mean"]),
            f"[{signed(entry['low'])}, {signed(entry['high'])}]",
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
    return Grid(title, header, rows, tuple(notes))


def render(result: Result | None, sweep: Mapping[str, Any] | None = None) -> list[RenderableType]:
    """The report as rich renderables, to be printed one after another.

    Args:
        result: The evaluation as stored in ``evaluation.json``; None while there is none.
        sweep: A sweep's facts, as :func:`orchestrator.evaluation.stored.stored_sweep` has them;
            None if there was no sweep. Those that are missing, as in a study of an earlier
            version, are left out.

    Returns:
        The parts; none where there is neither.
    """
    parts: list[RenderableType] = []
    if sweep is not None:
        parts += [table(grid) for grid in sweep_grids(sweep)]
    if result is not None:
        for corpus in _corpora(result):
            parts.append(Text("\n".join(provenance(result, corpus))))
            parts += [table(grid) for grid in _grids(result, corpus)]
    return parts


def _grids(result: Result, corpus: str) -> list[Grid]:
    chosen = choices_grid((result.get("selected") or {}).get("choices", {}), corpus)
    return [
        _scores_grid(result, corpus),
        _networks_grid(result, corpus),
        *_differences_grids(result, corpus),
        *([] if chosen is None else [chosen]),
    ]


def markdown(result: Result | None, sweep: Mapping[str, Any] | None = None) -> str:
    """The report as markdown, for benchmarks/RESULTS.md; ends with a newline.

    Args:
        result: as for :func:`render`.
        sweep: as for :func:`render`.
    """
    lines: list[str] = []
    for grid in () if sweep is None else sweep_grids(sweep):
        lines += markdown_table(grid)
    for corpus in () if result is None else _corpora(result):
        assert result is not None
        lines += [f"- {line}" for line in provenance(result, corpus)] + [""]
        for grid in _grids(result, corpus):
            lines += markdown_table(grid)
    return "\n".join(lines).rstrip() + "\n"
