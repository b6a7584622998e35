"""A sweep whose driver is killed again and again, beside one that is left in peace.

    python -m benchmarks.kills --kills 10

Each time the driver gets SIGKILL at a random moment, and the same command is given again at once,
while what the dead driver left behind may still be at work. At the end the study is compared with
that of the undisturbed sweep, every student with one that is trained anew, and every journal with
the epochs that its fold run should have told.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna

from orchestrator.experiment import Experiment, load_experiment
from orchestrator.preparation import plan_folds, prepare
from orchestrator.store import Store
from orchestrator.sweep.search_run import tasks_by_place
from orchestrator.sweep.study import load_study
from orchestrator.sweep.trial import TrialActor, TrialContext, trial_place
from orchestrator.tracking.journal import read_segment
from orchestrator.tracking.tree import RunTree

EPOCHS = 12
TEXT = f"""\
name: killed
corpora: [{{kind: synthetic, sessions: 4, utterances_per_emotion: 3}}]
protocol: {{kind: leave-one-session-out}}
features: {{kind: log-mel, bins: 16}}
recipe:
  teacher: {{kind: vertical-vit, dim: 16, depth: 1, heads: 2, head_dim: 8, mlp_dim: 16,
            patch_frames: 8, training: {{epochs: 4, batch_size: 16}}}}
  student: {{kind: conv-transformer, channels: [4, 8], dim: 8, depth: 1, heads: 1, mlp_dim: 8}}
  objectives: {{cross_entropy: 1.0, distillation: 0.5}}
  training: {{epochs: {EPOCHS}, batch_size: 16}}
search:
  space: distillation
  sampler: tpe
  pruner: {{kind: halving, first: 2, keep: 0.5}}
