"""The rows of the benchmark of optimism, and what they say together."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from orchestrator.errors import InputError
from orchestrator.evaluation.statistics import Interval, t_interval

SELECTIONS = ("same-corpus", "per-fold", "nested")


@dataclass(frozen=True)
class Replica:
    """Scores (macro recall, as fractions) under one permutation of the emotions."""

    seed: int
    corpus: str
    trials: int
    inner_folds: int
    best_validation: float
    """Of the sweep's best trial, as the sweep reports it."""
    same_corpus: float
    """Test score of that trial's students, the mean over folds; so with the others."""
    per_fold: float
    nested: float
    chosen: int
    """Different trials among those that the folds chose."""
    fold_runs: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """Replicas and what they say together."""

    corpus: str
    classes: int
    trials: int
    folds: int
    replicas: tuple[Replica, ...]

    @property
    def chance(self) -> float:
        """The expected macro recall of whoever does not listen."""
        return 1.0 / self.classes

    def interval(self, name: str) -> Interval:
        """Of a score's mean over replicas."""
        return t_interval([getattr(one, name) for one in self.replicas])

    def optimism(self, name: str) -> Interval:
        """Of the best validation score minus a test score, paired by replica."""
        return t_interval([one.best_validation - getattr(one, name) for one in self.replicas])

    def facts(self) -> dict[str, Any]:
        """As JSON-able values, with what was to be shown."""
        best = self.interval("best_validation")
        names = [field_of(selection) for selection in SELECTIONS]
        return {
            "corpus": self.corpus,
            "replicas": len(self.replicas),
            "trials": self.trials,
            "folds": self.folds,
            "chance": self.chance,
            "scores": {name: asdict(self.interval(name)) for name in ("best_validation", *names)},
            "optimism": {name: asdict(self.optimism(name)) for name in names},
            "best_validation_above_chance": best.low is not None and best.low > self.chance,
            "contains_chance": {name: _holds(self.interval(name), self.chance) for name in names},
            "fold_runs": sum(one.fold_runs for one in self.replicas),
            "seconds": sum(one.seconds for one in self.replicas),
        }


def read_rows(file: Path, settings: list[str | int]) -> dict[int, Replica]:
    """The replicas of a CSV file, by seed; none if there is no file.

    Args:
        file: as by :func:`add_row`.
        settings: corpus, trials and inner folds that all must have.

    Raises:
        InputError: some have others.
    """
    if not file.exists():
        return {}
    with file.open(encoding="utf-8", newline="") as stream:
        rows = [_replica(row) for row in csv.DictReader(stream)]
    for row in rows:
        if (theirs := [row.corpus, row.trials, row.inner_folds]) != settings:
            raise InputError(
                f"{file} has replicas of corpus, trials and inner folds {theirs}, not {settings}; "
                "name another file, or give the same --trials and --inner-folds"
            )
    return {row.seed: row for row in rows}


def _replica(row: Mapping[str, str]) -> Replica:
    kinds = {"int": int, "float": float, "str": str}
    return Replica(**{one.name: kinds[str(one.type)](row[one.name]) for one in fields(Replica)})


def add_row(file: Path, replica: Replica) -> None:
    """Add a row to a CSV file, which is made if it is not there."""
    new = not file.exists()
    with file.open("a", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(asdict(replica)), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(asdict(replica))


def field_of(selection: str) -> str:
    """Where a replica has the test score of a selection."""
    return selection.replace("-", "_")


def _holds(interval: Interval, value: float) -> bool:
    if interval.low is None or interval.high is None:
        return True
    return interval.low <= value <= interval.high


def line(replica: Replica) -> str:
    """A replica for people, in percent."""
    told = ", ".join(
        f"{name} {100 * getattr(replica, name):.1f}"
        for name in ("best_validation", *map(field_of, SELECTIONS))
    )
    return f"{told} ({replica.seconds:.0f} s)"


def table(outcome: Outcome) -> str:
    """The figures as Markdown, in percent."""
    lines = [
        f"{outcome.corpus}, emotions permuted: {len(outcome.replicas)} replicas of "
        f"{outcome.trials} trials on {outcome.folds} folds; chance {100 * outcome.chance:.1f}",
        "",
        "| macro recall | mean | 95 % interval | best validation minus it |",
        "| --- | ---: | ---: | ---: |",
    ]
    rows = [("best validation of the sweep", "best_validation")]
    rows += [(f"test, {selection}", field_of(selection)) for selection in SELECTIONS]
    for told, name in rows:
        gap = "" if name == "best_validation" else _percent(outcome.optimism(name))
        found = outcome.interval(name)
        lines.append(f"| {told} | {100 * found.mean:.2f} | {_bounds(found)} | {gap} |")
    return "\n".join(lines) + "\n"


def _percent(interval: Interval) -> str:
    return f"{100 * interval.mean:+.2f} {_bounds(interval)}"


def _bounds(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return "-"
    return f"[{100 * interval.low:.2f}, {100 * interval.high:.2f}]"
