"""What a sweep costs by itself, and how that grows: a thousand trials in which nothing is trained.

Run from a checkout::

    python -m benchmarks.scale
    python -m benchmarks.scale --trials 100 --sampler random --no-tracking

A Ray cluster of several nodes is made up on this machine (``ray.cluster_utils.Cluster``), each
with ``--cpus`` logical CPUs whatever the machine has. On it a sweep of the shipped ``distillation``
space runs as any other: searcher, study, scheduler, warm actors, journals, the tail that writes to
MLflow. Only the training is left out: a fold run draws its predictions, publishes a small artifact
in the store, and reports a few epochs.

Printed: fold results a second; the driver's memory, sampled every second, with its slope over the
second half of the results; milliseconds a result in the study (on the driver, whose loop every
actor waits for) and in the store (on the actors); and how the time to propose a trial grows.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from benchmarks.simulated_sweep import Memory, Simulated, TimedSearcher, TimedWatch
from orchestrator.cluster_session import connect, fold_runs_at_once
from orchestrator.errors import InputError, UnderstudyError
from orchestrator.experiment import Experiment, load_experiment
from orchestrator.preparation import plan_folds, prepare
from orchestrator.progress import Progress
from orchestrator.store import Store
from orchestrator.sweep.budget import Budget
from orchestrator.sweep.search_run import SearchRun, tasks_by_place
from orchestrator.sweep.space_checks import checked_space
from orchestrator.sweep.study import open_study
from orchestrator.sweep.trial import TrialContext
from orchestrator.sweep.tune_trials import run_trials
from orchestrator.tracking.service import start_tracking
from orchestrator.tracking.tree import RunTree

MIB = 2**20
WINDOW = 50
"""Trials over which the time to propose one is averaged."""
CATCH_UP = 300.0
"""Seconds that MLflow may take after the last result before the rest is counted as pending."""

NETWORK = {
    "kind": "vertical-vit",
    "dim": 8,
    "depth": 1,
    "heads": 1,
    "head_dim": 8,
    "mlp_dim": 8,
    "patch_frames": 16,
}


@dataclass(frozen=True)
class Figures:
    """What is measured of one sweep."""

    trials: int
    results: int
    """Fold results."""
    sampler: str
    slots: int
    seconds: float
    """From the start of the first actor to the end of the last trial."""
    results_per_second: float
    driver_mib: tuple[float, float, float]
    """Its memory, mapped files aside, at the beginning, in the middle and at the end."""
    driver_mib_per_1000_results: float | None
    """Its slope over the second half of the results."""
    study_ms: float
    """A result, in the searcher and the study, on the driver."""
    journal_ms: float
    """A result, in the journals of trials, on the driver."""
    store_ms: float
    """A result, in store and journal, on the actors."""
    propose_ms: Mapping[int, float]
    """To propose a trial, by how many there were: the mean of some before."""
    study_mib: float
    """Of the study's file."""
    files: int
    """In the store."""
    tracking_seconds: float | None
    """That MLflow took to catch up after the last result; None without it."""
    pending: int | None
    """Journal segments that it had not taken by then."""


