"""Sweeps of which something is killed half-way, the driver or a trial, and what is left of it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from orchestrator.experiment import Experiment, load_experiment
from orchestrator.preparation import plan_folds, prepare
from orchestrator.store import Store
from orchestrator.sweep.search_run import tasks_by_place
from orchestrator.sweep.study import load_study
from orchestrator.sweep.sweep import run_sweep
from orchestrator.sweep.trial import TrialActor, TrialContext
from orchestrator.tracking.journal import read_segment
from orchestrator.tracking.tree import RunTree
from tests import small
from tests.sweep.test_sweep import assert_tree_is_whole

pytestmark = pytest.mark.slow

EPOCHS = 40
KILLED_AFTER = 8
TEXT = small.TEXT.replace("epochs: 2", f"epochs: {EPOCHS}") + (
    "resources: {checkpoint_minutes: 0.0}\n"
)


def epochs_left(store: Path) -> dict[str, int]:
    """The last epoch of each student's fit that has left its state."""
    found: dict[str, int] = {}
    for file in (store / "checkpoints" / "student").glob("*/*.safetensors"):
        found[file.parent.name] = max(found.get(file.parent.name, 0), int(file.name[:6]))
    return found


def undisturbed(experiment: Experiment, trials: Sequence[dict[str, Any]], folder: Path) -> Store:
    """A store with the students of the same trials, trained one after the other, without Ray.

    In one go: no fit is long enough for a checkpoint.
    """
    resources = experiment.resources.model_copy(update={"checkpoint_minutes": 10.0})
    experiment = experiment.model_copy(update={"resources": resources})
    store = Store(folder)
    prepared = prepare(experiment, store)
    assert experiment.search is not None
    planned = plan_folds(
        experiment, prepared, protocol=experiment.search.protocol or experiment.protocol, seeds=(0,)
    )
    context = TrialContext(
        experiment=experiment,
        tasks={"": tasks_by_place(planned)},
        store=store,
        tree=RunTree(store, experiment.name, "sweep"),
    )
    for trial in trials:
        actor = object.__new__(TrialActor)
        config = {"search": "", "number": trial["number"], "overrides": trial["overrides"]}
        actor.setup(config, context=context)
        while not actor.step()["done"]:
            pass
    return store


def assert_has_the_same_students(one: Store, other: Store) -> None:
    """Bitwise, every file of every student that ``other`` has."""
    wanted = sorted((other.folder / "artifacts" / "student").glob("*/*/*"))
    assert wanted
    for file in wanted:
        mine = one.folder / file.relative_to(other.folder)
        assert mine.read_bytes() == file.read_bytes(), mine


def lives(store: Path, trial: int) -> list[list[list[int]]]:
    """Of each fold run of a trial, of each time that it was begun, the epochs that it told of."""
    tree = RunTree(Store(store), "small", "sweep")
    found = []
    for session in (1, 2, 3):
        key = tree.key(trial, f"synthetic/session={session}", 0)
        begun: list[list[int]] = []
        for name in tree.store.list(f"{tree.prefix}/{key}"):
            for event in read_segment(tree.store.read_bytes(name)):
                if event["event"] == "start":
                    begun.append([])
                elif event["event"] == "metrics" and "learning_rate" in event["values"]:
                    begun[-1].append(event["step"])
        found.append(begun)
    return found


def taken_up(store: Path, *, trials: int) -> list[int]:
    """Trials with a fold run that went on where a checkpoint had left off."""
    found = []
    for trial in range(trials):
        for begun in lives(store, trial):
            if len(begun) > 1 and begun[-1] and begun[-1][0] > KILLED_AFTER:
                assert begun[-1] == list(range(begun[-1][0], EPOCHS + 1))
                found.append(trial)
    return found


