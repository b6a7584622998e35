"""From scores per fold and per speaker to what a paper may claim.

Seeds are averaged inside a fold (for the spread) or a speaker (for a difference) before anything
else, so more seeds never buy significance. The unit of a claim is the speaker, and its interval is
Student's t over speakers: a percentile bootstrap over few speakers covers too little (80 % instead
of 95 % with four of them, by simulation), the t interval 94.5 to 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UnderstudyError
from orchestrator.evaluation.metrics import METRICS

SYSTEMS = ("teacher", "student-alone", "distilled")
"""The systems of an evaluation, in the order of the tables."""

PAIRS = (("distilled", "student-alone"), ("distilled", "teacher"))
"""The differences that are reported: the first system minus the second."""

FEW_UNITS = 6
"""Below this many units an interval is reported with a warning."""


@dataclass(frozen=True)
class Interval:
    """A mean over ``n`` units with its confidence interval."""

    mean: float
    low: float | None
    """None where the interval is unbounded: a single unit says nothing about the spread."""
    high: float | None
    n: int


@dataclass(frozen=True)
class Spread:
    """A mean over folds with its spreads."""

    mean: float
    std: float | None
    """Over folds, each averaged over its seeds first (``n - 1`` in the denominator); None for one
    fold."""
    seed_std: float | None
    """Over seeds, each averaged over all folds (``n - 1`` in the denominator); None for one
    seed."""
    folds: int
    seeds: int


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _std(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student's t interval of a mean.

    Args:
        values: One value a unit; the units must be independent (speakers, not folds x seeds).
        level: Coverage, default 0.95.

    Raises:
        ValueError: If there is no value, one is not finite, or the level is not between 0 and 1.
    """
    if not values:
        raise ValueError("an interval needs at least one value")
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"an interval of values that are not finite: {list(values)}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    mean, std, n = _mean(values), _std(values), len(values)
    if std is None:
        return Interval(mean=mean, low=None, high=None, n=n)
    from scipy.stats import t

    half = float(t.ppf((1.0 + level) / 2.0, n - 1)) * std / math.sqrt(n)
    return Interval(mean=mean, low=mean - half, high=mean + half, n=n)


