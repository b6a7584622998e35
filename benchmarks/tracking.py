"""What tracking costs: training that tells journals, and the tail that brings them to MLflow.

Run from a checkout, on a machine that does nothing else::

    python -m benchmarks.tracking
    python -m benchmarks.tracking --uri http://127.0.0.1:5000 --json > tracking.json

200 fold runs of 25 epochs train a small network in earnest, about 60 ms an epoch (twice the shipped
demo's, the smallest there is), and tell 20 measurements after each: 100,000 points. They are spread
over processes of their own, one on every core but one; on that one, meanwhile, a tail brings the
journals to MLflow. Then two tails, in fresh processes and one after the other, bring half of the
journals and all of them to MLflow from the beginning, with nobody beside them.

``points_per_second`` is that of the last tail. ``loop_share`` is the time that training spends in
its journals' calls, by the time that it takes; what a fold run waits for the store when it has
ended, outside its loop, is ``end_seconds``, the mean of all. ``lost`` counts points that training
told and MLflow lacks or holds with another value, ``doubled`` those it holds twice, over the three
tails; any of them makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.pinned import at_once
from orchestrator.errors import InputError, UnderstudyError
from orchestrator.store import Store
from orchestrator.tracking.address import absolute_uri
from orchestrator.tracking.journal import Journal, run_key
from orchestrator.tracking.service import Tail
from orchestrator.tracking.writer import Writer

_METRICS = 20
_ALL = "journal/tracking"
_HALVES = (f"{_ALL}/first", f"{_ALL}/second")
_ENDED = "ended"
_PATIENCE = 1800.0

Losses = dict[int, list[float]]
"""Of every epoch, by fold run."""
Point = tuple[str, str, int]
"""A run's key, a measurement's name and the epoch."""


@dataclass(frozen=True)
class Cost:
    """What the benchmark finds."""

    points_per_second: float
    """From journals that are there to MLflow."""
    lost: int
    """Points that MLflow lacks or holds with another value."""
    doubled: int
    """Points that MLflow holds more than once."""
    loop_share: float
    """Of training's time, what its journals' calls take."""
    end_seconds: float
    """What a fold run waits for the store at its end, mean."""
    points: int
    runs: int
    epoch_seconds: float
    """Of training, measured."""
    behind_seconds: float
    """How long after training MLflow had everything."""
    peak_mib_half: float
    """Most memory of a tail that brings half of the points to MLflow, MiB."""
    peak_mib_all: float
    """The same for all of them."""


@dataclass(frozen=True)
class Training:
    """Fold runs of one process, one after the other."""

    store: str
    process: int
    runs: Sequence[int]
    epochs: int
    epoch_seconds: float

    def ready(self) -> Callable[[], tuple[float, float, float, Losses]]:
        """Import torch and warm up."""
        train = _network()
        train(100)
        return lambda: self._work(train)

    def _work(self, train: Callable[[int], float]) -> tuple[float, float, float, Losses]:
        """Seconds in loops, of them in their journals' calls, and in the runs' ends; the losses."""
        # not before: the other processes begin meanwhile, which takes them the memory's bandwidth
        began = time.process_time()
        train(500)
        updates = max(1, round(500 * self.epoch_seconds / (time.process_time() - began)))
        store = Store(self.store)
        loops = told = ends = 0.0
        losses: Losses = {run: [] for run in self.runs}
        for run in self.runs:
            began = time.perf_counter()
            journal = Journal(store, prefix=_HALVES[run % 2], key=run_key("fold run", run))
            journal.start(f"fold run {run}", params={"run": run})
            told += time.perf_counter() - began
            for epoch in range(1, self.epochs + 1):
                loss = train(updates)
                losses[run].append(loss)
                telling = time.perf_counter()
                journal.metrics(_measures(loss), step=epoch)
                told += time.perf_counter() - telling
            loops += time.perf_counter() - began
            ending = time.perf_counter()
            journal.end()
            ends += time.perf_counter() - ending
        store.write_bytes(f"{_ENDED}/{self.process}", b"")
        return loops, told, ends, losses


def _measures(loss: float) -> dict[str, float]:
    return {f"train/measure_{at}": loss + at for at in range(_METRICS)}


def _network() -> Callable[[int], float]:
    """Updates of a small network; their number is the argument, and the last loss the result."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4))
    optimiser = torch.optim.AdamW(network.parameters())
    inputs, labels = torch.randn(32, 64), torch.randint(4, (32,))

    def train(updates: int) -> float:
        loss = torch.tensor(0.0)
        for _ in range(updates):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(inputs), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return loss.item()

    return train


@dataclass(frozen=True)
class Tailing:
    """A tail of its own, until MLflow has what the processes of training tell."""

    store: str
    uri: str
    experiment: str
    prefix: str
    processes: int
    """How many processes have to have ended first."""

    def ready(self) -> Callable[[], float]:
        """Import MLflow and make the experiment."""
        Writer(self.uri, self.experiment).initialise()
        tail = Tail(self.store, self.uri, self.experiment, self.prefix)
        return lambda: self._work(tail)

    def _work(self, tail: Tail) -> float:
        """Seconds from the end of training until MLflow has everything."""
        store = Store(self.store)
        if wrong := tail.initialise():
            raise UnderstudyError(wrong)
        while len(store.list(_ENDED)) < self.processes:
            time.sleep(0.5)
        began = time.monotonic()
        if pending := tail.close(_PATIENCE):
            raise UnderstudyError(f"{pending} segments did not reach MLflow: {tail.problem()}")
        return time.monotonic() - began


