"""What the trials of a search scored: over time, against their costs, and by each parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.evaluation.sweep_report import COSTS
from orchestrator.evaluation.tables import plain

Facts = Mapping[str, Any]

SLICES = 16
"""Parameters that are drawn, those of the largest importance."""
COLUMNS = 4
"""Slices side by side."""
_APART = (0.045, 0.03)
"""Of a panel's width and height: what a trial's number takes."""

_UNSCORED = {"infeasible": ("v", "C4", "not run"), "failed": ("X", "C3", "failed")}
"""Mark, colour and name of trials without a score."""


def scale(sweep: Facts) -> tuple[float, str]:
    """By what a trial's score is multiplied to be drawn, and what its axis is called."""
    aggregate = sweep.get("aggregate", "mean")
    if aggregate == "mean":
        return 100.0, f"{sweep['metric']} on validation, %"
    if aggregate == "worst":
        return 100.0, f"{sweep['metric']} on validation of the worst corpus, %"
    return 1.0, f"{sweep['metric']} on validation, as a mean {aggregate}"


def draw_history(panel: Any, sweep: Facts) -> None:
    """Scores by number of the trial, and the best so far as a line."""
    factor, name = scale(sweep)
    rows = sorted(sweep["rows"], key=lambda row: row["number"])
    complete = [row for row in rows if row["state"] == "complete"]
    best, line = -math.inf, []
    for row in complete:
        best = max(best, factor * row["value"])
        line.append(best)
    numbers = [row["number"] for row in complete]
    panel.step(numbers, line, where="post", color="C0", linewidth=1.2, label="best so far")
    values = [factor * row["value"] for row in complete]
    panel.plot(numbers, values, "o", color="C0", markersize=4, label="complete")
    pruned = [row for row in rows if row["state"] == "pruned" and row["value"] is not None]
    if pruned:
        values = [factor * row["value"] for row in pruned]
        at = [row["number"] for row in pruned]
        panel.plot(at, values, "x", color="0.5", markersize=5, label="pruned (as then expected)")
    for state, (mark, color, told) in _UNSCORED.items():
        at = [row["number"] for row in rows if row["state"] == state]
        if at:  # along the lower edge, whatever the scores are
            panel.plot(
                at,
                [0.02] * len(at),
                mark,
                color=color,
                markersize=6,
                label=told,
                transform=panel.get_xaxis_transform(),
            )
    _whole_numbers(panel)
    panel.margins(y=0.12)
    panel.set_xlabel("trial")
    panel.set_ylabel(name)
    panel.grid(axis="y", alpha=0.3)
    # beside the panel, where it covers no trial
    panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9)


