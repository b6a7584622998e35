"""The tables of a sweep, made from its facts (:func:`orchestrator.evaluation.stored.stored_sweep`).

They can be made while the sweep runs, and from a study of an earlier version, which says less.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.evaluation.tables import Grid, changes, count, percent, plain, signed
from orchestrator.progress import duration

Facts = Mapping[str, Any]

NEXT = 5
"""Trials after the best that are shown; the JSON has all."""

FAILED = 20
"""Failed trials that are shown with their reasons; the JSON has all."""

SCORES = {
    "mean": "mean over folds",
    "rank": "mean rank among the trials in each corpus",
    "z": "mean z-score among the trials in each corpus",
    "worst": "mean over the folds of the corpus it does worst on",
}
"""What a trial is scored by, by ``search.aggregate``."""

COSTS = {"macs": "MACs", "parameters": "parameters"}


def sweep_grids(sweep: Facts) -> list[Grid]:
    """All tables of a sweep, as far as its facts go."""
    grids: list[Grid] = []
    if "states" in sweep:
        grids.append(_standing(sweep))
        failed = _failed(sweep)
        grids += [] if failed is None else [failed]
        if sweep.get("front"):
            grids.append(_front(sweep))
        if sweep.get("findings") and sweep["findings"]["best"] is not None:
            grids.append(_importance(sweep))
            following = _next(sweep)
            grids += [] if following is None else [following]
    if sweep.get("inner"):
        grids.append(_inner(sweep))
    return grids


def score(value: float | None, aggregate: str) -> str:
    """The score of a trial: in percent, or as it is where it counts ranks or deviations."""
    if value is None or aggregate in ("mean", "worst"):
        return percent(value)
    return f"{value:.3f}"


def interval(found: Mapping[str, Any] | None) -> str:
    """A mean over folds with its interval, in percent; a dash where there are no folds.

    >>> interval({"mean": 0.625, "low": 0.5, "high": 0.75, "folds": 4})
    '62.5 [50.0, 75.0]'
    """
    if found is None:
        return "-"
    return f"{percent(found['mean'])} [{percent(found['low'])}, {percent(found['high'])}]"


def _standing(sweep: Facts) -> Grid:
    """Where it stands, how it was searched, and its best trial."""
    rows = [("trials", _trials(sweep)), *_work(sweep), *_search(sweep), *_best(sweep)]
    notes: tuple[str, ...] = ()
    if found := (sweep.get("best") or {}).get("interval"):
        notes = (
            f"{sweep['metric']}: mean over {found['folds']} folds, seeds averaged inside each, "
            "with Student's t interval (95 %); that of the best of many is too high, and by how "
            "much, an evaluation says",
        )
    return Grid(f"{sweep['experiment']}: sweep", ("what", "value"), tuple(rows), notes, wordy=True)


def _best(sweep: Facts) -> Iterable[tuple[str, str]]:
    best, front = sweep.get("best"), sweep.get("front")
    if front:
        yield "best", f"{len(front)} trials, of which none is better in everything"
        return
    if best is None:
        yield "best", "no trial is complete yet"
        return
    metric, aggregate = sweep["metric"], sweep.get("aggregate", "mean")
    if aggregate == "mean":
        yield f"best {metric} on validation", _value(sweep)
    else:
        yield "best score", score(best["value"], aggregate)
        yield f"its {metric} on validation", interval(best["interval"])
    yield "best trial", str(best["number"])
    yield from ((key, str(value)) for key, value in sorted(best["overrides"].items()))
    if findings := sweep.get("findings"):
        close, others = len(findings["indistinguishable"]), len(findings["comparisons"])
        yield "cannot be told apart from it", f"{close} of {others} other complete trials"


def _trials(sweep: Facts) -> str:
    """How many there are, of how many, and in which states."""
    states = ", ".join(f"{number} {state}" for state, number in sweep["states"].items())
    there, asked = sum(sweep["states"].values()), sweep["trials"]
    many = f"{there}, of which {asked} are asked for now"
    return f"{f'{there} of {asked}' if there <= asked else many} ({states or 'none'})"


def _work(sweep: Facts) -> Iterable[tuple[str, str]]:
    """What was run, and what was spared."""
    # one constraint or the other; pruners have more to say
    for state, kinds in (("pruned", 1), ("infeasible", 3)):
        reasons = [row["reason"] for row in _in_state(sweep, state) if row["reason"]]
        if reasons:
            yield f"why {state}", _commonest(reasons, kinds)
    if (runs := sweep.get("fold_runs")) and runs["done"]:
        every = runs["done"] + runs["saved"]
        saved = f" of {every}, {100 * runs['saved'] / every:.0f} % saved by pruning"
        yield "fold runs", str(runs["done"]) + (saved if runs["saved"] else "")
    if sweep.get("seconds"):
        yield "time", duration(sweep["seconds"])


def _search(sweep: Facts) -> Iterable[tuple[str, str]]:
    """How it is searched, as far as its study says."""
    if sweep.get("carried"):
        told = "first the trials of the generation before, now on more folds or seeds"
        yield "study", f"{sweep['study']}: {told}"
    objectives = sweep.get("objectives", ())
    if len(objectives) > 1:
        costs = ", ".join(f"{COSTS[name]} (less is better)" for name in objectives[1:])
        yield "objectives", f"{objectives[0]} (more is better), {costs}"
    if sweep.get("aggregate", "mean") != "mean":
        yield "score", SCORES[sweep["aggregate"]]
    if sweep.get("sampler"):
        yield "sampler", sweep["sampler"]
    if sweep.get("pruner"):
        rest = {key: value for key, value in sweep["pruner"].items() if key != "kind"}
        told = ", ".join(f"{key} {plain(value)}" for key, value in rest.items())
        yield "pruner", sweep["pruner"]["kind"] + (f" ({told})" if told else "")
    if limits := sweep.get("constraints"):
        told = ", ".join(f"{COSTS[name]} at most {count(most)}" for name, most in limits.items())
        yield "constraints", told
    for line in sweep.get("protocols", ()):
        yield "protocol", line


def _in_state(sweep: Facts, state: str) -> list[Mapping[str, Any]]:
    return [row for row in sweep.get("rows", ()) if row["state"] == state]


def _commonest(reasons: Sequence[str], most: int) -> str:
    """One of each of the most frequent kinds; a kind differs in its numbers only."""
    if len(reasons) == 1:
        return reasons[0]
    kinds: dict[str, list[str]] = {}
    for reason in reasons:
        kinds.setdefault(re.sub(r"\d[\d.,]*(e[+-]?\d+)?", "#", reason), []).append(reason)
    shown = sorted(kinds.values(), key=len, reverse=True)[:most]
    if len(kinds) == 1:
        return f"all such as: {reasons[0]}"
    return "; ".join(f"{len(alike)} of {len(reasons)} such as: {alike[0]}" for alike in shown)


def _failed(sweep: Facts) -> Grid | None:
    failed = _in_state(sweep, "failed")
    if not failed:
        return None
    rows = tuple(
        (str(row["number"]), str(len(row["folds"])), row["reason"] or "no reason was kept")
        for row in failed[:FAILED]
    )
    left = len(failed) - len(rows)
    notes = (f"and {left} more (all of them with --json)",) if left else ()
    header = ("trial", "after folds", "reason")
    return Grid(f"{sweep['experiment']}: failed trials", header, rows, notes, wordy=True)


def _front(sweep: Facts) -> Grid:
    """The trials of which none is better in every objective, the best score first."""
    metric, *costs = sweep["objectives"]
    aggregate = sweep.get("aggregate", "mean")
    ones = sorted(sweep["front"], key=lambda one: (-one["values"][metric], one["number"]))
    keys = sorted({key for one in ones for key in one["overrides"]})
    differ = [key for key in keys if len({_told(one["overrides"], key) for one in ones}) > 1]
    scores = () if aggregate == "mean" else ("score",)
    rows = tuple(
        (
            str(one["number"]),
            *(score(one["values"][metric], aggregate) for _ in scores),
            interval(one["interval"]),
            *(count(one["values"][cost]) for cost in costs),
            changes(one["overrides"], differ) or "nothing",
        )
        for one in ones
    )
    notes = [
        "each has no other complete trial that is at least as good in every objective and better "
        f"in one; {metric} in percent, mean over folds with Student's t interval (95 %)",
    ]
    if same := changes(ones[0]["overrides"], [key for key in keys if key not in differ]):
        notes.append(f"the same in all of them: {same}")
    header = ("trial", *scores, metric, *(COSTS[cost] for cost in costs), "what differs")
    return Grid(f"{sweep['experiment']}: front", header, rows, tuple(notes), wordy=True)


def _told(overrides: Mapping[str, Any], key: str) -> str:
    """A value that can be compared, also with there being none."""
    return repr(overrides[key]) if key in overrides else ""


def _importance(sweep: Facts) -> Grid:
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
    if rows and found.get("pruned"):
        notes.append(
            f"{found['pruned']} pruned trials are left out, so these are of trials that did well "
            "enough to go on: what the others were stopped for may matter more than it seems here"
        )
    if any(one["conditional"] for one in found["importances"]):
        notes.append("conditional: occurs in some trials only, and the figure is of these alone")
    if found["without_importance"]:
        notes.append(f"without importance: {found['without_importance']}")
    header = ("parameter", "importance", "by chance", "trials")
    return Grid(f"{sweep['experiment']}: what mattered", header, rows, tuple(notes))


def _next(sweep: Facts) -> Grid | None:
    others = sweep["findings"]["comparisons"]
    if not others:
        return None
    aggregate = sweep.get("aggregate", "mean")
    rows = tuple(
        (
            str(other["number"]),
            score(other["value"], aggregate),
            signed(other["difference"]),
            f"[{signed(other['low'])}, {signed(other['high'])}]",
            str(other["folds"]),
        )
        for other in others[:NEXT]
    )
    left = len(others) - len(rows)
    notes = [
        "percentage points, the best trial minus this one, with Student's t interval over folds; "
        "one that holds zero shows no difference",
        "the intervals are too narrow: the best trial won many comparisons on the same folds, "
        "partly by luck, and folds share training speakers",
    ]
    if sweep.get("front"):
        best = sweep["findings"]["best"]
        notes.append(f"the best is here trial {best}, the highest in {sweep['metric']} alone")
    if aggregate != "mean":
        notes.append(
            f"score: {SCORES[aggregate]}; the differences are of {sweep['metric']}, paired by "
            "fold, so that the best score may lie below another there"
        )
    if sweep["findings"].get("pruned"):
        notes.append(
            f"{sweep['findings']['pruned']} pruned trials were not run on all folds, and are not "
            "among these"
        )
    if left:
        notes.append(f"and {left} more (all of them with --json)")
    header = ("trial", "score", "best minus it", "95 % interval", "folds")
    return Grid(f"{sweep['experiment']}: the next ones", header, rows, tuple(notes))


def _inner(sweep: Facts) -> Grid:
    """The searches inside the folds of an evaluation, one a line."""
    rows = tuple(
        (
            one["fold"],
            _trials(one),
            "-" if one["best"] is None else str(one["best"]["number"]),
            "-" if one["best"] is None else _value(one),
            _chosen(one),
        )
        for one in sweep["inner"]
    )
    notes = (
        f"{sweep['metric']} on the inner folds of each, which are dealt from the fold's own "
        "training and validation speakers: its test speakers are in none of them",
    )
    header = ("outer fold", "trials", "best", "value", "what it changes")
    title = f"{sweep['experiment']}: the search inside each fold"
    return Grid(title, header, rows, notes, wordy=True)


def _chosen(search: Facts) -> str:
    """What the best of a search changes, or why there is none."""
    if search["best"] is not None:
        return changes(search["best"]["overrides"]) or "nothing"
    return "several are best" if search.get("front") else "no trial is complete yet"


def _value(search: Facts) -> str:
    """What the best of a search scored, with its interval where that is of the score itself."""
    best, aggregate = search["best"], search.get("aggregate", "mean")
    if aggregate == "mean" and best.get("interval") is not None:
        return interval(best["interval"])
    return score(best["value"], aggregate)


def choices_grid(choices: Mapping[str, Mapping[str, Any]], corpus: str) -> Grid | None:
    """Which trial each fold of an evaluation took its recipe from.

    Args:
        choices: ``selected.choices`` of a result, by ``corpus/fold``.
        corpus: whose folds are shown.

    Returns:
        None where its folds have no recipes of their own.
    """
    ours = {
        place.removeprefix(f"{corpus}/"): choice
        for place, choice in choices.items()
        if place.startswith(f"{corpus}/")
    }
    if not ours:
        return None
    rows = tuple(
        (
            fold,
            str(choice["trial"]),
            percent(choice["value"]),
            changes(choice["overrides"]) or "nothing",
        )
        for fold, choice in sorted(ours.items())
    )
    notes = (
        "validation: the score, in percent, that the trial was chosen by; as the best of many it "
        "is too high, and the test scores above are not",
    )
    header = ("fold", "trial", "validation", "what it changes")
    return Grid(f"{corpus}: the recipe of each fold", header, rows, notes, wordy=True)
