"""What pruning saves and what it loses: recorded scores replayed in simulated time.

Run from a checkout::

    python -m benchmarks.pruning
    python -m benchmarks.pruning --trials 8 --folds 5 --json small.json
    python -m benchmarks.pruning --collect STUDY.db benchmarks/data/NAME.csv

A table has the scores of real configurations, each on every fold, without pruning. It is replayed
in many random orders of its trials, each trial with a random order of its folds, as a sweep would
run them with so many slots: a pruner knows of other trials the folds that had ended by then. The
decisions are those of `orchestrator.sweep.pruning`. What is right is what the table says over all
its folds: the regret of an order is the best such mean less that of its winner, the complete trial
of the best score. With `--trials` and `--folds` each order replays a part of the table drawn at
random, so that a winner by few folds is judged by all of them; the first row, without pruning, then
shows what the few folds cost.
"""

from __future__ import annotations

import argparse
import heapq
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import optuna
import pandas as pd
from optuna.trial import TrialState
from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import InputError, UnderstudyError
from orchestrator.experiment.pruners import PrunerSection
from orchestrator.sweep.pruning import Ran, why_pruned
from orchestrator.sweep.scoring import aggregate

DATA = Path(__file__).parent / "data"
PRUNERS = ("none", "wilcoxon", "halving", "race", "median")


@dataclass(frozen=True)
class Recorded:
    """What one configuration scored on every fold.

    Attributes:
        folds: score by fold.
        seconds: of wall time by fold.
    """

    folds: Mapping[str, float]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Replayed:
    """How one order of the trials went.

    Attributes:
        fold_runs: that were run.
        seconds: of simulated time until the last trial ended.
        winner: the complete trial of the best score; of equals the earliest.
        complete: trials that ran all folds.
    """

    fold_runs: int
    seconds: float
    winner: int
    complete: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """Of a pruner over all orders.

    Attributes:
        saved: fold runs that were not run, in percent of all.
        regret: in points, the mean over orders.
        best_pruned: orders in which the truly best configuration was pruned, in percent; of equally
            good ones all.
        complete: trials that ran all their folds, the mean over orders.
        hours: simulated, the mean over orders.
    """

    pruner: str
    slots: int
    saved: float
    regret: float
    best_pruned: float
    complete: float
    hours: float


def replay(
    trials: Sequence[Recorded],
    orders: Sequence[Sequence[str]],
    pruner: PrunerSection,
    *,
    slots: int,
) -> Replayed:
    """One sweep in simulated time.

    Args:
        trials: in the order in which they are begun.
        orders: of the folds, for each trial.
        pruner: decides after each fold but the last.
        slots: trials that run at once.
    """
    ran: dict[int, Ran] = {}
    fold_runs, now = 0, 0.0
    # what ends next; at the same moment the earlier trial goes first
    running: list[tuple[float, int, int]] = []
    waiting = iter(range(len(trials)))

    def go_on(number: int, done: int) -> None:
        seconds = trials[number].seconds[orders[number][done]]
        heapq.heappush(running, (now + seconds, number, done + 1))

    for _, number in zip(range(slots), waiting, strict=False):
        go_on(number, 0)
    while running:
        now, number, done = heapq.heappop(running)
        fold_runs += 1
        order = orders[number]
        folds = {fold: trials[number].folds[fold] for fold in order[:done]}
        others = [ran[other] for other in sorted(ran) if other != number]
        complete = done == len(order)
        reason = (
            ""
            if complete
            else why_pruned(pruner, folds, others, total=len(order), aggregate="mean")
        )
        under_way = not complete and not reason
        ran[number] = Ran(number, folds, complete, under_way)
        if under_way:
            go_on(number, done)
        elif (following := next(waiting, None)) is not None:
            go_on(following, 0)
    score = {
        r.number: aggregate(r.folds, kind="mean", others=()) for r in ran.values() if r.complete
    }
    winner = min(score, key=lambda number: (-score[number], number))
    return Replayed(fold_runs, now, winner, tuple(score))