def _whole_numbers(panel: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_front(panel: Any, sweep: Facts, cost: str) -> None:
    """Score against a cost: what is on the front in colour with its interval, the rest in grey."""
    factor, name = scale(sweep)
    metric = sweep["metric"]
    front = sorted(sweep["front"], key=lambda one: (one["values"][cost], one["number"]))
    on = {one["number"] for one in front}
    others = [
        row for row in sweep["rows"] if row["state"] == "complete" and row["number"] not in on
    ]
    place = sweep["objectives"].index(cost)
    panel.plot(
        [row["values"][place] for row in others],
        [factor * row["values"][0] for row in others],
        "o",
        color="0.7",
        markersize=4,
        label="not on the front",
    )
    costs = [one["values"][cost] for one in front]
    scores = [factor * one["values"][metric] for one in front]
    mean = sweep.get("aggregate", "mean") == "mean"
    for at, one in zip(costs, front, strict=True):
        found = one["interval"]
        # of other scores than means over folds there is no interval
        if mean and found is not None and found["low"] is not None:
            ends = [factor * found["low"], factor * found["high"]]
            panel.plot([at, at], ends, color="C0", linewidth=1.0, alpha=0.6)
    if len(sweep["objectives"]) == 2:  # of more, a line would join what is not next to another
        panel.step(costs, scores, where="post", color="C0", linewidth=1.0)
    label = "front" + (" (with 95 % intervals over folds)" if mean else "")
    panel.plot(costs, scores, "o", color="C0", markersize=6, label=label)
    _cost_axis(panel, [*costs, *(row["values"][place] for row in others)])
    panel.margins(y=0.08)
    _number(panel, costs, scores, [one["number"] for one in front])
    panel.set_xlabel(f"{COSTS[cost]} (less is better)")
    panel.set_ylabel(name)
    panel.grid(alpha=0.3)


def _number(
    panel: Any, costs: Sequence[float], scores: Sequence[float], numbers: Sequence[int]
) -> None:
    """Write the trials' numbers beside them, from the best down, but none over another."""
    panel.autoscale_view()
    to_panel = panel.transData + panel.transAxes.inverted()
    taken: list[tuple[float, float]] = []
    for value, cost, number in sorted(zip(scores, costs, numbers, strict=True), reverse=True):
        x, y = to_panel.transform((cost, value))
        if all(abs(x - a) > _APART[0] or abs(y - b) > _APART[1] for a, b in taken):
            taken.append((x, y))
            # above and left of a front nothing is
            told = {"xytext": (-3, 4), "textcoords": "offset points", "ha": "right"}
            panel.annotate(str(number), (cost, value), fontsize=8, **told)


def _cost_axis(panel: Any, costs: Sequence[float]) -> None:
    from matplotlib.ticker import EngFormatter

    if min(costs) > 0 and max(costs) > 10 * min(costs):
        _log_axis(panel, costs)
    panel.xaxis.set_major_formatter(EngFormatter(sep=" "))


def _log_axis(panel: Any, drawn: Sequence[float]) -> None:
    """Plain numbers at as many places as have room; by itself it would write them over another."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    decades = math.log10(max(drawn) / min(drawn))
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def drawn_parameters(sweep: Facts) -> list[str]:
    """The parameters that complete trials differ in, the most important first."""
    found = sweep["findings"]
    shares = {one["parameter"]: one["share"] for one in found["importances"]}
    complete = [row for row in sweep["rows"] if row["state"] == "complete"]
    seen: dict[str, set[str]] = {}
    for row in complete:
        for name, value in row["drawn"].items():
            seen.setdefault(name, set()).add(repr(value))
    differ = [name for name, values in seen.items() if len(values) > 1]
    return sorted(differ, key=lambda name: (-shares.get(name, -1.0), name))[:SLICES]


def draw_slice(panel: Any, sweep: Facts, parameter: str) -> Any:
    """Scores against one parameter, later trials darker.

    Returns:
        What a colour bar is made from.
    """
    factor, _ = scale(sweep)
    rows = [
        row for row in sweep["rows"] if row["state"] == "complete" and parameter in row["drawn"]
    ]
    kind = sweep["findings"]["parameters"][parameter]
    drawn = [row["drawn"][parameter] for row in rows]
    if kind == "choice":
        names = sorted({plain(value) for value in drawn}, key=_natural)
        # a little aside, so that equal choices do not cover one another
        at = [
            names.index(plain(value)) + _aside(row) for value, row in zip(drawn, rows, strict=True)
        ]
        panel.set_xticks(range(len(names)), names, fontsize=8)
        if sum(map(len, names)) > 24:
            panel.tick_params(axis="x", rotation=30)
            for label in panel.get_xticklabels():
                label.set_horizontalalignment("right")
        panel.set_xlim(-0.5, len(names) - 0.5)
    else:
        at = drawn
        if kind == "log":
            _log_axis(panel, drawn)
    values = [factor * row["value"] for row in rows]
    last = max(row["number"] for row in sweep["rows"])
    dots = panel.scatter(
        at,
        values,
        c=[row["number"] for row in rows],
        cmap="Blues",
        vmin=-0.35 * (last + 1),  # the first ones are pale, but not white
        vmax=last,
        s=22,
        edgecolors="0.4",
        linewidths=0.4,
    )
    panel.set_title(_broken(parameter), fontsize=9)
    panel.tick_params(axis="y", labelsize=8)
    panel.tick_params(axis="x", which="both", labelsize=8)
    panel.grid(alpha=0.3)
    return dots


def _aside(row: Facts) -> float:
    """Somewhere within a fifth to either side, the same each time."""
    number: int = row["number"]
    return 0.4 * ((number * 0.6180339887) % 1.0) - 0.2


def _natural(name: str) -> tuple[int, float, str]:
    """Numbers by size, before words."""
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)


def _broken(parameter: str) -> str:
    """A long dotted key on two lines."""
    name = parameter.removeprefix("recipe.")
    if len(name) <= 30 or "." not in name:
        return name
    head, _, tail = name.rpartition(".")
    return f"{head}.\n{tail}"