def told_interval(name: str, values: Sequence[float]) -> dict[str, float]:
    """A mean over folds as the runs in MLflow have it.

    Args:
        name: of the measure.
        values: one a fold, seeds averaged first.

    Returns:
        ``name`` with the mean, and with ``_n``, ``_std``, ``_low`` and ``_high`` after it the
        number of folds, their standard deviation and Student's t interval (95 %); of a single fold
        the first two.

    Raises:
        ValueError: as :func:`t_interval`.
    """
    interval, std = t_interval(values), _std(values)
    told = {name: interval.mean, f"{name}_n": float(interval.n)}
    if std is not None and interval.low is not None and interval.high is not None:
        told |= {f"{name}_std": std, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return told


def paired_difference(
    a: Mapping[str, Sequence[float]], b: Mapping[str, Sequence[float]], level: float = 0.95
) -> Interval:
    """Mean of ``a - b`` over units, with its t interval.

    Args:
        a: For each unit (speaker), its scores, one a seed; seeds are averaged inside the unit.
        b: The same units for the other system; the number of seeds may differ.
        level: Coverage, default 0.95.

    Raises:
        UnderstudyError: If a unit is missing from one side or has no score: a mean over the
            survivors would be a lie.
    """
    if a.keys() != b.keys():
        odd = sorted(a.keys() ^ b.keys())
        raise UnderstudyError(
            f"a paired difference needs the same units on both sides, but only one side has "
            f"{', '.join(odd[:5])}{' ...' if len(odd) > 5 else ''}; evaluate both systems on "
            "all folds first"
        )
    empty = sorted(unit for unit in a if not a[unit] or not b[unit])
    if empty:
        raise UnderstudyError(f"a paired difference: no score for {', '.join(empty[:5])}")
    return t_interval([_mean(a[unit]) - _mean(b[unit]) for unit in sorted(a)], level)


def fold_summary(values: Mapping[str, Mapping[int, float]]) -> Spread:
    """Mean and spread of a metric over folds, seeds averaged inside each fold first.

    Args:
        values: For each fold, the metric by seed. Every fold needs every seed.

    Raises:
        UnderstudyError: If there is no fold, or one lacks a seed that another has.
    """
    seeds = sorted({seed for by_seed in values.values() for seed in by_seed})
    folds = sorted(values)
    if not seeds:
        raise UnderstudyError("there is no score to summarise")
    for fold in folds:
        missing = [seed for seed in seeds if seed not in values[fold]]
        if missing:
            raise UnderstudyError(
                f"fold {fold} has no score for seed {', '.join(map(str, missing))}; "
                "a mean over what is left would be misleading: evaluate it first"
            )
    by_fold = [_mean([values[fold][seed] for seed in seeds]) for fold in folds]
    by_seed = [_mean([values[fold][seed] for fold in folds]) for seed in seeds]
    return Spread(
        mean=_mean(by_fold),
        std=_std(by_fold),
        seed_std=_std(by_seed),
        folds=len(folds),
        seeds=len(seeds),
    )


def pairs_of(ablations: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The differences that are reported where there are ablations: each against the student alone
    and against the distilled one.
    """
    against = ("student-alone", "distilled")
    return (*PAIRS, *((name, other) for name in ablations for other in against))


def in_order(systems: Iterable[str], order: Sequence[str] = SYSTEMS) -> list[str]:
    """Distinct systems in the order of the tables; unknown ones last, by name."""
    known = {name: place for place, name in enumerate(order)}
    return sorted(set(systems), key=lambda name: (known.get(name, len(known)), name))


def summarise(
    rows: Iterable[Mapping[str, Any]],
    *,
    macs: Mapping[tuple[str, str], int] | None = None,
    order: Sequence[str] = SYSTEMS,
) -> list[dict[str, Any]]:
    """The evaluation's ``summary``: one entry a corpus and system, whatever the rows' order.

    Args:
        rows: Rows as by ``metrics.score_row``.
        macs: Multiply-accumulates of one utterance by (corpus, system), where known.
        order: Of the systems.

    Returns:
        Entries with ``corpus``, ``system``, ``n`` (utterances scored per seed), ``folds``,
        ``seeds`` (counts), ``<metric>_mean`` and ``<metric>_std`` of each metric,
        ``macro_recall_seed_std``, ``parameters`` (of the largest fold's network) and ``macs``.

    Raises:
        UnderstudyError: If a (fold, seed) stands twice or is missing, or a fold's ``n`` differs
            between seeds.
    """
    groups: dict[tuple[str, str], dict[tuple[str, int], Mapping[str, Any]]] = {}
    for row in rows:
        group = groups.setdefault((row["corpus"], row["system"]), {})
        place = (row["fold"], row["seed"])
        if place in group:
            raise UnderstudyError(
                f"{row['corpus']}, {row['system']}: fold {place[0]}, seed {place[1]} stands twice"
            )
        group[place] = row
    summary: list[dict[str, Any]] = []
    for corpus in sorted({corpus for corpus, _ in groups}):
        for system in in_order((name for at, name in groups if at == corpus), order):
            group = groups[corpus, system]
            sizes: dict[str, int] = {}
            for (fold, seed), row in sorted(group.items()):
                if sizes.setdefault(fold, row["n"]) != row["n"]:
                    raise UnderstudyError(
                        f"{corpus}, {system}: fold {fold} was scored on {sizes[fold]} utterances, "
                        f"but on {row['n']} with seed {seed}"
                    )
            spreads = {metric: fold_summary(_by_fold(group, metric)) for metric in METRICS}
            entry: dict[str, Any] = {
                "corpus": corpus,
                "system": system,
                "n": sum(sizes.values()),
                "folds": spreads["macro_recall"].folds,
                "seeds": spreads["macro_recall"].seeds,
            }
            for metric, spread in spreads.items():
                entry[f"{metric}_mean"] = spread.mean
                entry[f"{metric}_std"] = spread.std
            entry["macro_recall_seed_std"] = spreads["macro_recall"].seed_std
            counts = [row["parameters"] for row in group.values()]
            entry["parameters"] = max((c for c in counts if c is not None), default=None)
            entry["macs"] = (macs or {}).get((corpus, system))
            summary.append(entry)
    return summary


def _by_fold(
    group: Mapping[tuple[str, int], Mapping[str, Any]], metric: str
) -> dict[str, dict[int, float]]:
    values: dict[str, dict[int, float]] = {}
    for (fold, seed), row in group.items():
        values.setdefault(fold, {})[seed] = row[metric]
    return values


def differences(
    speakers: Iterable[Mapping[str, Any]],
    *,
    unit: str = "speaker",
    pairs: Sequence[tuple[str, str]] = PAIRS,
    metrics: Sequence[str] = ("macro_recall", "accuracy"),
    level: float = 0.95,
) -> list[dict[str, Any]]:
    """The evaluation's ``differences``: seed-averaged, per speaker, with t intervals.

    A pair is left out where a corpus has no rows of one of its systems.

    Args:
        speakers: Rows as by ``metrics.speaker_rows``, in any order.
        unit: What their column ``speaker`` holds, ``speaker`` or ``dialogue``.
        pairs: (a, b) systems; the difference is a minus b.
        metrics: Columns of the rows to compare.
        level: Coverage of the intervals, default 0.95.

    Returns:
        Entries with ``corpus``, ``a``, ``b``, ``metric``, ``unit``, ``mean``, ``low``, ``high``
        (None for a single unit) and ``n`` (units).

    Raises:
        UnderstudyError: If a speaker is missing from one side, or lacks a seed that others have.
    """
    rows = sorted(speakers, key=lambda row: (row["corpus"], row["speaker"], row["seed"]))
    result: list[dict[str, Any]] = []
    for corpus in sorted({row["corpus"] for row in rows}):
        here = [row for row in rows if row["corpus"] == corpus]
        for a, b in pairs:
            for metric in metrics:
                one, other = _by_speaker(here, a, metric), _by_speaker(here, b, metric)
                if not one or not other:
                    continue
                got = paired_difference(one, other, level)
                result.append(
                    {
                        "corpus": corpus,
                        "a": a,
                        "b": b,
                        "metric": metric,
                        "unit": unit,
                        "mean": got.mean,
                        "low": got.low,
                        "high": got.high,
                        "n": got.n,
                    }
                )
    return result


def _by_speaker(
    rows: Iterable[Mapping[str, Any]], system: str, metric: str
) -> dict[str, list[float]]:
    values: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["system"] == system:
            by_seed = values.setdefault(row["speaker"], {})
            if row["seed"] in by_seed:
                raise UnderstudyError(
                    f"{row['corpus']}, {system}: speaker {row['speaker']}, seed {row['seed']} "
                    "stands twice"
                )
            by_seed[row["seed"]] = row[metric]
    seeds = {seed for by_seed in values.values() for seed in by_seed}
    for speaker, by_seed in values.items():
        if by_seed.keys() != seeds:
            missing = ", ".join(map(str, sorted(seeds - by_seed.keys())))
            raise UnderstudyError(
                f"{system}: speaker {speaker} has no score for seed {missing}; evaluate it first"
            )
    return {speaker: list(by_seed.values()) for speaker, by_seed in values.items()}