resources: {{checkpoint_minutes: 0.0}}
"""
"""Four folds; pruned by halving, so that decisions are replayed as well as draws."""


def write(folder: Path, *, trials: int, concurrency: int) -> Path:
    """The experiment file in ``folder``, with its store beside it."""
    folder.mkdir(parents=True)
    file = folder / "killed.yaml"
    places = f"store: {folder}/store\ntracking: {{uri: 'sqlite:///{folder}/runs.db'}}\n"
    text = TEXT.replace("  space: distillation", f"  space: distillation\n  trials: {trials}")
    text = text.replace("resources: {", f"resources: {{concurrent: {concurrency}, ")
    file.write_text(text + places)
    return file


def command(file: Path) -> list[str]:
    """What a user types."""
    return [sys.executable, "-m", "orchestrator.cli", "sweep", str(file), "--json"]


def kill_once(file: Path, *, after: float) -> bool:
    """Run the sweep and kill its driver after some seconds; False if it had ended by then."""
    with subprocess.Popen(
        command(file), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as driver:
        try:
            driver.wait(timeout=after)
        except subprocess.TimeoutExpired:
            os.kill(driver.pid, signal.SIGKILL)
            return True
    return False


def finish(file: Path) -> dict[str, Any]:
    """Run the sweep to its end; what it says with ``--json``."""
    ended = subprocess.run(command(file), capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"the sweep ended with {ended.returncode}: {ended.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def told(experiment: Experiment) -> list[dict[str, Any]]:
    """What the study holds of each trial, but for times."""
    study = load_study(experiment, Store(experiment.store), name=experiment.name)
    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "values": trial.values,
            "params": trial.params,
            "intermediate": trial.intermediate_values,
            **{
                name: trial.user_attrs.get(name)
                for name in ("overrides", "folds", "seeds", "std", "reason", "parameters", "macs")
            },
        }
        for trial in study.get_trials(deepcopy=False)
    ]


def students(store: Path) -> dict[str, int]:
    """The keys of all students, each with the time (ns) when it was written."""
    found = (store / "artifacts" / "student").glob("*/*/manifest.json")
    return {file.parent.name: file.stat().st_mtime_ns for file in found}


def trained_to_the_end(experiment: Experiment, trials: list[dict[str, Any]]) -> list[int]:
    """Of each fold run that was told of, how many times its last epoch was."""
    tree = RunTree(Store(experiment.store), experiment.name, "sweep")
    found = []
    for trial in trials:
        for place in trial["folds"] or {}:
            key = tree.key(*trial_place("", trial["number"]), place, 0)
            events = [
                event
                for name in tree.store.list(f"{tree.prefix}/{key}")
                for event in read_segment(tree.store.read_bytes(name))
            ]
            found.append(
                sum(
                    event["event"] == "metrics"
                    and event["step"] == EPOCHS
                    and "learning_rate" in event["values"]
                    for event in events
                )
            )
    return found


def trained_anew(experiment: Experiment, trials: list[dict[str, Any]], folder: Path) -> Store:
    """A store with the students of the same trials, one after another in this process."""
    store = Store(folder)
    assert experiment.search is not None
    planned = plan_folds(
        experiment, prepare(experiment, store), protocol=experiment.protocol, seeds=(0,)
    )
    context = TrialContext(
        experiment=experiment,
        tasks={"": tasks_by_place(planned)},
        store=store,
        tree=RunTree(store, experiment.name, "sweep"),
    )
    for trial in trials:
        actor = object.__new__(TrialActor)
        config = {"search": "", "number": trial["number"]}
        actor.setup(config | {"overrides": json.loads(trial["overrides"])}, context=context)
        for _ in trial["folds"] or ():
            actor.step()
    return store


def differing(one: Store, other: Store) -> list[str]:
    """Files of students of ``other`` that ``one`` has not got, or not bitwise."""
    files = sorted((other.folder / "artifacts" / "student").glob("*/*/*"))
    return [
        str(file.relative_to(other.folder))
        for file in files
        if not (mine := one.folder / file.relative_to(other.folder)).exists()
        or mine.read_bytes() != file.read_bytes()
    ]


def compare(
    home: Path, *, kills: int, trials: int, concurrency: int, seed: int, longest: float
) -> dict[str, Any]:
    """Kill, finish, and say what is not as it should be."""
    moments = random.Random(seed)
    file = write(home / "killed", trials=trials, concurrency=concurrency)
    experiment = load_experiment(file)
    lasting: dict[str, int] = {}
    rewritten = 0
    seconds = []
    for _ in range(kills):
        after = moments.uniform(4.0, longest)
        if not kill_once(file, after=after):
            break
        seconds.append(round(after, 1))
        now = students(home / "killed" / "store")
        rewritten += sum(now.get(key) != when for key, when in lasting.items())
        lasting = now
    outcome = finish(file)
    now = students(home / "killed" / "store")
    rewritten += sum(now.get(key) != when for key, when in lasting.items())
    ours = told(experiment)
    anew = trained_anew(experiment, ours, home / "anew")
    result: dict[str, Any] = {
        "concurrency": concurrency,
        "kills": len(seconds),
        "after_seconds": seconds,
        "trials": len(ours),
        "states": sorted(trial["state"] for trial in ours),
        "ended_once": sorted(trial["number"] for trial in ours) == list(range(trials))
        and all(trial["state"] in ("COMPLETE", "PRUNED", "FAIL") for trial in ours),
        "finished": outcome["finished"],
        "students": len(now),
        "rewritten": rewritten,
        "trained_twice": sum(times > 1 for times in trained_to_the_end(experiment, ours)),
        "not_bitwise": differing(Store(experiment.store), anew),
    }
    if concurrency == 1:
        quiet = write(home / "quiet", trials=trials, concurrency=1)
        finish(quiet)
        theirs = told(load_experiment(quiet))
        result["differs_from_undisturbed"] = [
            f"trial {mine['number']}: {name}: {mine[name]} and {other[name]}"
            for mine, other in zip(ours, theirs, strict=True)
            for name in mine
            if mine[name] != other[name]
        ]
    return result


def failures(result: dict[str, Any]) -> list[str]:
    """What is not as it should be."""
    wrong = [name for name in ("ended_once", "finished") if not result[name]]
    wrong += [
        name
        for name in ("rewritten", "trained_twice", "not_bitwise", "differs_from_undisturbed")
        if result.get(name)
    ]
    return wrong


@contextlib.contextmanager
def _home(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def main(arguments: list[str] | None = None) -> int:
    """Run both concurrencies and print what was found."""
    parser = argparse.ArgumentParser(description="Kill a sweep's driver again and again.")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=20.0, help="seconds until a kill, at most")
    parser.add_argument("--folder", type=Path, help="keep everything there")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = []
    with _home(asked.folder) as home:
        for concurrency in asked.concurrency:
            with contextlib.redirect_stdout(io.StringIO()):
                found.append(
                    compare(
                        home / f"concurrency-{concurrency}",
                        kills=asked.kills,
                        trials=asked.trials,
                        concurrency=concurrency,
                        seed=asked.seed + concurrency,
                        longest=asked.longest,
                    )
                )
            if not asked.json:
                for name, value in found[-1].items():
                    print(f"{name}: {value}")
                print()
    if asked.json:
        print(json.dumps(found, indent=1))
    return 1 if any(failures(result) for result in found) else 0


if __name__ == "__main__":
    sys.exit(main())