def simulate(
    recorded: Sequence[Recorded],
    pruner: PrunerSection,
    *,
    slots: int,
    orders: int,
    trials: int,
    folds: int,
    seed: int,
) -> Outcome:
    """Replay random orders of a table; the same orders for every pruner and number of slots.

    Args:
        recorded: the table.
        pruner: decides after each fold.
        slots: trials that run at once.
        orders: how many.
        trials: of the table, drawn anew for each order.
        folds: of the table, drawn anew for each order.
        seed: of the orders.
    """
    names = sorted(recorded[0].folds)
    saved, regret, pruned, complete, hours = [], [], [], [], []
    for order in range(orders):
        generator = np.random.default_rng([seed, order])
        drawn = [recorded[i] for i in generator.permutation(len(recorded))[:trials]]
        taken = [names[i] for i in sorted(generator.permutation(len(names))[:folds])]
        shuffled = [[taken[i] for i in generator.permutation(folds)] for _ in drawn]
        done = replay(drawn, shuffled, pruner, slots=slots)
        truth = [statistics.fmean(one.folds.values()) for one in drawn]
        best = {number for number, score in enumerate(truth) if score == max(truth)}
        saved.append(1 - done.fold_runs / (trials * folds))
        regret.append(max(truth) - truth[done.winner])
        pruned.append(best.isdisjoint(done.complete))
        complete.append(len(done.complete))
        hours.append(done.seconds / 3600)
    return Outcome(
        pruner=described(pruner),
        slots=slots,
        saved=100 * statistics.fmean(saved),
        regret=100 * statistics.fmean(regret),
        best_pruned=100 * statistics.fmean(pruned),
        complete=statistics.fmean(complete),
        hours=statistics.fmean(hours),
    )


def described(pruner: PrunerSection) -> str:
    """A pruner and its settings, as an experiment file has them."""
    settings = pruner.model_dump(exclude={"kind"})
    told = ", ".join(f"{name} {value:.3g}" for name, value in settings.items())
    return f"{pruner.kind} ({told})" if told else pruner.kind


def read_table(path: Path) -> list[Recorded]:
    """A table of recorded scores: columns ``trial``, ``fold``, ``score`` and ``seconds``.

    Without ``seconds`` every fold run takes one minute. Other columns are for people.

    Raises:
        InputError: there is no such table, it lacks a column, or a trial lacks a fold.
    """
    try:
        rows = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table ({error})") from error
    lacks = [name for name in ("trial", "fold", "score") if name not in rows]
    if lacks or rows.empty:
        raise InputError(
            f"{path} has {', '.join(rows.columns) or 'no columns'} in {len(rows)} rows; it needs "
            "trial, fold and score; --collect makes such a table of a study"
        )
    if "seconds" not in rows:
        rows["seconds"] = 60.0
    scores = rows.pivot(index="trial", columns="fold", values="score")
    seconds = rows.pivot(index="trial", columns="fold", values="seconds")
    if scores.isna().any(axis=None):
        trial = scores.index[scores.isna().any(axis=1)][0]
        raise InputError(f"{path}: trial {trial} lacks a fold that others have; leave it out")
    return [
        Recorded(
            folds=cast(Mapping[str, float], scores.loc[trial].to_dict()),
            seconds=cast(Mapping[str, float], seconds.loc[trial].to_dict()),
        )
        for trial in scores.index
    ]


def collect(study_file: Path, table: Path) -> int:
    """Write the complete trials of a study as a table, and say how many there are.

    Raises:
        InputError: the file holds no study, or no complete trial with scores of folds.
    """
    if not study_file.is_file():
        raise InputError(f"there is no study at {study_file}")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = f"sqlite:///{study_file}"
    rows = []
    for name in optuna.get_all_study_names(storage):
        study = optuna.load_study(storage=storage, study_name=name)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            folds = trial.user_attrs.get("folds", {})
            assert trial.duration is not None
            each = trial.duration.total_seconds() / max(1, len(folds))
            seconds = trial.user_attrs.get("seconds")
            each = each if seconds is None else seconds / len(folds)
            rows += [
                {"trial": trial.number, "fold": fold, "score": score, "seconds": round(each, 2)}
                | trial.params
                for fold, score in sorted(folds.items())
            ]
    if not rows:
        raise InputError(f"{study_file} has no complete trial with scores of folds")
    frame = pd.DataFrame(rows)
    table.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(table, index=False)
    return frame["trial"].nunique()


