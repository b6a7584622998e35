"""A sweep whose MLflow server hangs, is killed, and goes away for good.

    python -m benchmarks.outages
    python -m benchmarks.outages --backends sqlite --json

A real ``mlflow server`` on sqlite and on PostgreSQL, pinned to the last core; the sweep has the
others. While it runs the server hangs for 30 seconds (SIGSTOP) and is killed twice (SIGKILL), each
time started again after ten seconds. Then another sweep, whose server is killed and only comes back
when the sweep has ended and ``understudy tracking repair`` is given.

``blocked`` is the time that fold runs spent in calls of journals, their own and their teachers', by
the time that they took; what they wait for the store at their end is of both.
``lost`` counts the points of journals that MLflow lacks, ``twice`` those it has more than once.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.run_tree import points_held, points_told
from benchmarks.servers import MlflowServer, postgresql
from orchestrator.experiment import load_experiment
from orchestrator.recorded import recorded_run
from orchestrator.store import Store
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.tree import RunTree
from orchestrator.training.fold_run import FoldOutcome
from orchestrator.training.task import FoldTask

TEXT = """\
name: outages
corpora: [{kind: synthetic, sessions: 5, utterances_per_emotion: 12}]
protocol: {kind: leave-one-session-out}
features: {kind: log-mel, bins: 32}
recipe:
  teacher:
    kind: vertical-vit
    dim: 32
    depth: 1
    heads: 2
    head_dim: 16
    mlp_dim: 32
    patch_frames: 8
    training: {epochs: 10, batch_size: 32}
  student: {kind: vertical-vit, dim: 32, depth: 1, heads: 2, head_dim: 16, mlp_dim: 32,
            patch_frames: 8}
  objectives: {cross_entropy: 1.0, distillation: 0.5}
  training: {epochs: 40, batch_size: 32}
