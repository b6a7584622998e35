"""The tree of runs of a sweep of 12 trials x 5 folds, counted through MLflow's own client.

    python -m benchmarks.run_tree

Once left in peace; once with the whole sweep killed (SIGKILL, driver and Ray) again and again
before the same command ends it; and two at once, on one new sqlite database. Every time there has
to be one run of the sweep, one a trial, one a fold run, one a teacher, each under the one it
belongs to, with its teacher linked, and none that is still RUNNING; and every point that journals
hold is in MLflow once, equal.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from orchestrator.experiment import load_experiment
from orchestrator.store import Store
from orchestrator.tracking.journal import read_segment
from orchestrator.tracking.record import KEY_TAG, plain_name
from orchestrator.tracking.tree import RunTree

TRIALS, FOLDS = 12, 5
TEXT = f"""\
name: counted
corpora: [{{kind: synthetic, sessions: {FOLDS}, utterances_per_emotion: 1}}]
protocol: {{kind: leave-one-session-out}}
features: {{kind: log-mel, bins: 8}}
recipe:
  teacher:
    <<: &network
      {{kind: vertical-vit, dim: 8, depth: 1, heads: 1, head_dim: 8, mlp_dim: 8, patch_frames: 16}}
    training: {{epochs: 4, batch_size: 16}}  # its own, so that trials share it
  student: *network
  objectives: {{cross_entropy: 1.0, distillation: 0.5}}
  training: {{epochs: 10, batch_size: 16}}