def table_of(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as Markdown."""
    lines = [
        "| pruner | slots | fold runs saved (%) | regret (points) | best pruned (% of orders) | "
        "complete trials | simulated hours |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one.pruner} | {one.slots} | {one.saved:.1f} | {one.regret:.2f} | "
        f"{one.best_pruned:.0f} | {one.complete:.1f} | {one.hours:.2f} |"
        for one in outcomes
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay and print; the exit codes are those of ``understudy``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pruning", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", type=Path, help="a table; default: every one that is kept")
    parser.add_argument("--orders", type=int, default=100, help="default 100")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 4], help="default 1 and 4")
    parser.add_argument("--trials", type=int, help="drawn for each order; default: all")
    parser.add_argument("--folds", type=int, help="drawn for each order; default: all")
    parser.add_argument(
        "--pruner",
        action="append",
        help='settings as JSON, such as \'{"kind": "race"}\'; default: every kind as it comes',
    )
    parser.add_argument("--seed", type=int, default=0, help="of the orders; default 0")
    parser.add_argument("--json", help="a file to write the figures into")
    parser.add_argument(
        "--collect",
        nargs=2,
        metavar=("STUDY", "TABLE"),
        type=Path,
        help="only write a table of the complete trials of a study's database",
    )
    asked = parser.parse_args(arguments)
    try:
        if asked.collect:
            count = collect(*asked.collect)
            print(f"{asked.collect[1]}: {count} trials")
            return 0
        return _replay_all(asked)
    except UnderstudyError as error:
        print(f"benchmarks.pruning: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1


def _replay_all(asked: argparse.Namespace) -> int:
    pruners = _pruners(asked.pruner or [json.dumps({"kind": kind}) for kind in PRUNERS])
    found = {}
    for path in [asked.data] if asked.data else sorted(DATA.glob("*.csv")):
        recorded = read_table(path)
        trials = asked.trials or len(recorded)
        folds = asked.folds or len(recorded[0].folds)
        known = (len(recorded), len(recorded[0].folds))
        if min(asked.orders, *asked.slots) < 1:
            raise InputError("--orders and --slots: give at least 1")
        if not (1 <= trials <= known[0] and 1 <= folds <= known[1]):
            raise InputError(
                f"{path} has {known[0]} trials and {known[1]} folds; --trials {trials} and "
                f"--folds {folds} must lie between 1 and these"
            )
        outcomes = [
            simulate(
                recorded,
                pruner,
                slots=slots,
                orders=asked.orders,
                trials=trials,
                folds=folds,
                seed=asked.seed,
            )
            for pruner in pruners
            for slots in asked.slots
        ]
        print(f"{path.stem}: {trials} trials x {folds} folds, {asked.orders} orders\n")
        print(table_of(outcomes))
        found[path.stem] = {
            "trials": trials,
            "folds": folds,
            "orders": asked.orders,
            "seed": asked.seed,
            "rows": [asdict(one) for one in outcomes],
        }
    if asked.json:
        Path(asked.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


def _pruners(given: Sequence[str]) -> list[PrunerSection]:
    reader: TypeAdapter[PrunerSection] = TypeAdapter(PrunerSection)
    found = []
    for text in given:
        try:
            found.append(reader.validate_json(text))
        except ValidationError as error:
            raise InputError(f"--pruner {text} is no pruner: {error.errors()[0]['msg']}") from error
    return found


if __name__ == "__main__":
    sys.exit(main())