search: {space: distillation}
resources: {concurrent: 1}
"""
HANG, AWAY = 30.0, 10.0
"""Seconds."""
MOST_BLOCKED = 0.005


@dataclass(frozen=True)
class Timed:
    """A fold run that notes how long it took, and how long its journal's calls did.

    Args:
        notes: file that gets a line a fold run.
    """

    notes: str

    def __call__(
        self, task: FoldTask, *, store: Store, journal: Journal, tree: RunTree, parent: str
    ) -> FoldOutcome:
        """As :func:`recorded_run`; the line is written when the caller has ended the journal."""
        spent, began, end = time_journals(), time.perf_counter(), journal.end
        before = spent[0]

        def ended(*arguments: Any, **named: Any) -> None:
            end(*arguments, **named)
            with Path(self.notes).open("a") as file:
                file.write(f"{spent[0] - before} {time.perf_counter() - began}\n")

        setattr(journal, "end", ended)  # noqa: B010
        return recorded_run(task, store=store, journal=journal, tree=tree, parent=parent)


def time_journals() -> list[float]:
    """The seconds that this process spends, from the first time on, in calls of journals."""
    # kept there: what is pickled to an actor has globals of its own each time
    spent: list[float] | None = getattr(Journal, "spent", None)
    if spent is not None:
        return spent
    spent = [0.0]
    setattr(Journal, "spent", spent)  # noqa: B010
    for name in ("start", "metrics", "artifact", "tag", "link", "dataset", "model", "end"):
        setattr(Journal, name, _timed(getattr(Journal, name), spent))
    return spent


def _timed(call: Any, spent: list[float]) -> Any:
    def timed(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*arguments, **named)
        finally:
            spent[0] += time.perf_counter() - began

    return timed


def drive(file: Path, notes: Path) -> None:
    """The sweep in this process, its fold runs timed."""
    from rich.console import Console

    from orchestrator.sweep import sweep
    from orchestrator.sweep.trial import TrialContext

    setattr(sweep, "TrialContext", functools.partial(TrialContext, run=Timed(str(notes))))  # noqa: B010
    outcome = sweep.run_sweep(load_experiment(file), console=Console(stderr=True))
    print(json.dumps({"pending": outcome.pending, "complete": outcome.summary.complete}))


@dataclass
class Sweep:
    """A sweep in a process of its own, on the cores that servers have not."""

    folder: Path
    uri: str
    trials: int
    cores: Sequence[int]

    def start(self) -> subprocess.Popen[str]:
        """Its process."""
        self.folder.mkdir()
        places = f"store: {self.folder}/store\ntracking: {{uri: '{self.uri}'}}\n"
        self.file.write_text(
            TEXT.replace("space: distillation", f"space: distillation, trials: {self.trials}")
            + places
        )
        command = [sys.executable, "-m", "benchmarks.outages", "--drive", str(self.file)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        os.sched_setaffinity(process.pid, self.cores)
        return process

    @property
    def file(self) -> Path:
        """The experiment file."""
        return self.folder / "outages.yaml"

    def fold_runs(self) -> list[tuple[float, float]]:
        """Seconds in the journal and seconds in all, of each fold run that has ended."""
        notes = self.folder / "notes"
        lines = notes.read_text().splitlines() if notes.exists() else []
        return [(float(a), float(b)) for a, b in (line.split() for line in lines)]

    def wait_for(self, fold_runs: int, process: subprocess.Popen[str]) -> None:
        """Until so many have ended, or the sweep has."""
        while len(self.fold_runs()) < fold_runs and process.poll() is None:
            time.sleep(0.2)


@dataclass(frozen=True)
class Outage:
    """What was done to a server, and how many fold runs had ended before and after it."""

    what: str
    began: int
    ended: int


def disturb(server: MlflowServer, sweep: Sweep, process: subprocess.Popen[str]) -> list[Outage]:
    """Hang it once and kill it twice, while fold runs go on; what was done, and when."""
    done: list[Outage] = []
    sweep.wait_for(2, process)
    for number in range(3):
        at = len(sweep.fold_runs())
        if number == 0:
            server.stop()
            time.sleep(HANG)
            server.resume()
        else:
            server.kill()
            time.sleep(AWAY)
            server.start()
        done.append(Outage("killed" if number else "hung", at, len(sweep.fold_runs())))
        sweep.wait_for(len(sweep.fold_runs()) + 2, process)
    return done


def measured(sweep: Sweep, said: str, uri: str) -> dict[str, Any]:
    """What came of it: the share of the time, and the points."""
    from mlflow import MlflowClient

    runs = sweep.fold_runs()
    client = MlflowClient(uri)
    home = client.get_experiment_by_name("outages")
    assert home is not None
    found = client.search_runs([home.experiment_id], max_results=5000)
    held = points_held(client, found)
    told = points_told(RunTree(Store(sweep.folder / "store"), "outages", "sweep"))
    return {
        "fold_runs": len(runs),
        "seconds": round(sum(whole for _, whole in runs), 1),
        "blocked": round(sum(spent for spent, _ in runs) / sum(whole for _, whole in runs), 6),
        "blocked_longest_seconds": round(max(spent for spent, _ in runs), 4),
        "points": len(told),
        "lost": sum((told - held).values()),
        "twice": sum(count - 1 for count in held.values()),
        "running": sum(run.info.status == "RUNNING" for run in found),
        "pending_at_the_end": json.loads(said)["pending"],
        "complete": json.loads(said)["complete"],
    }


def outages(
    database: str, home: Path, *, port: int, trials: int, cores: tuple[list[int], list[int]]
) -> dict[str, Any]:
    """Both sweeps on servers with one kind of database behind them."""
    training, serving = cores
    found: dict[str, Any] = {}
    server = MlflowServer(database, home / "artifacts", port=port, cores=serving)
    server.start()
    try:
        sweep = Sweep(home / "disturbed", server.uri, trials, training)
        process = sweep.start()
        done = disturb(server, sweep, process)
        said = process.communicate()[0]
        found["disturbed"] = facts(sweep, said, server.uri, done)
        forget(server.uri)
        sweep = Sweep(home / "gone", server.uri, trials, training)
        process = sweep.start()
        sweep.wait_for(2, process)
        server.kill()
        at = len(sweep.fold_runs())
        said = process.communicate()[0]
        gone = Outage("killed", at, len(sweep.fold_runs()))
        server.start()
        repaired = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", "tracking", "repair", str(sweep.file)],
            capture_output=True,
            text=True,
            check=True,
        )
        found["gone"] = facts(sweep, said, server.uri, [gone])
        found["gone"]["repair"] = repaired.stdout.split("\n")
    finally:
        server.kill()
    return found


def facts(sweep: Sweep, said: str, uri: str, done: Sequence[Outage]) -> dict[str, Any]:
    """What was done, what came of it, and what is not as it should be."""
    found = {"outages": [asdict(one) for one in done], **measured(sweep, said, uri)}
    return {**found, "wrong": wrong(found, sweep.trials)}


def wrong(found: dict[str, Any], trials: int) -> list[str]:
    """What is not as it should be; an outage has to begin before the last fold run does."""
    wanted = {"lost": 0, "twice": 0, "running": 0, "complete": trials}
    return [
        *(f"{name}: {found[name]}, not {it}" for name, it in wanted.items() if found[name] != it),
        *([f"blocked: {found['blocked']}"] if found["blocked"] > MOST_BLOCKED else []),
        *(
            f"{one['what']} after {one['began']} of {found['fold_runs']} fold runs"
            for one in found["outages"]
            if one["began"] >= found["fold_runs"] - 1
        ),
    ]


def forget(uri: str) -> None:
    """Give the experiment another name, so that the next sweep begins a new one."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    known = client.get_experiment_by_name("outages")
    assert known is not None
    client.rename_experiment(known.experiment_id, "outages, disturbed")


def main(arguments: list[str] | None = None) -> int:
    """Run it for each kind of database and print what was found."""
    parser = argparse.ArgumentParser(description="Take a sweep's MLflow server away.")
    parser.add_argument("--backends", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--port", type=int, default=5731)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.drive is not None:
        drive(asked.drive, asked.drive.parent / "notes")
        return 0
    found: dict[str, Any] = {}
    every = sorted(os.sched_getaffinity(0))
    cores = (every[:-1] or every, every[-1:])
    for number, backend in enumerate(asked.backends):
        port = asked.port + 10 * number
        with tempfile.TemporaryDirectory() as made:
            home = Path(made)
            if backend == "sqlite":
                database = f"sqlite:///{home}/runs.db"
                found[backend] = outages(
                    database, home, port=port, trials=asked.trials, cores=cores
                )
            else:
                with postgresql(port + 1) as database:
                    found[backend] = outages(
                        database, home, port=port, trials=asked.trials, cores=cores
                    )
        if not asked.json:
            print(json.dumps({backend: found[backend]}, indent=1))
    if asked.json:
        print(json.dumps(found, indent=1))
    return 1 if any(one["wrong"] for kinds in found.values() for one in kinds.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