search: {{space: distillation, trials: {TRIALS}}}
resources: {{checkpoint_minutes: 0.0}}
"""


def write(folder: Path, *, name: str = "counted", database: Path | None = None) -> Path:
    """The experiment file in ``folder``, with its store, and its database unless one is given."""
    folder.mkdir(parents=True)
    file = folder / f"{name}.yaml"
    file.write_text(
        TEXT.replace("name: counted", f"name: {name}")
        + f"store: {folder}/store\n"
        + f"tracking: {{uri: 'sqlite:///{database or folder / 'runs.db'}'}}\n"
    )
    return file


def sweep(file: Path, *, kill_after: float | None = None) -> bool:
    """Run the sweep, killed with all of its processes after some seconds; whether it ended."""
    command = [sys.executable, "-m", "orchestrator.cli", "sweep", str(file), "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as driver:
        try:
            _, complained = driver.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            for process in [
                driver,
                *psutil.Process(driver.pid).children(recursive=True),
            ]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            return False
    if driver.returncode:
        raise SystemExit(f"the sweep ended with {driver.returncode}: {complained[-2000:]}")
    return True


def counted(file: Path) -> dict[str, Any]:
    """What MLflow holds of the sweep, and where that is not what it should be."""
    from mlflow import MlflowClient

    experiment = load_experiment(file)
    client = MlflowClient(experiment.tracking.uri)
    home = client.get_experiment_by_name(experiment.name)
    assert home is not None
    runs = client.search_runs([home.experiment_id], max_results=5000)
    by_id = {run.info.run_id: run for run in runs}
    kinds = Counter(run.data.tags["understudy.kind"] for run in runs)
    above = {"trial": "sweep", "teacher": "sweep", "fold run": "trial"}
    orphans = 0
    for run in runs:
        parent = by_id.get(run.data.tags.get("mlflow.parentRunId", ""))
        kind = run.data.tags["understudy.kind"]
        wanted = above.get(kind)
        orphans += (None if parent is None else parent.data.tags["understudy.kind"]) != wanted
    places = Counter((run.data.tags.get("mlflow.parentRunId"), run.info.run_name) for run in runs)
    fold_runs = [run for run in runs if run.data.tags["understudy.kind"] == "fold run"]
    linked = sum(
        run.data.tags.get("understudy.teacher") in by_id
        and by_id[run.data.tags["understudy.teacher"]].data.tags["understudy.kind"] == "teacher"
        for run in fold_runs
    )
    held = points_held(client, runs)
    told = points_told(RunTree(Store(experiment.store), experiment.name, "sweep"))
    return {
        "runs": len(runs),
        "kinds": dict(sorted(kinds.items())),
        "statuses": dict(Counter(run.info.status for run in runs)),
        "duplicates": sum(count - 1 for count in places.values()),
        "orphans": orphans,
        "running": sum(run.info.status == "RUNNING" for run in runs),
        "fold_runs_linked_to_their_teacher": linked,
        "trials_with_mean_and_interval": sum(
            {f"validation/macro_recall{end}" for end in ("", "_std", "_n", "_low", "_high")}
            <= run.data.metrics.keys()
            for run in runs
            if run.data.tags["understudy.kind"] == "trial"
        ),
        "points": sum(held.values()),
        "points_lost": sum((told - held).values()),
        "points_twice": sum(count - 1 for count in held.values()),
    }


def points_held(client: Any, runs: Any) -> Counter[tuple[str, str, int, float]]:
    """(key, metric, step, value) of every point in MLflow."""
    return Counter(
        (run.data.tags[KEY_TAG], name, point.step, point.value)
        for run in runs
        for name in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, name)
    )


def points_told(tree: RunTree) -> Counter[tuple[str, str, int, float]]:
    """The same of the journals, each once: what a second attempt at a run tells again is equal."""
    events = (
        event
        for name in tree.store.list(tree.prefix)
        if name.endswith(".jsonl")
        for event in read_segment(tree.store.read_bytes(name))
    )
    return Counter(
        {
            (event["key"], plain_name(name), event["step"], float(value))
            for event in events
            if event["event"] == "metrics"
            for name, value in event["values"].items()
        }
    )


def wrong(found: dict[str, Any]) -> list[str]:
    """What is not as it should be."""
    wanted = {
        "kinds": {"fold run": TRIALS * FOLDS, "sweep": 1, "teacher": FOLDS, "trial": TRIALS},
        "statuses": {"FINISHED": 1 + TRIALS * (1 + FOLDS) + FOLDS},
        "duplicates": 0,
        "orphans": 0,
        "running": 0,
        "fold_runs_linked_to_their_teacher": TRIALS * FOLDS,
        "trials_with_mean_and_interval": TRIALS,
        "points_lost": 0,
        "points_twice": 0,
    }
    return [f"{name}: {found[name]}, not {it}" for name, it in wanted.items() if found[name] != it]


def at_once(home: Path) -> dict[str, dict[str, Any]]:
    """Two sweeps started together on one database that is not there yet."""
    files = [write(home / name, name=name, database=home / "both.db") for name in ("one", "other")]
    began = time.monotonic()
    with ThreadPoolExecutor(len(files)) as both:
        list(both.map(sweep, files))
    seconds = round(time.monotonic() - began, 1)
    return {f"two at once: {file.stem}": {"seconds": seconds, **counted(file)} for file in files}


def main(arguments: list[str] | None = None) -> int:
    """Run both sweeps and print what was counted."""
    parser = argparse.ArgumentParser(description="Count the runs of a sweep.")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--earliest", type=float, default=9.0, help="seconds until a kill")
    parser.add_argument("--latest", type=float, default=20.0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    moments = random.Random(asked.seed)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home:
        for name, kills in (("undisturbed", 0), ("killed", asked.kills)):
            file = write(Path(home) / name)
            began, killed = time.monotonic(), 0
            for _ in range(kills):
                killed += not sweep(file, kill_after=moments.uniform(asked.earliest, asked.latest))
            sweep(file)
            found[name] = {
                "kills": killed,
                "seconds": round(time.monotonic() - began, 1),
                **counted(file),
            }
            found[name]["wrong"] = wrong(found[name])
        for name, facts in at_once(Path(home)).items():
            found[name] = {**facts, "wrong": wrong(facts)}
    if asked.json:
        print(json.dumps(found, indent=1))
    else:
        for name, facts in found.items():
            print(name)
            for what, value in facts.items():
                print(f"  {what}: {value}")
    return 1 if any(facts["wrong"] for facts in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
