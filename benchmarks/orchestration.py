"""What a sweep costs beside its fold runs: the same work three ways.

Run from a checkout, on a machine that does nothing else::

    python -m benchmarks.orchestration
    python -m benchmarks.orchestration --json > orchestration.json

Six recipes on the four folds of the synthetic corpus, 24 fold runs of about a second each, trained
in earnest on features that are there already, as many at once as ``--slots`` says:

- *bare*: plain loops over their share of the fold runs, a bare process for each slot. The floor.
- *documented*: a Tune function that starts a ``TorchTrainer`` for each fold, as Ray's guide says.
- *understudy*: ``understudy sweep``, with its journals, study and tracking.

Each way starts from a store of its own without results, and the scores and the students of the
three have to be equal, bit by bit. The span of a way goes from the beginning of its first fold run
to the end of its last one; what comes before (interpreters, imports, Ray, actors) and after is told
apart.

``overhead_ratio`` is the sweep's span by that of the bare loops, which take turns ``--repeats``
times: the median over the turns. ``speedup_over_documented`` is the sweep's fold runs an hour by
those of the documented way, over their spans; ``speedup_with_start``: over whole wall times.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.orchestration_ways import RATES, Bench, Measured, calibrated, refuse_unequal
from orchestrator.errors import InputError, UnderstudyError


@dataclass(frozen=True)
class Comparison:
    """What the benchmark finds."""

    overhead_ratio: float
    """The sweep's span by that of the bare loops, median over turns."""
    overhead_ratios: tuple[float, ...]
    """Of each turn."""
    speedup_over_documented: float | None
    """The sweep's fold runs an hour by those of the documented way, over spans."""
    speedup_with_start: float | None
    """The same over whole wall times."""
    slots: int
    epochs: int
    rows: tuple[Measured, ...]


def compared(bench: Bench, *, repeats: int, documented_trials: int) -> Comparison:
    """Every way, checked against the floor.

    Args:
        bench: the work.
        repeats: turns of the bare loops and the sweep.
        documented_trials: how many of the trials the documented way does; 0: it is left out.

    Raises:
        UnderstudyError: a way fails, or has other scores or students than the bare loops.
    """
    rows: list[Measured] = []
    ratios: list[float] = []
    for turn in range(repeats):
        # who goes first changes, since a machine may slow down as it warms
        ways = (bench.bare, bench.understudy)
        outcomes = [way() for way in (ways if turn % 2 == 0 else ways[::-1])]
        floor, sweep = sorted(outcomes, key=lambda outcome: outcome.measured.way)
        refuse_unequal(floor, sweep)
        ratios.append(sweep.measured.span / floor.measured.span)
        rows += [floor.measured, sweep.measured]
    speedups: list[float | None] = [None, None]
    if documented_trials:
        other = bench.documented(trials=documented_trials)
        refuse_unequal(floor, other, trials=documented_trials)
        rows.append(other.measured)
        sweeps = [row for row in rows if row.way == "understudy"]
        speedups = [
            round(statistics.median(rate(row) for row in sweeps) / rate(other.measured), 2)
            for rate in (_an_hour, _an_hour_with_start)
        ]
    return Comparison(
        overhead_ratio=round(statistics.median(ratios), 4),
        overhead_ratios=tuple(round(ratio, 4) for ratio in ratios),
        speedup_over_documented=speedups[0],
        speedup_with_start=speedups[1],
        slots=bench.slots,
        epochs=bench.epochs,
        rows=tuple(rows),
    )


def _an_hour(row: Measured) -> float:
    return 3600 * row.fold_runs / row.span


def _an_hour_with_start(row: Measured) -> float:
    return 3600 * row.fold_runs / row.whole


def table(found: Comparison) -> str:
    """As Markdown; seconds."""
    lines = [
        "| way | fold runs | start | span | end | a fold run | fold runs an hour | with start |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found.rows:
        lines.append(
            f"| {row.way} | {row.fold_runs} | {row.start:.1f} | {row.span:.1f} | {row.end:.1f} | "
            f"{row.inside / row.fold_runs:.2f} | {_an_hour(row):.0f} | "
            f"{_an_hour_with_start(row):.0f} |"
        )
    turns = ", ".join(f"{ratio:.3f}" for ratio in found.overhead_ratios)
    lines += ["", f"overhead_ratio {found.overhead_ratio:.3f} (turns: {turns})"]
    if found.speedup_over_documented is not None:
        lines.append(
            f"speedup_over_documented {found.speedup_over_documented:.1f} "
            f"(with start: {found.speedup_with_start:.1f})"
        )
    lines.append(
        f"{found.slots} at once, {found.epochs} epochs a fold run; scores and students equal"
    )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit codes are those of ``understudy``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orchestration", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--slots", type=int, default=2, help="fold runs at once; default 2")
    parser.add_argument("--repeats", type=int, default=3, help="turns of bare and sweep; default 3")
    parser.add_argument("--fold-seconds", type=float, default=1.0, help="about; default 1")
    parser.add_argument(
        "--documented-trials",
        type=int,
        default=len(RATES),
        help="trials (of four fold runs) of the documented way; 0: leave it out; default all",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args(arguments)
    try:
        found = _measured(given)
    except UnderstudyError as error:
        print(f"orchestration: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(asdict(found)) if given.json else table(found))
    return 0


def _measured(given: argparse.Namespace) -> Comparison:
    trials, cores = len(RATES), os.cpu_count() or 1
    if given.slots < 1 or trials % given.slots or given.slots > cores:
        raise InputError(
            f"--slots {given.slots}: the {trials} trials have to be dealt out evenly on at most "
            f"{cores} cores; give one of {[n for n in (1, 2, 3, 6) if n <= cores]}"
        )
    if given.repeats < 1 or given.fold_seconds <= 0:
        raise InputError("--repeats and --fold-seconds: give at least 1, and more than 0")
    if not 0 <= given.documented_trials <= trials:
        raise InputError(f"--documented-trials: give 0 to {trials}")
    with tempfile.TemporaryDirectory() as name:
        epochs = calibrated(Path(name), seconds=given.fold_seconds)
        bench = Bench(Path(name), slots=given.slots, epochs=epochs)
        return compared(bench, repeats=given.repeats, documented_trials=given.documented_trials)


if __name__ == "__main__":
    sys.exit(main())