@contextmanager
def cluster(*, nodes: int, cpus: int) -> Iterator[str]:
    """A Ray cluster on this machine, a head without CPUs and ``nodes`` others; its address."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    # a dashboard would ask for a port that another cluster of this machine may have
    head = {"num_cpus": 0, "include_dashboard": False}
    made: Any = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            made.add_node(num_cpus=cpus)
        made.wait_for_nodes()
        yield str(made.address)
    finally:
        import ray

        ray.shutdown()
        made.shutdown()


def experiment_in(folder: Path, *, trials: int, folds: int, sampler: str) -> Experiment:
    """A sweep over folds of the synthetic corpus, its store and database in ``folder``."""
    told = {
        "name": "scale",
        "corpora": [{"kind": "synthetic", "sessions": folds, "utterances_per_emotion": 1}],
        "protocol": {"kind": "leave-one-session-out"},
        "features": {"kind": "log-mel", "bins": 8},
        "recipe": {
            "teacher": NETWORK,
            "student": NETWORK,
            "objectives": {"cross_entropy": 1.0, "distillation": 1.0},
        },
        "search": {"space": "distillation", "trials": trials, "sampler": sampler},
        "store": str(folder / "store"),
        "tracking": {"uri": f"sqlite:///{folder}/runs.db"},
    }
    file = folder / "scale.yaml"
    file.write_text(json.dumps(told))
    return load_experiment(str(file))


def measured(experiment: Experiment, folder: Path, *, tracking: bool) -> Figures:
    """Run the sweep on the Ray cluster that this process has joined."""
    assert experiment.search is not None
    search = experiment.search
    store = Store(experiment.store, used_by=experiment.name)
    prepared = prepare(experiment, store)
    planned = plan_folds(experiment, prepared, protocol=experiment.protocol, seeds=search.seeds)
    tree = RunTree(store, experiment.name, "sweep")
    (folder / "notes").mkdir()
    run = SearchRun(
        study=open_study(experiment, store, prepared),
        space=checked_space(experiment),
        tasks=tasks_by_place(planned),
        trials=search.trials,
        protocol=prepared[0].describe(experiment.protocol),
    )
    tail = None
    if tracking:
        tail = start_tracking(
            store.uri, uri=experiment.tracking.uri, experiment=experiment.name, prefix=tree.prefix
        )
    top = tree.journal()
    top.start(name="sweep scale")
    slots = fold_runs_at_once(experiment.resources)
    with Progress("scale", Console(file=StringIO())) as progress:
        progress.enter("trials", fold_runs=len(planned) * search.trials, trials=search.trials)
        watch = TimedWatch(progress, tree, search, above={"": top}, tags={})
        searcher = TimedSearcher([run], listener=watch, budget=Budget(None, [run.study]))
        memory = Memory(searcher)
        simulated = Simulated(str(folder / "notes"))
        context = TrialContext(
            experiment=experiment,
            tasks={run.name: run.tasks},
            store=store,
            tree=tree,
            run=simulated,
        )
        began = time.monotonic()
        with memory.sampled():
            run_trials(context, searcher, trials=search.trials, slots=slots)
        seconds = time.monotonic() - began
    top.end("FINISHED")
    pending, caught_up = None, None
    if tail is not None:
        began = time.monotonic()
        pending = tail.close(timeout=CATCH_UP)
        caught_up = round(time.monotonic() - began, 1)
    results = searcher.results
    noted = simulated.noted()
    mib = memory.mib()
    spent = sum(searcher.proposing) + sum(searcher.hearing) - watch.seconds
    return Figures(
        trials=len(run.study.get_trials(deepcopy=False)),
        results=results,
        sampler=search.sampler,
        slots=slots.at_once,
        seconds=round(seconds, 1),
        results_per_second=round(results / seconds, 2),
        driver_mib=(round(mib[0], 1), round(mib[len(mib) // 2], 1), round(mib[-1], 1)),
        driver_mib_per_1000_results=_rounded(memory.slope()),
        study_ms=round(1000 * spent / results, 2),
        journal_ms=round(1000 * watch.seconds / results, 2),
        store_ms=round(1000 * fmean(noted), 2),
        propose_ms=growth(searcher.proposing[: search.trials]),
        study_mib=round(_bytes(folder / "store" / "studies") / MIB, 2),
        files=sum(len(names) for _, _, names in os.walk(folder / "store")),
        tracking_seconds=caught_up,
        pending=pending,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def growth(seconds: Sequence[float]) -> dict[int, float]:
    """Milliseconds to propose a trial, at 100, 300, 1000, ... trials and at the last.

    Each is the mean over the trials just before.
    """
    marks = [mark for mark in (100, 300, 1000, 3000, 10_000, 30_000) if mark < len(seconds)]
    return {
        mark: round(1000 * fmean(seconds[max(0, mark - WINDOW) : mark]), 2)
        for mark in (*marks, len(seconds))
    }


def told(found: Figures) -> str:
    """The figures as Markdown."""
    slope = found.driver_mib_per_1000_results
    proposing = ", ".join(f"{ms:g} at {trials}" for trials, ms in found.propose_ms.items())
    rows = {
        "trials, fold results": f"{found.trials}, {found.results}",
        "sampler, fold runs at once": f"{found.sampler}, {found.slots}",
        "seconds": f"{found.seconds:.0f}",
        "fold results a second": f"{found.results_per_second:.1f}",
        "driver's memory, MiB: first, middle, last": ", ".join(
            f"{mib:.0f}" for mib in found.driver_mib
        ),
        "its growth, MiB for 1000 results": "too short to tell"
        if slope is None
        else f"{slope:.2f}",
        "ms a result: searcher and study": f"{found.study_ms:.2f}",
        "ms a result: journals of trials": f"{found.journal_ms:.2f}",
        "ms a result: store and journal, on the actors": f"{found.store_ms:.2f}",
        "ms to propose a trial": proposing,
        "study's file, MiB": f"{found.study_mib:.2f}",
        "files in the store": f"{found.files}",
    }
    if found.tracking_seconds is not None:
        rows["MLflow: seconds to catch up, segments pending"] = (
            f"{found.tracking_seconds:.0f}, {found.pending}"
        )
    lines = ["| what | figure |", "| --- | ---: |"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows.items())]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit codes are those of ``understudy``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--trials", type=int, default=1000, help="default 1000")
    parser.add_argument("--folds", type=int, default=5, help="default 5")
    parser.add_argument("--sampler", choices=("random", "tpe"), default="tpe")
    parser.add_argument("--nodes", type=int, default=3, help="beside the head; default 3")
    parser.add_argument("--cpus", type=int, default=4, help="logical CPUs of each; default 4")
    parser.add_argument("--no-tracking", action="store_true", help="without the tail to MLflow")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args(arguments)
    try:
        found = _measured(given)
    except UnderstudyError as error:
        print(f"scale: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(asdict(found)) if given.json else told(found))
    return 0


def _measured(given: argparse.Namespace) -> Figures:
    if min(given.trials, given.nodes, given.cpus) < 1 or given.folds < 3:
        raise InputError("--trials, --nodes, --cpus: give at least 1 of each; --folds: at least 3")
    with tempfile.TemporaryDirectory() as name, cluster(nodes=given.nodes, cpus=given.cpus) as head:
        os.environ["RAY_ADDRESS"] = head
        folder = Path(name)
        experiment = experiment_in(
            folder, trials=given.trials, folds=given.folds, sampler=given.sampler
        )
        connect(experiment.resources)
        return measured(experiment, folder, tracking=not given.no_tracking)


if __name__ == "__main__":
    sys.exit(main())