def measured(
    folder: Path, *, uri: str | None, points: int, runs: int, epoch_seconds: float, processes: int
) -> Cost:
    """Train with a tail beside it, then tail again from the beginning.

    Args:
        folder: an empty folder for the store, and for MLflow's database.
        uri: MLflow tracking URI; None: a new sqlite database for each tail.
        points: over all fold runs.
        runs: fold runs.
        epoch_seconds: of training, about.
        processes: that train.

    Raises:
        UnderstudyError: a process fails, or MLflow does not get everything.
    """
    store = str(folder / "store")
    epochs = points // runs // _METRICS
    *train_on, tail_on = sorted(os.sched_getaffinity(0))
    train_on = train_on or [tail_on]
    token = secrets.token_hex(4)

    def tailing(name: str, prefix: str, waits_for: int) -> Tailing:
        address = absolute_uri(uri or f"sqlite:///{folder / name}.db")
        return Tailing(store, address, f"tracking-{token}-{name}", prefix, waits_for)

    live = tailing("live", _ALL, processes)
    shares = [range(runs)[at::processes] for at in range(processes)]
    training = at_once(
        [
            *(
                (Training(store, at, share, epochs, epoch_seconds), [train_on[at % len(train_on)]])
                for at, share in enumerate(shares)
            ),
            (live, [tail_on]),
        ]
    )
    *spent, behind = training.found
    loops, told, ends = (sum(one[at] for one in spent) for at in range(3))
    losses = {run: of_run for *_, some in spent for run, of_run in some.items()}
    tails = [tailing("half", _HALVES[0], 0), tailing("all", _ALL, 0)]
    half, whole = (at_once([(one, [tail_on])]) for one in tails)
    first = {run: of_run for run, of_run in losses.items() if run % 2 == 0}
    shares_of = zip((live, *tails), (losses, first, losses), strict=True)
    wrong = [_compared(_points(some), one) for one, some in shares_of]
    return Cost(
        points_per_second=round(runs * epochs * _METRICS / whole.seconds, 1),
        lost=sum(lost for lost, _ in wrong),
        doubled=sum(doubled for _, doubled in wrong),
        loop_share=round(told / loops, 6),
        end_seconds=round(ends / runs, 4),
        points=runs * epochs * _METRICS,
        runs=runs,
        epoch_seconds=round((loops - told) / runs / epochs, 5),
        behind_seconds=round(behind, 1),
        peak_mib_half=round(half.peaks[0], 1),
        peak_mib_all=round(whole.peaks[0], 1),
    )


def _points(losses: Losses) -> dict[Point, str]:
    """What training told, whatever became of it."""
    return {
        (run_key("fold run", run), name, epoch): str(value)
        for run, of_run in losses.items()
        for epoch, loss in enumerate(of_run, 1)
        for name, value in _measures(loss).items()
    }


def _compared(told: Mapping[Point, str], tailed: Tailing) -> tuple[int, int]:
    """How many points of those told MLflow lost, and how many it doubled."""
    held = _held(tailed.uri, tailed.experiment)
    count = Counter(place for place, _ in held)
    values = dict(held)
    lost = sum(1 for place, value in told.items() if values.get(place) != value)
    return lost, sum(count.values()) - len(count)


def _held(uri: str, experiment: str) -> list[tuple[Point, str]]:
    """Every point that MLflow holds, and its value as text, so that NaN equals itself."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    runs: list[Any] = []
    page = None
    while page != "":
        some = client.search_runs([found.experiment_id], max_results=500, page_token=page)
        runs += some
        page = some.token or ""
    return [
        ((run.data.tags["understudy.key"], name, point.step), str(point.value))
        for run in runs
        for name in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, name)
    ]


def table(found: Cost) -> str:
    """In words."""
    return (
        f"{found.points} points of {found.runs} fold runs: {found.points_per_second:.0f} a second, "
        f"{found.lost} lost, {found.doubled} doubled\n"
        f"training: {100 * found.loop_share:.3f} % of its loops in journals, at "
        f"{1000 * found.epoch_seconds:.1f} ms an epoch; {1000 * found.end_seconds:.0f} ms at the "
        f"end of a fold run; MLflow had everything {found.behind_seconds:.1f} s after training\n"
        f"a tail's most memory: {found.peak_mib_half:.0f} MiB for half of the points, "
        f"{found.peak_mib_all:.0f} MiB for all\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit codes are those of ``understudy``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--uri", help="MLflow tracking URI; default: new sqlite databases")
    parser.add_argument("--points", type=int, default=100_000, help="default 100000")
    parser.add_argument("--runs", type=int, default=200, help="fold runs; default 200")
    parser.add_argument("--epoch-ms", type=float, default=60.0, help="about; default 60")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--processes",
        type=int,
        default=max(1, cores - 1),
        help="that train; default: one a core, but for the tail's",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args(arguments)
    try:
        if given.runs < 2 or given.points < given.runs * _METRICS:
            raise InputError(
                f"--points {given.points} --runs {given.runs}: give at least 2 runs, and "
                f"{_METRICS} points a run"
            )
        if given.epoch_ms <= 0 or not 0 < given.processes <= given.runs:
            raise InputError("--epoch-ms and --processes: give more than 0, and no idle process")
        with tempfile.TemporaryDirectory() as name:
            found = measured(
                Path(name),
                uri=given.uri,
                points=given.points,
                runs=given.runs,
                epoch_seconds=given.epoch_ms / 1000,
                processes=given.processes,
            )
    except UnderstudyError as error:
        print(f"tracking: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(asdict(found)) if given.json else table(found))
    return 1 if found.lost or found.doubled else 0


if __name__ == "__main__":
    sys.exit(main())