@pytest.mark.usefixtures("ray_cluster")
def test_a_sweep_whose_trial_is_killed_in_the_middle_ends_bitwise_as_if_it_had_not_been(
    tmp_path: Path, tracking_database: Path
) -> None:
    file = small.write(tmp_path, TEXT, database=tracking_database)
    experiment = load_experiment(file, overrides=["search.trials=1"])
    store = tmp_path / "store"
    killed: list[int] = []

    def wait_and_kill() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not killed:
            if max(epochs_left(store).values(), default=0) >= KILLED_AFTER:
                for process in filter(_trains, psutil.Process().children(recursive=True)):
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(process.pid)
            time.sleep(0.005)

    killer = threading.Thread(target=wait_and_kill)
    killer.start()
    outcome = run_sweep(experiment, console=Console(file=io.StringIO(), width=200))
    killer.join()

    assert len(killed) == 1
    assert outcome.finished
    assert (outcome.summary.complete, outcome.summary.failed) == (1, 0)
    assert taken_up(store, trials=1) == [0]
    whole = undisturbed(experiment, outcome.summary.trials, tmp_path / "undisturbed")
    assert_has_the_same_students(Store(store), whole)
    assert epochs_left(store) == {}


def test_a_sweep_killed_half_way_finishes_and_computes_nothing_twice(
    tmp_path: Path, tracking_database: Path
) -> None:
    file = small.write(tmp_path, TEXT, database=tracking_database)
    command = [sys.executable, "-m", "orchestrator.cli", "sweep", str(file), "--json"]
    store = tmp_path / "store"
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as sweep:
        deadline = time.monotonic() + 120
        half_way = False
        while not half_way and time.monotonic() < deadline:
            assert sweep.poll() is None, "the sweep ended before it could be killed"
            # who looks without a pause takes the time of those who train
            time.sleep(0.005)
            enough = len(small.artifacts(store, "student")) >= 2
            half_way = (
                enough and KILLED_AFTER <= max(epochs_left(store).values(), default=0) < EPOCHS / 2
            )
        helpers = psutil.Process(sweep.pid).children(recursive=True)
        sweep.kill()
        # those who are left would finish what they are at before they notice
        for process in (*filter(_trains, helpers), *filter(_alive, helpers)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    deadline = time.monotonic() + 60
    while any(map(_alive, helpers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_alive, helpers))
    before = small.artifacts(store, "student")
    assert 2 <= len(before) < 9
    assert max(epochs_left(store).values()) >= KILLED_AFTER

    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)

    assert ended.returncode == 0, ended.stderr
    outcome = json.loads(ended.stdout)
    assert outcome["finished"]
    assert outcome["summary"]["complete"] == 3
    assert outcome["pending"] == 0
    # fold runs of trials that had ended were not even asked for again
    assert outcome["reused"] + outcome["earlier"] == len(before)
    assert outcome["computed"] == 9 - len(before)
    after = small.artifacts(store, "student")
    assert len(after) == 9
    assert {key: after[key] for key in before} == before
    assert_tree_is_whole(tmp_path)
    # what was half-way went on there
    disturbed = taken_up(store, trials=3)
    assert disturbed
    trials = [trial for trial in outcome["summary"]["trials"] if trial["number"] in disturbed]
    whole = undisturbed(load_experiment(file), trials, tmp_path / "undisturbed")
    assert_has_the_same_students(Store(store), whole)
    assert epochs_left(store) == {}


def _trains(process: psutil.Process) -> bool:
    """Whether it is a trial's actor at work."""
    try:
        title = "".join(process.cmdline()[:1])
    except psutil.NoSuchProcess:
        return False
    return title.startswith("ray::") and title.endswith(".train")


def _alive(process: psutil.Process) -> bool:
    """Whether it can still do something; nobody may be there to reap it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_sigterm_ends_the_sweep_as_ctrl_c_with_a_summary_and_how_to_go_on(
    tmp_path: Path, tracking_database: Path
) -> None:
    file = small.write(tmp_path, TEXT, database=tracking_database)
    command = [sys.executable, "-m", "orchestrator.cli", "sweep", str(file)]
    store = tmp_path / "store"
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as sweep:
        deadline = time.monotonic() + 120
        while len(small.artifacts(store, "student")) < 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        # as a batch system sends it; it becomes a SIGINT, which Tune knows
        sweep.send_signal(signal.SIGTERM)
        said, complained = sweep.communicate(timeout=90)

    assert sweep.returncode == 1
    assert "of 3" in said
    assert "The sweep is not finished; the same command goes on from here." in said
    assert "Traceback" not in said + complained
    experiment = load_experiment(file)
    states = [
        trial.state.name
        for trial in load_study(experiment, Store(store), name="small").get_trials(deepcopy=False)
    ]
    assert "RUNNING" in states
    assert "FAIL" not in states
    # nobody is left at work
    assert Counter(run.info.status for run in small.runs(tmp_path))["RUNNING"] == 0
